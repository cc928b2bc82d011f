"""A character tokenizer and small prepared data, shared by the tests of data sampling."""

import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.prepare import prepare
from tohum.data_sampling.shards import DataFolder
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

Make = Callable[..., DataFolder]
BOOK = "".join(f"Satır {n}: şu köşe yaz köşesi, bu köşe kış köşesi.\n" for n in range(100))


def lines(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return "".join(f"{seed}/{n} {'ab cd' * draw.randrange(1, 9)}\n" for n in range(count))


@pytest.fixture(scope="session")
def characters() -> Tokenizer:
    return train([string.printable + "çğıöşüÇĞİÖŞÜâ—😀"], kind="char", vocab_size=None)


@pytest.fixture
def make(tmp_path: Path, characters: Tokenizer) -> Make:
    """make({"a.txt": "text"}, val_fraction=0.2) writes the files and prepares them, in this order."""
    def build(files: dict[str, str], out: str = "data", **settings: Any) -> DataFolder:
        for name, text in files.items():
            (tmp_path / name).write_text(text, "utf-8")
        specs = [str(tmp_path / name) for name in files]
        prepare(specs, characters, tmp_path / out, PrepareConfig(**settings))
        return DataFolder.open(tmp_path / out)
    return build
