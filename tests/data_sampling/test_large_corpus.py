"""Preparing a corpus far larger than the memory that it may use."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tohum.tokenizing.training import train

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads peak memory from /proc")
CALL = """
import json, sys
from pathlib import Path
from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.prepare import prepare
from tohum.tokenizing.tokenizer import Tokenizer
result = prepare(sys.argv[3:], Tokenizer.load(Path(sys.argv[1])), Path(sys.argv[2]), PrepareConfig())
status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory before exec too
peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps({"peak_bytes": peak, "seconds": result["seconds"], "train_tokens": result["train_tokens"],
                  "val_tokens": result["val_tokens"], "documents": result["documents"]}))
"""


def write_corpus(folder: Path, size: int) -> None:
    """One long text and one file of records, half of `size` bytes each, of words drawn from 20,000."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghıijklmnoöprsştuüvyz", k=draw.randrange(2, 11))) for _ in range(20_000)]
    block = [" ".join(draw.choices(words, k=draw.randrange(5, 400))) for _ in range(4000)]
    written = number = 0
    with open(folder / "book.txt", "w") as book, open(folder / "web.jsonl", "w") as web:
        while written < size:
            text = f"{number} {block[number % len(block)]}"
            (book if written < size // 2 else web).write(
                text + "\n" if written < size // 2 else json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text.encode()) + 1
            number += 1


def peak_bytes(tmp_path: Path, size: int) -> dict[str, int]:
    """Prepare a corpus of that size in a process of its own."""
    write_corpus(tmp_path, size)
    with open(tmp_path / "book.txt") as book:
        train([book.read(2_000_000)], kind="bpe", vocab_size=4096).save(tmp_path / "tok")
    done = subprocess.run([sys.executable, "-c", CALL, tmp_path / "tok", tmp_path / "data", tmp_path / "book.txt",
                           tmp_path / "web.jsonl"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    print(report)
    return report


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
    small, large = peak_bytes(tmp_path / "small", 10_000_000), peak_bytes(tmp_path / "large", 40_000_000)
    assert large["peak_bytes"] < small["peak_bytes"] + 60_000_000  # the ids of 30 MB as Python numbers take more
    assert large["peak_bytes"] < 400_000_000


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.timeout(7200)
def test_five_gigabytes_prepare_under_one_gigabyte_of_memory(tmp_path):
    report = peak_bytes(tmp_path, int(float(os.environ.get("TOHUM_HUGE_BYTES", "5e9"))))
    assert report["peak_bytes"] < 1_000_000_000
