"""Merges learned in C are those of `tokenizers`: the same words, entries and order, on any text."""

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers, trainers

from tohum.kernels import build
from tohum.tokenizing import merges, training
from tohum.tokenizing.patterns import PATTERNS, byte_level
from tohum.tokenizing.tokenizer import END

ROOT = Path(__file__).resolve().parents[2]
LARGE = 100_000  # more entries than these texts give: every word ends as one
TRICKY = st.text(st.one_of(st.sampled_from(" \t\r\n\v\f'’sSſtTlLvVeErRmMdD019½Ⅷ١aİıßé.,;!_(\u00a0\u2009\u200b\u3000\ufeff\u0301数😀"),
                           st.characters(exclude_categories=["Cs"])), max_size=40)


@pytest.fixture(autouse=True)
def _compiled(compiled):
    compiled("learning merges")


def by_library(texts: list[str], pattern: str, vocab_size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """What `tokenizers` learns: entries in order, and merges."""
    engine = Engine(models.BPE())
    engine.pre_tokenizer = byte_level(pattern)
    engine.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    model = json.loads(engine.to_str())["model"]
    entries = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return entries[1:], [tuple(pair) for pair in model["merges"]]


def ours(texts: list[str], pattern: str, vocab_size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The same from C."""
    return merges.learn_merges(texts, pattern=pattern, vocab_size=vocab_size, specials=1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_merges_as_the_library(pattern):
    texts = [path.read_text("utf-8") for path in sorted(ROOT.glob("src/tohum/**/*.py"))[:60]]
    texts += ["İstanbul'da ığdır'ın şeker'i; çok güzel!\r\n\r\n  Evet.\t1923'te  " * 40]
    assert ours(texts, pattern, 3000) == by_library(texts, pattern, 3000)


@settings(max_examples=150, deadline=None)
@given(st.lists(TRICKY, min_size=1, max_size=6), st.sampled_from(list(PATTERNS)))
def test_every_text_is_cut_into_the_same_words(texts, pattern):
    assert ours(texts, pattern, LARGE) == by_library(texts, pattern, LARGE)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_character_is_of_the_same_class(pattern):
    codes = [*range(0x3100), *range(0x3100, 0x110000, 97)]
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    texts = [f"a{c}b {c}{c}\n{c}1 '{c}" for c in characters]
    assert ours(texts, pattern, LARGE) == by_library(texts, pattern, LARGE)


def test_one_thread_and_several_agree(monkeypatch):
    texts = [path.read_text("utf-8") for path in sorted(ROOT.glob("src/tohum/**/*.py"))[:20]]
    monkeypatch.setattr(merges, "BATCH_CHARACTERS", 1000)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(merges, "cores", lambda threads=threads: threads)
        found.append(ours(texts, "qwen2", 1500))
    assert found[0] == found[1]


def test_a_tokenizer_is_the_same_file_either_way(monkeypatch):
    texts = [path.read_text("utf-8") for path in sorted(ROOT.glob("src/tohum/**/*.py"))[:20]]
    plain = training.train(texts, kind="bpe", vocab_size=1000)
    monkeypatch.setattr(training, "WORTH_CHARACTERS", 1000)
    compiled = training.train(iter(texts), kind="bpe", vocab_size=1000)
    assert compiled.sha256 == plain.sha256
    assert compiled.engine.to_str() == plain.engine.to_str()
    monkeypatch.setitem(build.TRIED, "learning merges", None)
    assert training.train(texts, kind="bpe", vocab_size=1000).sha256 == plain.sha256


def test_learning_can_be_stopped():
    found = build.library("learning merges")
    classes = merges.character_classes()
    with merges.word_tables(found, classes, "qwen2", 1) as tables:
        text = b"one two three one two"
        ends = np.array([len(text)], dtype=np.int64)
        assert found.tohum_words_count(tables[0], text, merges.Pointer(ends.ctypes.data), merges.Number(1)) == 0
        merged, ids = np.empty((100, 3), dtype=np.int32), np.arange(256, dtype=np.int32)
        found.tohum_merges.restype = merges.Number
        counts = [found.tohum_merges(tables[0], merges.Pointer(ids.ctypes.data), merges.Number(256),
                                     merges.Number(300), merges.Pointer(merged.ctypes.data), merges.Number(100),
                                     ctypes.byref(ctypes.c_int32(stop))) for stop in (0, 1)]
    assert counts == [len(by_library([text.decode()], "qwen2", 301)[1]), 0]
