"""Byte models: proper distributions, known values, and real text."""

import math

import numpy as np
import pytest

from tohum.errors import DataError
from tohum.evaluation.ngram import backoff_bits_per_byte, pack, probabilities, train, xz_bits_per_byte


def english(shared_data) -> tuple[bytes, bytes]:
    text = (shared_data / "text_en" / "tinyshakespeare.txt").read_bytes()
    cut = int(0.9 * len(text))
    return text[:cut], text[cut:]


def test_ngram_packs_bytes_with_the_last_one_lowest():
    assert pack(np.frombuffer(b"abc", np.uint8), 2).tolist() == [ord("a") * 256 + ord("b"), ord("b") * 256 + ord("c")]
    assert pack(np.frombuffer(b"ab", np.uint8), 3).tolist() == []


def test_ngram_probabilities_sum_to_one_for_any_context():
    rng = np.random.default_rng(0)
    text = b"the cat sat on the mat, the dog sat on the log. " * 20 + bytes(rng.integers(97, 105, 3000, np.uint8))
    model = train(text, orders=(0, 1, 2, 3, 4, 5))
    contexts = [text[i : i + 5] for i in rng.integers(0, len(text) - 5, 40)]
    contexts += [bytes(rng.integers(0, 256, 5, np.uint8)) for _ in range(20)]
    for context in contexts:
        grams = pack(np.frombuffer(b"".join(context + bytes([b]) for b in range(256)), np.uint8), 6)[::6]
        for order, p in probabilities(model, grams).items():
            assert p.shape == (256,)
            assert p.sum() == pytest.approx(1, abs=1e-9), (order, context)
            assert p.min() > 0


def test_ngram_of_order_one_equals_a_case_by_hand():
    # Bigrams aa, ab, once each; none is seen twice or more, so D = (2 + 0.5) / (2 + 0 + 1) = 5 / 6 for all.
    # Order 0 by different bytes before: a: 1, b: 1 of 2, so again D = 5 / 6, and two times D is left of 2.
    p_single = (1 - 5 / 6) / 2 + 5 / 6 / 256
    # After a: count 2, both followers once.
    p_b_after_a = (1 - 5 / 6) / 2 + 5 / 6 * p_single
    found = backoff_bits_per_byte(b"aab", b"ab", orders=(1,))[1]  # "a" after "b", a context without followers
    assert found == pytest.approx(-(math.log2(p_single) + math.log2(p_b_after_a)) / 2, abs=1e-12)


def test_ngram_of_random_bytes_costs_eight_bits():
    rng = np.random.default_rng(1)
    train_text, test_text = (bytes(rng.integers(0, 256, 200_000, np.uint8)) for _ in range(2))
    for order, bits in backoff_bits_per_byte(train_text, test_text).items():
        assert 7.99 < bits < 8.11, (order, bits)


def test_ngram_learns_a_repeated_text_nearly_by_heart():
    text = b"".join(f"line {n % 50}: the same fifty lines again\n".encode() for n in range(2000))
    assert backoff_bits_per_byte(text, text[:2000])[5] < 0.25


def test_ngram_asked_for_some_orders_gives_the_same_as_for_all():
    text = b"she sells sea shells by the sea shore; " * 30
    whole = backoff_bits_per_byte(text, b"the shells she sells are sea shells")
    some = backoff_bits_per_byte(text, b"the shells she sells are sea shells", orders=(2, 5))
    assert some == {2: whole[2], 5: whole[5]}


def test_ngram_reads_the_end_of_the_training_text_as_context_of_the_test_text():
    text = b"abcabcabcabcabcabcabcabcab"
    assert backoff_bits_per_byte(text, b"c", orders=(2,))[2] < backoff_bits_per_byte(text, b"a", orders=(2,))[2]


@pytest.mark.parametrize("text", [b"a", b"ab", b"abcde"])
def test_ngram_trains_on_texts_shorter_than_its_order(text):
    assert all(0 < bits < 12 for bits in backoff_bits_per_byte(text, b"hello").values())


def test_ngram_refuses_empty_texts_and_impossible_orders():
    with pytest.raises(DataError, match=r"got 0 bytes and orders \[1, 2, 3, 4, 5\]"):
        backoff_bits_per_byte(b"", b"text")
    with pytest.raises(DataError, match="empty text"):
        backoff_bits_per_byte(b"text", b"")
    with pytest.raises(DataError, match=r"got 4 bytes and orders \[9\]"):
        train(b"text", orders=(9,))
    with pytest.raises(DataError, match="empty text"):
        xz_bits_per_byte(b"text", b"")


def test_ngram_on_real_text_improves_with_every_order(shared_data):
    train_text, test_text = english(shared_data)
    bits = backoff_bits_per_byte(train_text, test_text)
    assert bits[1] > bits[2] > bits[3] > bits[4] > bits[5]
    assert 2.15 < bits[5] < 2.25  # modified Kneser-Ney; Witten-Bell of the same order has 2.246


def test_xz_after_the_training_text_is_far_better_than_xz_alone(shared_data):
    train_text, test_text = english(shared_data)
    train_text, test_text = train_text[:300_000], test_text[:50_000]
    primed, alone = xz_bits_per_byte(train_text, test_text), xz_bits_per_byte(b"", test_text)
    assert 2.5 < primed < alone - 0.2
    assert xz_bits_per_byte(train_text, train_text[:50_000]) < 0.1  # copied text costs next to nothing
