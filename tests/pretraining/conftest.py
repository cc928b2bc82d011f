"""Tiny data folders and recipes for runs of a second."""

from pathlib import Path

import pytest

from tohum.config import resolve
from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.prepare import prepare
from tohum.pretraining.config import PretrainRecipe
from tohum.pretraining.run import Request, pretrain
from tohum.tokenizing.training import train

SENTENCES = ("the seed waits under the snow", "a river carries the seed away", "snow melts, and the river rises",
             "under the old tree the children read", "they plant a seed and wait for the tree")
TINY = {"model.width": 32, "model.layers": 2, "model.heads": 2, "data.max_length": 16, "training.steps": 6,
        "training.batch_tokens": 64, "training.micro_batch": 2, "training.threads": 1, "training.dtype": "fp32",
        "training.eval_every": 3, "training.eval_rows": 4, "training.save_every": 2, "training.sample_every": 0,
        "training.compile": False}


def make_text(folder: Path, documents: int = 40) -> Path:
    """A folder with one small file per document."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        words = [SENTENCES[(number * 7 + k) % len(SENTENCES)] for k in range(1 + number % 4)]
        (folder / f"{number:03d}.txt").write_text(f"{number}. " + ". ".join(words) + ".\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of about 3,000 characters."""
    root = tmp_path_factory.mktemp("tiny")
    text = make_text(root / "text")
    tokenizer = train((p.read_text("utf-8") for p in sorted(text.iterdir())), kind="char", vocab_size=None)
    prepare([str(text)], tokenizer, root / "data", PrepareConfig(val_fraction=0.2))
    return root / "data"


def tiny(data: Path, **changes) -> PretrainRecipe:
    """A recipe of six steps; changes are written section__key=value."""
    flags = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return resolve(PretrainRecipe, flags=flags | {"data.folder": str(data)})


@pytest.fixture
def fit(data: Path):
    """Train the tiny recipe with changes into a folder; returns the result."""

    def run(out: Path, *, resume: bool = False, force: bool = False, **changes) -> dict:
        return pretrain(Request(recipe=tiny(data, **changes), out=out, resume=resume, force=force))

    return run
