"""Every example is short, and runs as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.example
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs_and_prints(path, tmp_path):
    """In an empty folder, so that it needs nothing but the package."""
    done = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                          env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_has_at_most_forty_lines_and_says_what_it_shows(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith('"""')


def test_there_is_an_example_for_the_first_stages():
    assert {"00_basics.py", "03_embed.py", "04_attend.py", "05_network.py"} <= {path.name for path in EXAMPLES}
