"""Answers: given and expected texts -> exact match, token F1 and chrF of each, and their means with intervals.

    exact match  0 or 1: equal after both were normalised (case, punctuation, articles, white space)
    token F1     0 to 1: the words that both hold, by the harmonic mean of precision and recall
    chrF         0 to 100: the character sequences of 1 to 6 that both hold; recall counts twice as much

The first two are SQuAD's (arXiv:1606.05250, section 6.1), the third is Popović's (WMT 2015) as sacrebleu computes it.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tohum.errors import DataError
from tohum.evaluation.bootstrap import Estimate, mean_estimate
from tohum.evaluation.overlap import TURKISH_LOWER

ARTICLES = re.compile(r"\b(a|an|the)\b")
DOT_ABOVE = "\u0307"  # what Python's lower() leaves behind the i of "İ"
CHRF_ORDER, CHRF_BETA = 6, 2

Statistics = list[tuple[int, int, int]]  # for n = 1..6: n-grams of the answer, of the expected text, in both


@dataclass(frozen=True, kw_only=True)
class AnswerScores:
    """One answer."""

    exact_match: float  # 0 or 1
    token_f1: float  # 0 to 1
    chrf: float  # 0 to 100


@dataclass(frozen=True, kw_only=True)
class AnswerSummary:
    """All answers: means over the rows, and chrF of the whole as one text."""

    rows: list[AnswerScores]
    exact_match: Estimate
    token_f1: Estimate
    chrf: Estimate
    corpus_chrf: float  # from the n-grams of all rows together, so that long rows weigh more


def score_answers(answers: Sequence[str], expected: Sequence[str]) -> AnswerSummary:
    """Raises DataError for no answers at all, or not as many expected ones."""
    if len(answers) != len(expected) or not answers:
        raise DataError(f"{len(answers):,} answers and {len(expected):,} expected ones; scoring needs as many of each")
    rows = [score_answer(*pair) for pair in zip(answers, expected, strict=True)]
    return AnswerSummary(rows=rows, corpus_chrf=corpus_chrf(answers, expected),
                         exact_match=mean_estimate([row.exact_match for row in rows]),
                         token_f1=mean_estimate([row.token_f1 for row in rows]),
                         chrf=mean_estimate([row.chrf for row in rows]))


def score_answer(answer: str, expected: str) -> AnswerScores:
    """All three figures of one answer."""
    return AnswerScores(exact_match=exact_match(answer, expected), token_f1=token_f1(answer, expected),
                        chrf=chrf(answer, expected))


def exact_match(answer: str, expected: str) -> float:
    """1 if both are the same after normalising, by the letters of English or by those of Turkish."""
    return float(any(normalised(answer, lower) == normalised(expected, lower) for lower in LOWERS))


def token_f1(answer: str, expected: str) -> float:
    """F1 of the words, each as often as it occurs; the better of the English and the Turkish reading."""
    return max(word_f1(normalised(answer, lower).split(), normalised(expected, lower).split()) for lower in LOWERS)


def word_f1(answer: list[str], expected: list[str]) -> float:
    """2 · shared / (both lengths); where one side has no words, 1 if neither has any."""
    if not answer or not expected:
        return float(answer == expected)
    return 2 * (Counter(answer) & Counter(expected)).total() / (len(answer) + len(expected))


def normalised(text: str, lower: Callable[[str], str]) -> str:
    """Lower case, no punctuation, no articles, single spaces: SQuAD's rules, with the punctuation of all scripts."""
    text = lower(unicodedata.normalize("NFC", text)).replace("i" + DOT_ABOVE, "i")
    return " ".join(ARTICLES.sub(" ", "".join(c for c in text if not is_punctuation(c))).split())


def is_punctuation(character: str) -> bool:
    """SQuAD's (ASCII, which counts signs like + and $ too), and what Unicode calls punctuation."""
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def turkish_lower(text: str) -> str:
    """I-ı and İ-i, where English has I-i."""
    return text.translate(TURKISH_LOWER).lower()


LOWERS: tuple[Callable[[str], str], ...] = (str.lower, turkish_lower)


def chrf(answer: str, expected: str) -> float:
    """chrF2 of one answer, 0 to 100. Case and punctuation count, white space does not."""
    return chrf_score(ngram_statistics(answer, expected))


def corpus_chrf(answers: Sequence[str], expected: Sequence[str]) -> float:
    """chrF2 of all answers together, 0 to 100."""
    rows = [ngram_statistics(*pair) for pair in zip(answers, expected, strict=True)]
    return chrf_score([(sum(a), sum(b), sum(c)) for a, b, c in (zip(*order, strict=True) for order in zip(*rows,
                                                                                                    strict=True))])


def ngram_statistics(answer: str, expected: str) -> Statistics:
    """Counts for every order. The answer's are 0 where the expected text is too short to have any."""
    found = []
    for n in range(1, CHRF_ORDER + 1):
        ours, theirs = (Counter(text[i : i + n] for i in range(len(text) - n + 1))
                        for text in ("".join(answer.split()), "".join(expected.split())))
        found.append((ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()))
    return found


def chrf_score(statistics: Statistics) -> float:
    """Precision and recall, each averaged over the orders that both texts have, then F with beta 2."""
    used = [counts for counts in statistics if counts[0] and counts[1]]
    precision = sum(shared / ours for ours, _, shared in used)
    recall = sum(shared / theirs for _, theirs, shared in used)
    if not precision + recall:
        return 0.0
    weight = CHRF_BETA**2
    return 100 * (1 + weight) * precision * recall / (weight * precision + recall) / len(used)
