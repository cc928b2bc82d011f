"""Scores of answers: SQuAD's by definition, chrF equal to sacrebleu, Turkish letters, intervals."""

import random
import re
import string
from collections import Counter

import pytest

from tohum.errors import DataError
from tohum.evaluation.answers import chrf, corpus_chrf, exact_match, score_answers, token_f1

PIECES = ["seed", "tohum", " ", "  ", "\n", "\t", "\u00a0", ".", "!", "Ağaç", "ışık", "İ", "e\u0301", "日本", "🌱", "a", "the"]


def texts(count: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return ["".join(drawn.choices(PIECES, k=drawn.randint(0, 12))) for _ in range(count)]


def squad_normalised(text: str) -> str:
    """The steps of arXiv:1606.05250 in the order of its evaluation."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(answer: str, expected: str) -> float:
    ours, theirs = squad_normalised(answer).split(), squad_normalised(expected).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def test_exact_match_and_f1_are_squads_on_ascii():
    drawn = random.Random(3)
    words = ["The", "a", "an", "seed", "Seed!", "seed-bed", "grows.", "(and)", "$5", "under", "theatre", "", "  "]
    for _ in range(500):
        answer, expected = (" ".join(drawn.choices(words, k=drawn.randint(0, 6))) for _ in range(2))
        assert exact_match(answer, expected) == (squad_normalised(answer) == squad_normalised(expected)), (answer, expected)
        assert token_f1(answer, expected) == pytest.approx(squad_f1(answer, expected), abs=1e-12)


@pytest.mark.parametrize(("answer", "expected", "exact", "f1"), [
    ("The cat sat.", "cat sat", 1, 1.0),
    ("", "", 1, 1.0),
    ("", "word", 0, 0.0),
    ("red red blue", "red blue blue", 0, 2 / 3),
    ("“Yes” — it is…", "yes it is", 1, 1.0),  # punctuation of other keyboards
    ("cafe\u0301", "café", 1, 1.0),  # the same letter, spelled in two ways
    ("İSTANBUL", "istanbul", 1, 1.0),
    ("istanbul", "İstanbul", 1, 1.0),
    ("IŞIK", "ışık", 1, 1.0),
    ("IT IS", "it is", 1, 1.0),
    ("sınır", "sinir", 0, 0.0),  # border and nerve
    ("IRMAK kıyısı", "ırmak kıyısı", 1, 1.0),
])
def test_exact_match_and_f1_of_known_pairs(answer, expected, exact, f1):
    assert exact_match(answer, expected) == exact_match(expected, answer) == exact
    assert token_f1(answer, expected) == pytest.approx(f1)


def test_chrf_equals_sacrebleu_for_sentences_and_the_corpus():
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, expected = texts(400, 1), texts(400, 2)
    answers += ["", "ab", "abcdefg", "same text", ""]
    expected += ["", "abcdefg", "ab", "same text", "x"]
    ours = [chrf(*pair) for pair in zip(answers, expected, strict=True)]
    theirs = [sacrebleu.sentence_chrf(a, [e]).score for a, e in zip(answers, expected, strict=True)]
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert len({round(score, 3) for score in ours}) > 100  # not all 0
    assert corpus_chrf(answers, expected) == pytest.approx(sacrebleu.corpus_chrf(answers, [expected]).score, abs=1e-9)


def test_chrf_equals_sacrebleu_on_real_answers(shared_data):
    import json

    sacrebleu = pytest.importorskip("sacrebleu")
    rows = json.loads((shared_data / "instruct" / "rasbt_instruction-data.json").read_text("utf-8"))[:200]
    answers, expected = [row["input"] or row["instruction"] for row in rows], [row["output"] for row in rows]
    ours = score_answers(answers, expected)
    theirs = [sacrebleu.sentence_chrf(a, [e]).score for a, e in zip(answers, expected, strict=True)]
    assert [row.chrf for row in ours.rows] == pytest.approx(theirs, abs=1e-9)
    assert ours.corpus_chrf == pytest.approx(sacrebleu.corpus_chrf(answers, [expected]).score, abs=1e-9)


def test_chrf_of_values_that_sacrebleu_gave():
    assert chrf("the cat sat on the mat", "the cat sat on a mat") == pytest.approx(72.0848317308462, abs=1e-9)
    assert chrf("abc", "abcd") == pytest.approx(68.86227544910179, abs=1e-9)
    assert chrf("Kırmızı, değil mi?", "Kırmızıydı; değil miydi?") == pytest.approx(49.49801154245206, abs=1e-9)
    assert chrf("", "") == 0


def test_score_answers_means_rows_and_surrounds_the_mean():
    answers = ["red"] * 30 + ["blue"] * 10
    found = score_answers(answers, ["Red."] * 40)
    assert found.exact_match.value == found.token_f1.value == 0.75
    assert 0.55 < found.exact_match.low < 0.75 < found.exact_match.high < 0.92
    assert found.chrf.value == pytest.approx(sum(row.chrf for row in found.rows) / 40)
    assert score_answers(answers, ["Red."] * 40) == found


def test_score_answers_refuses_none_and_unequal_numbers():
    with pytest.raises(DataError, match="0 answers and 0 expected"):
        score_answers([], [])
    with pytest.raises(DataError, match="2 answers and 1 expected"):
        score_answers(["a", "b"], ["a"])
