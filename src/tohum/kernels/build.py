"""The C files of this folder -> a loaded library, compiled once and kept in the user's cache.

    cc -O3 -march=native ...  ->  ~/.cache/tohum/kernels/<sha of source, flags, compiler and processor>.so

Three seconds, once for each machine and version. The file is code that runs, so its folder belongs to the user alone,
and one that others could write to is refused. Its threads are those of the OpenMP library that torch has loaded. Where
anything is missing, torch does the work, and one line on stderr says so.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from tohum.machine import cpu_flags

SOURCES = ("kernels.c", "products.h", "vectors.h")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-ffp-contract=off", "-fopenmp", "-shared", "-fPIC")
SECONDS = 120  # for the compiler
OTHERS = stat.S_IWGRP | stat.S_IWOTH


class KernelError(Exception):
    """Why there is no library; in words for a user."""


def folder() -> Path:
    """Where libraries are kept (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "tohum" / "kernels"


@functools.cache
def compiler() -> tuple[str, str]:
    """Path of the system's C compiler and its version. Raises KernelError."""
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise KernelError("no C compiler (cc)")
    done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=SECONDS)
    return found, done.stdout


def library_path() -> Path:
    """The file that this machine needs; its name changes with all that decides its content. Raises KernelError."""
    here = Path(__file__).parent
    parts = [(here / name).read_text("utf-8") for name in SOURCES]
    parts += [*FLAGS, *compiler(), *sorted(cpu_flags())]
    return folder() / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}.so"


def refuse_if_shared(path: Path) -> None:
    """Raises KernelError for what others own or can write to."""
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & OTHERS or stat.S_ISLNK(found.st_mode):
        raise KernelError(f"{path} belongs to another user, can be written by others or is a link; remove it")


def compile_to(path: Path) -> None:
    """Compile beside `path` and move it there in one step. Raises KernelError, OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_if_shared(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent) as draft:
        source, made = Path(__file__).parent / SOURCES[0], Path(draft) / "made.so"
        done = subprocess.run([compiler()[0], *FLAGS, str(source), "-o", str(made), "-lm"], capture_output=True,
                              text=True, timeout=SECONDS)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or ["the compiler failed"]
            raise KernelError(lines[0][:200])
        made.chmod(0o700)
        os.replace(made, path)


def load() -> ctypes.CDLL:
    """The library, compiled if it is not there yet. Raises KernelError."""
    try:
        path = library_path()
        if not path.is_file():
            compile_to(path)
        refuse_if_shared(path.parent)
        refuse_if_shared(path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:  # RuntimeError: a user without a home
        raise KernelError(str(error)) from None


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library, or None after one line on stderr; tried once per process."""
    try:
        return load()
    except KernelError as error:
        print(f"decoding without compiled kernels, several times slower: {error}", file=sys.stderr)
        return None


def state() -> str:
    """For a machine report, without compiling and without paths: what decoding on this CPU uses."""
    if library.cache_info().currsize:
        return "compiled" if library() else "torch"
    try:
        return "compiled" if library_path().is_file() else "compiled when first needed"
    except (KernelError, OSError, subprocess.SubprocessError, RuntimeError):
        return "torch"
