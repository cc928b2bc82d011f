"""Overlap with the training text: exact, fast, and right for Turkish."""

import random

import pytest

from tohum.evaluation import overlap
from tohum.evaluation.overlap import known_word_fraction, longest_shared_run


def by_definition(sample: str, text: str) -> int:
    """Length of the longest shared run, by trying all."""
    return max(end - start for start in range(len(sample) + 1) for end in range(start, len(sample) + 1)
               if sample[start:end] in text)


@pytest.mark.parametrize("block", [5, 40, 2**20])
def test_overlap_equals_the_definition_on_random_texts_whatever_the_block(block, monkeypatch):
    monkeypatch.setattr(overlap, "BLOCK_CHARACTERS", block)
    random.seed(block)
    for _ in range(60):
        sample = "".join(random.choices("abİ\n", k=random.randint(0, 25)))
        text = "".join(random.choices("abİ\n", k=random.randint(0, 250)))
        run = longest_shared_run(sample, text)
        assert run in sample
        assert run in text
        assert len(run) == by_definition(sample, text)


def test_overlap_finds_a_quotation_and_nothing_else():
    text = "Once upon a time there was a seed. It slept under the snow until spring."
    assert longest_shared_run("They said: It slept under the snow, and left.", text) == " It slept under the snow"
    assert longest_shared_run("", text) == ""
    assert longest_shared_run("xyz", "") == ""
    assert longest_shared_run("日本", text) == ""
    assert longest_shared_run(text, text) == text


def test_overlap_of_one_thousand_characters_with_two_megabytes():
    random.seed(0)
    words = ["".join(random.choices("abcdefgh", k=5)) for _ in range(400)]
    text = " ".join(random.choices(words, k=340_000))
    sample = text[700_000:700_333] + "#" + text[1_999_000:1_999_666]
    assert longest_shared_run(sample, text) == text[1_999_000:1_999_666]


def test_overlap_counts_known_words_in_any_case():
    assert known_word_fraction("The CAT sat, 42 times; zzgl!", "the cat and she sat some Times") == 4 / 5
    assert known_word_fraction("", "text") == 0
    assert known_word_fraction("123 -- !", "text") == 0


def test_overlap_folds_turkish_letters_by_turkish_rules():
    assert known_word_fraction("IŞIK İZMİR", "ışık İzmir'de") == 1
    assert known_word_fraction("ışık", "IŞIK") == 1
    assert known_word_fraction("sınır", "sinir") == 0  # two words, not one
    assert known_word_fraction("IT", "it") == 1  # English rules hold as well
