"""The fast encoder gives the engine's ids, or is not taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokenizing.test_training import LONGER, SCRIPTS
from tokenizers import AddedToken

from tohum.tokenizing import fast
from tohum.tokenizing.fast import PROBE, WORTH_CHARACTERS, as_ragged, fast_encoder
from tohum.tokenizing.patterns import PATTERNS
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

pytest.importorskip("gigatoken")


@pytest.fixture(scope="module", params=PATTERNS)
def vocabulary(request) -> Tokenizer:
    return train(LONGER, kind="bpe", vocab_size=700, pattern=request.param)


@pytest.fixture(scope="module")
def encode(vocabulary):
    found = fast_encoder(vocabulary.engine)
    assert found is not None
    return found


def same(encode, vocabulary, texts):
    found = encode(texts)
    assert found.ids.dtype == np.uint32
    return all(map(np.array_equal, found, as_ragged(vocabulary.encode_batch(texts))))


def test_texts_of_all_kinds_get_the_engines_ids(encode, vocabulary):
    assert same(encode, vocabulary, [*LONGER, *PROBE, SCRIPTS, "<|endoftext|>", "a <|endoftext|> b", "x" * 5000, " " * 999])


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(), max_size=4))
def test_any_texts_get_the_engines_ids(encode, vocabulary, texts):
    assert same(encode, vocabulary, texts)


def test_an_encoder_that_is_made_anew_goes_on_with_the_same_ids(vocabulary, monkeypatch):
    monkeypatch.setattr(fast, "ANEW_CHARACTERS", 100)
    made = []
    encode = fast.Forgetful(lambda: made.append(1) or fast_encoder(vocabulary.engine))
    for _ in range(3):
        assert same(encode, vocabulary, ["one seed under the snow " * 6])
    assert len(made) == 3  # the first, and one after each text of more than 100 characters but the last


def test_a_vocabulary_that_it_may_get_wrong_is_left_to_the_engine(vocabulary):
    assert fast_encoder(train(LONGER, kind="unigram", vocab_size=700).engine) is None
    assert fast_encoder(train(LONGER, kind="char").engine) is None
    other = Tokenizer(vocabulary.with_tokens(["<|new|>"]).engine, kind="bpe", special=vocabulary.special)
    assert fast_encoder(other.engine) is not None
    other.engine.add_tokens([AddedToken("seed", special=False)])  # always one token, wherever it stands
    assert fast_encoder(other.engine) is None
    for characters in (0, WORTH_CHARACTERS):
        assert other.corpus_encoder(characters).encode(["a seed"]).ids.tolist() == other.encode("a seed")
