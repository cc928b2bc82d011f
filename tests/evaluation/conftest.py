"""Tiny networks are fastest on one thread, above all beside other tests; the judge's server over one of them."""

from collections.abc import Iterator

import pytest

import tohum
from tests.exporting.conftest import make_folder
from tests.exporting.conftest import words as words_fixture
from tohum.evaluation import judge as judge_module
from tohum.handle import Model

from .judge_server import JudgeServer

words = words_fixture


@pytest.fixture(autouse=True)
def quick(one_thread: None) -> None:
    """Every test of this folder."""


@pytest.fixture(scope="session")
def judge_model(tmp_path_factory, words) -> Model:
    return tohum.load(make_folder(tmp_path_factory.mktemp("judge") / "m", words, words.vocab_size), device="cpu")


@pytest.fixture
def server(judge_model, monkeypatch) -> Iterator[JudgeServer]:
    """Waits between tries are short, but for those that the server asks for."""
    monkeypatch.setattr(judge_module, "FIRST_WAIT_SECONDS", 0.05)
    with JudgeServer(judge_model) as running:
        yield running
