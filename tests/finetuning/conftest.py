"""What the runs of these tests share: bases, files, a short general text."""

from pathlib import Path

import pytest

from tests.finetuning.tiny import gpt2_config, llama_config, make_base, write_files
from tohum.documents.document import Document


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for every case."""
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Llama, with a chat template."""
    return make_base(tmp_path_factory.mktemp("bases") / "llama")


@pytest.fixture(scope="session")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Llama, with an output head of its own."""
    return make_base(tmp_path_factory.mktemp("bases") / "untied", lambda rows: llama_config(rows, tied=False))


@pytest.fixture(scope="session")
def dropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As GPT-2, with dropout."""
    return make_base(tmp_path_factory.mktemp("bases") / "gpt2", lambda rows: gpt2_config(rows, dropout=0.1))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The general text of the card is two sentences, and no baseline is trained beside a classifier."""
    from tohum.classification.baseline import Baseline

    monkeypatch.setattr("tohum.finetuning.trials.general_documents",
                        lambda: [Document("The seed waits under the snow, and the river rises. " * 4, "general:1")])
    monkeypatch.setattr("tohum.classification.testing.tfidf_baseline", lambda *_: Baseline(note="left out"))
