"""What the runs of these tests share: bases, files, a short general text."""

from pathlib import Path

import pytest

from tests.finetuning.tiny import SHORTCUTS, gpt2_config, llama_config, make_base, write_files


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
    """Runs do without what takes longer than they do."""
    for name, value in SHORTCUTS.items():
        monkeypatch.setattr(name, value)
