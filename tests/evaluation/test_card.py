"""The before/after card: verdicts from made-up sides, where the truth is known, and what the terminal shows."""

import json

import numpy as np
import pytest

from tohum.errors import DataError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.card import Side, make_card
from tohum.evaluation.card_text import card_text
from tohum.evaluation.perplexity import Cost

QUESTIONS = [AnswerRow(prompt=f"What is {n}?", expected=f"It is number {n}.") for n in range(40)]
WRONG, RIGHT = [f"zzz {n}" for n in range(40)], [row.expected for row in QUESTIONS]


def blocks(rise: float, noise: float = 0.0, count: int = 60) -> list[Cost]:
    """Blocks of 256 tokens whose costs rose by `rise` on average, each by chance up or down by `noise`."""
    drawn = np.random.default_rng(1)
    hard, shake = drawn.uniform(300, 900, count), drawn.normal(size=count)
    shake -= shake.mean()
    return [Cost(nats=float(nats * (1 + rise + noise * s)), tokens=256, bytes=1000)
            for nats, s in zip(hard, shake, strict=True)]


def side(name: str, answers=(), general=(), sha: str = "") -> Side:
    return Side(name=name, model_sha256=sha or name, answers=answers, general=general)


def card(before, after, *, base=(), tuned=(), sha=("a", "b")):
    questions = QUESTIONS if before else []
    return make_card(side("base", before, base, sha[0]), side("tuned", after, tuned, sha[1]), questions=questions,
                     text="a book")


def test_card_sees_a_gain_only_outside_chance():
    found = card(WRONG, RIGHT)
    assert {name: gain.verdict for name, gain in found.gains.items()} == dict.fromkeys(
        ("exact_match", "token_f1", "chrf"), "better")
    assert found.gains["exact_match"].difference.value == 1
    assert card(RIGHT, WRONG).gains["token_f1"].verdict == "worse"
    some = card(WRONG, [RIGHT[0], *WRONG[1:]]).gains["exact_match"]  # one of 40: chance could do that
    assert some.difference.value == pytest.approx(1 / 40)
    assert some.verdict == "no clear change"


@pytest.mark.parametrize(("rise", "noise", "forgotten"), [
    (0.0, 0.0, False),
    (0.019, 0.0, False),  # tolerated
    (0.021, 0.0, True),
    (0.5, 0.3, True),
    (0.03, 0.5, False),  # not outside chance
    (-0.2, 0.0, False),
])
def test_card_flags_forgetting_above_two_percent_and_chance(rise, noise, forgotten):
    found = card((), (), base=blocks(0), tuned=blocks(rise, noise))
    assert found.forgetting == forgotten
    assert found.general.after.bits_per_byte / found.general.before.bits_per_byte - 1 == pytest.approx(found.general.rise.value)
    assert found.general.rise.value == pytest.approx(rise, abs=0.1 * noise + 1e-9)


def test_card_flags_that_nothing_changed():
    assert card(WRONG, RIGHT, sha=("a", "a")).nothing_changed == "both have the same weights"
    assert card(WRONG, [*WRONG[:39], "other"]).nothing_changed == "39 of 40 answers are the same"
    assert card(WRONG, [*WRONG[:38], "other", "other"]).nothing_changed is None  # 95 % is not above 95 %
    assert "to the last bit" in card((), (), base=blocks(0), tuned=blocks(0)).nothing_changed
    assert card((), (), base=blocks(0), tuned=blocks(1e-9)).nothing_changed is None


def test_card_takes_labels_as_answers_and_needs_no_general_text():
    questions = [AnswerRow(prompt=f"text {n}", expected=["ham", "spam"][n % 2]) for n in range(40)]
    found = make_card(side("base", ["ham"] * 40), side("tuned", [row.expected for row in questions]), questions=questions)
    assert found.general is None
    assert not found.forgetting
    assert (found.gains["exact_match"].before, found.gains["exact_match"].after) == (0.5, 1.0)
    assert found.identical_fraction == 0.5


def test_card_pairs_blocks_only_where_both_models_cut_the_text_alike():
    apart = card((), (), base=blocks(0), tuned=[*blocks(0.03), Cost(nats=600.0, tokens=256, bytes=1000)])
    assert apart.general.rise.low < 0  # sixty blocks, each drawn by itself, leave 3 % within chance
    assert not apart.forgetting


def test_card_refuses_answers_that_are_missing():
    with pytest.raises(DataError, match="tuned: 39 answers to 40 questions"):
        card(WRONG, RIGHT[:39])


def test_card_as_text_and_as_json():
    found = card([*WRONG[:39], RIGHT[39]], [*RIGHT[:39], "[red]zzz[/red] \x1b[31m39"], base=blocks(0), tuned=blocks(0.25))
    shown = card_text(found)
    assert "tuned against base" in shown
    assert "exact match" in shown
    assert "FORGETTING" in shown
    assert "+25.0%" in shown
    assert "general text: a book, 60,000 bytes" in shown
    assert "asked     What is " in shown
    assert "\x1b" not in shown
    assert "NOTHING CHANGED: 40 of 40" in card_text(card(WRONG, WRONG))
    assert card_text(card((), (), sha=("a", "a"))).endswith("NOTHING CHANGED: both have the same weights")
    again = json.loads(json.dumps(found.as_dict()))
    assert again["forgetting"] is True
    assert again["gains"]["chrf"]["verdict"] == "better"
    assert again["general"]["rise"]["value"] == pytest.approx(0.25)
    assert len(again["examples"]) == 3 + 1  # three that gained most, the one that lost


def test_card_of_one_question_judges_nothing_by_chance():
    found = make_card(side("base", ["a b"]), side("tuned", ["a c"]), questions=[AnswerRow(prompt="p", expected="a b")])
    assert found.gains["exact_match"].difference.value == -1
