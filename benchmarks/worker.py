"""Engines in processes of their own: they stay loaded, and are asked in turn, so that a drift of the machine hits all.

A worker prints "ready", then answers every line of its standard input with a number on its standard output.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

Ask = Callable[[str], float]
MEMORY = "memory"  # this question is answered here


@contextmanager
def worker(arguments: Sequence[str], *, python: str | Path = sys.executable,
           environment: Mapping[str, str] | None = None) -> Iterator[Ask]:
    """Start `python ARGUMENTS`, and end it with all its children. Raises RuntimeError where it does not start."""
    process = subprocess.Popen([str(python), *arguments], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env=None if environment is None else dict(environment))
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(question: str) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        if question == MEMORY:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            return max(peak_bytes(member.pid) for member in family)
        process.stdin.write(question + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"died while it was asked: {' '.join(arguments)}")
        return float(answer)

    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"does not start: {' '.join(arguments)}")
        yield ask
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


def serve(run: Callable[[str], float]) -> None:
    """The worker's side."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(line.strip()), flush=True)


def peak_bytes(pid: int) -> int:
    """The largest resident memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
