"""KTO's mismatched answers, and what tells one set of single answers from another."""

from dataclasses import replace

import numpy as np

from tohum.finetuning.encode import Encoded
from tohum.preference.encode import EncodedUnpaired
from tohum.preference.prepare import side_of, strangers


def single(prompt: list[int], answer: list[int], desirable: bool = True) -> EncodedUnpaired:
    return EncodedUnpaired(desirable=desirable, text=Encoded(
        ids=prompt + answer, learned=[False] * len(prompt) + [True] * len(answer), place="a.jsonl:1"))


def test_a_mismatched_answer_never_stands_after_its_own_prompt_also_where_pairs_have_it_twice():
    rows = [single([1, 2], [3]), single([1, 2], [4, 5]), single([6], [7]), single([6], [8])]
    found = [(text.ids, text.learned) for text in strangers(rows)]
    assert found == [([6, 3], [False, True]), ([6, 4, 5], [False, True, True]), ([1, 2, 7], [False, False, True]),
                     ([1, 2, 8], [False, False, True])]


def test_where_all_prompts_are_one_the_answers_keep_it():
    assert [text.ids for text in strangers([single([1], [2]), single([1], [3])])] == [[1, 2], [1, 3]]


def test_the_fingerprint_of_single_answers_knows_which_are_wanted():
    rows = [single([1], [2]), single([3], [4], desirable=False)]
    side = side_of(rows, 16)
    assert len(side.fingerprint) == 64
    assert side_of(list(rows), 16).fingerprint == side.fingerprint
    assert replace(side, desirable=np.array([False, False])).fingerprint != side.fingerprint
