"""Twenty seconds of fuzzing per parser, each in a process of its own with 1 GB of memory to spend."""

import subprocess
import sys
from pathlib import Path

import pytest

from .__main__ import damaged
from .parsers import NAMES

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_refused_in_our_words(name):
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS), "--runs", "0"], cwd=ROOT,
                          capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    count = int(done.stdout.split(": ")[1].split(" ")[0].replace(",", ""))
    assert count > 200, done.stdout


def test_damages_change_a_file():
    data = bytes(range(100))
    for change in (("byte", 5, 77), ("bit", 5, 1), ("number", 6, 2**63), ("cut", 9, 3), ("twice", 9, 3),
                   ("insert", 9, b"ab"), ("text", 9, b"null"), ("end", 9, 0)):
        assert damaged(data, [change]) != data
    assert damaged(data, [("end", 9, 0)]) == data[:9]
