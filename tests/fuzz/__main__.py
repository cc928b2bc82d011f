"""Fuzz one parser after the other; leaves with 1 and shows the smallest file that a reader does not stand."""

import argparse
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tohum.errors import TohumError

from .parsers import MOST_BYTES, NAMES, Parser, prepare

MOST_SECONDS, MORE_MEMORY = 2.0, 10**9
AT_ONCE = 2_000  # examples that hypothesis plans together
NUMBERS = [0, 1, 127, 128, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]

places = st.integers(0, MOST_BYTES - 1)
damages = st.lists(st.one_of(
    st.tuples(st.just("byte"), places, st.integers(0, 255)),
    st.tuples(st.just("bit"), places, st.integers(0, 7)),
    st.tuples(st.just("number"), places, st.sampled_from(NUMBERS)),
    st.tuples(st.just("cut"), places, st.integers(1, 64)),
    st.tuples(st.just("twice"), places, st.integers(1, 64)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=12)),
    st.tuples(st.just("text"), places, st.sampled_from(
        [b"null", b"-1", b"1e999", b"[", b"{", b'"', b"true", b"\xff", b"99999999999999999999", b"{{", b"%}", b"\0"])),
    st.tuples(st.just("end"), places, st.just(0))), min_size=1, max_size=4)


def damaged(data: bytes, changes: list) -> bytes:
    """The seed with all changes; a place is taken modulo the length, and most are in the first half kilobyte."""
    for kind, place, value in changes:
        at = place % max(1, len(data) if place % 3 else min(len(data), 512))
        if kind == "byte":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "bit" and data:
            data = data[:at] + bytes([data[at] ^ 1 << value]) + data[at + 1 :]
        elif kind == "number":
            size = 8 if value >= 2**32 else 4
            data = data[:at] + value.to_bytes(size, "little") + data[at + size :]
        elif kind == "cut":
            data = data[:at] + data[at + value :]
        elif kind == "twice":
            data = data[: at + value] + data[at:]
        elif kind in ("insert", "text"):
            data = data[:at] + value + data[at:]
        elif kind == "end":
            data = data[:at]
    return data


def fuzz(name: str, seconds: float, runs: int) -> int:
    """Until both the time and the number are reached (the number alone ends it after four times the time)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parser = prepare(name, folder)
        assert all(len(data) <= MOST_BYTES for data in parser.seeds), [len(data) for data in parser.seeds]
        for data in parser.seeds:  # valid files are read
            (folder / parser.file).write_bytes(data)
            parser.read(folder)
        allow_more_memory()
        started, done, refused, round_ = time.monotonic(), [0], [0], 0
        while time.monotonic() - started < seconds or (
                done[0] < runs and time.monotonic() - started < 4 * seconds):
            one_round(parser, folder, round_, started + seconds if not runs else None, done, refused)
            round_ += 1
    print(f"{name}: {done[0]:,} files in {time.monotonic() - started:.0f} s, {refused[0]:,} refused, all in our words",
          flush=True)
    return done[0]


def allow_more_memory() -> None:
    """From here on an allocation of more than 1 GB fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MORE_MEMORY, resource.RLIM_INFINITY))


def one_round(parser: Parser, folder: Path, number: int, until: float | None, done: list, refused: list) -> None:
    """A few thousand examples."""
    @seed(number)
    @settings(max_examples=AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink], print_blob=False)
    @given(st.sampled_from(range(len(parser.seeds))), damages)
    def example(which: int, changes: list) -> None:
        if until is not None and time.monotonic() > until:
            return
        (folder / parser.file).write_bytes(damaged(parser.seeds[which], changes))
        before, said = time.process_time(), ""  # of the processor: a busy machine is no hang
        done[0] += 1
        try:
            parser.read(folder)
        except TohumError as error:
            refused[0] += 1
            said = str(error)
        assert said.count("\n") < 3, said
        took = time.process_time() - before
        assert took < MOST_SECONDS + 0.5, f"{took:.1f} s"  # templates are stopped after two seconds and a little

    example()


def main() -> None:
    """All parsers, or those named."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(NAMES))
    options.add_argument("--seconds", type=float, default=600, help="of each, at least")
    options.add_argument("--runs", type=int, default=100_000, help="files of each, at least")
    given_ = options.parse_args()
    for name in given_.parsers or NAMES:
        try:
            fuzz(name, given_.seconds, given_.runs)
        except BaseException as error:
            traceback.print_exception(error)
            print(f"{name}: FAILED", flush=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
