"""The assistant's part of a page: answers before and after -> the card, how many end, the answers side by side."""

import json
from collections.abc import Sequence
from typing import Any

from tohum.evaluation.answers import token_f1
from tohum.report import preferred
from tohum.report.facts import Tile
from tohum.report.preferred import test_of, written
from tohum.report.read import Line, RunRecord, first_number, number, section

OPEN_ANSWERS, MOST_ANSWERS = 20, 500
SCORES = {"exact_match": ("exact match", ".3f"), "token_f1": ("token F1", ".3f"), "chrf": ("chrF", ".1f")}


def sentence(run: RunRecord) -> str:
    """What training did, for someone who meets the run for the first time."""
    test, card = test_of(run), section(test_of(run), "card")
    if not test:
        last = run.evaluations[-1] if run.evaluations else {}
        loss = number(last.get("loss"))
        return ("No validation has been made yet." if loss is None else
                f"The test has not been made yet. The validation loss at step {last.get('step')} is {loss:.4f}.")
    if run.kind == "prefer":
        return preferred.sentence(run)
    gain, questions = section(section(card, "gains"), "token_f1"), number(card.get("questions")) or 0
    before, after = number(gain.get("before")), number(gain.get("after"))
    if before is None or after is None:
        return "Training is done; there were no test questions to answer."
    change = section(gain, "difference")
    low, high = number(change.get("low")) or 0.0, number(change.get("high")) or 0.0
    verb = {"better": "rose", "worse": "fell"}.get(str(gain.get("verdict")), "went")
    clear = "" if verb != "went" else ", which may be chance"
    return (f"On {questions:,.0f} questions that it was not trained on, the words that its answers share with the "
            f"expected ones (token F1) {verb} from {before:.3f} to {after:.3f}{clear}; the 95 % interval of the change "
            f"is {low:+.3f} to {high:+.3f}.")


def tiles(run: RunRecord) -> list[Tile]:
    """The figures of the test; before it the last of validation."""
    test, last = test_of(run), run.evaluations[-1] if run.evaluations else {}
    found = preferred.tiles(run) if run.kind == "prefer" else []
    for key in ("token_f1", "chrf") if run.kind == "instruct" else ("token_f1",):
        name, form = SCORES[key]
        value = number(section(test, key).get("value"))
        before = number(section(section(section(test, "card"), "gains"), key).get("before"))
        found += [Tile(value=format(value, form), name=name, note="" if before is None else
                       f"before training {before:{form}}")] if value is not None else []
    ended, loss = number(test.get("ended_fraction")), first_number(test.get("loss"), last.get("loss"))
    found += [Tile(value=f"{ended:.0%}", name="answers that end by themselves")] if ended is not None else []
    return found + ([Tile(value=f"{loss:.3f}", name="test loss" if test else "validation loss")]
                    if loss is not None and (run.kind == "instruct" or not test) else [])


def warnings(run: RunRecord) -> list[str]:
    """What a person must know."""
    test, card = test_of(run), section(test_of(run), "card")
    ended, margin = number(test.get("ended_fraction")), number(test.get("margin"))
    found = []
    if card.get("nothing_changed"):
        found.append(f"Nothing changed: {card['nothing_changed']}.")
    if card.get("forgetting"):
        found.append("Forgetting: a general text costs the model clearly more bits than before. A lower rate, fewer "
                     "steps or some general text among the examples help.")
    if ended is not None and ended < 0.5:
        found.append("More than half of the answers do not end by themselves: they run into the limit of tokens.")
    if margin is not None and abs(margin) < 1e-6:
        found.append("The reward margin on the test pairs is still 0: nothing was learned.")
    return found


def answers(run: RunRecord) -> dict[str, Any]:
    """What the sections on answers show; each part may be empty."""
    every = answer_rows(run)
    return {"gains": gain_rows(section(test_of(run), "card")), "ended": ended(run), "pairs": preferred.table(run),
            "about_pairs": preferred.words(run).about,
            "shown": every[:OPEN_ANSWERS], "more": every[OPEN_ANSWERS:MOST_ANSWERS],
            "left": max(0, len(every) - MOST_ANSWERS), "heads": ("before", "after"),
            "text": str(section(section(test_of(run), "card"), "general").get("text", ""))}


def gain_rows(card: Line) -> list[Line]:
    """One for each score, then the general text."""
    rows = [gain_row(name, gain, form) for key, (name, form) in SCORES.items()
            if (gain := section(section(card, "gains"), key))]
    general = section(card, "general")
    if not general:
        return rows
    before, after = (number(section(general, side).get("bits_per_byte")) for side in ("before", "after"))
    verdict = "forgetting" if card.get("forgetting") else "kept"
    return [*rows, gain_row("bits per byte of a general text", {
        "before": before, "after": after, "difference": section(general, "rise"), "verdict": verdict}, ".4f", ".1%")]


def gain_row(name: str, gain: Line, form: str, change: str = "") -> Line:
    """One row as text, with places (in percent) for its interval around 0. `change`: format where it is another."""
    value, low, high = (number(section(gain, "difference").get(key)) for key in ("value", "low", "high"))
    reach = max((abs(place) for place in (value, low, high) if place is not None), default=0.0) or 1.0
    form_of_change = "+" + (change or form)
    return {"name": name, "verdict": str(gain.get("verdict", "")),
            "before": written(number(gain.get("before")), form), "after": written(number(gain.get("after")), form),
            "change": written(value, form_of_change),
            "interval": f"{low:{form_of_change}} to {high:{form_of_change}}" if low is not None and high is not None
            else "", "bad": gain.get("verdict") in ("worse", "forgetting"),
            "places": {key: 50 + 42 * place / reach for key, place in (("value", value), ("low", low), ("high", high))
                       if place is not None}}


def ended(run: RunRecord) -> list[Line]:
    """Share of the answers that end by themselves, before and after."""
    found = []
    for name, lines, own in (("before", run.answers_before, False), ("after", run.answers, True)):
        reasons = [line.get("finish_reason") for line in lines if line.get("finish_reason")]
        if reasons:
            share = reasons.count("stop") / len(reasons)
            found.append({"name": name, "own": own, "value": f"{share:.0%}", "width": share * 100})
    return found


def answer_rows(run: RunRecord) -> list[Line]:
    """The test questions, in their order, with what was expected and both answers."""
    return paired(run.answers_before, run.answers)


def paired(first: Sequence[Line], second: Sequence[Line]) -> list[Line]:
    """Rows of both files that answer the same question; those of one alone too."""
    by_question: dict[str, list[Line]] = {}
    for index, lines in enumerate((first, second)):
        for line in lines:
            question = json.dumps([line.get(key) for key in ("prompt", "expected", "place")])
            sides = by_question.setdefault(question, [{}, {}])
            sides[index] = line
    return [answer_row(*sides) for sides in by_question.values()]


def answer_row(first: Line, second: Line) -> Line:
    """One question."""
    one = second or first
    expected = str(one.get("expected") or "")
    return {"turns": turns(one.get("prompt")), "expected": expected, "place": str(one.get("place") or ""),
            "sides": [{"text": None if line.get("answer") is None else str(line["answer"]),
                       "cut": line.get("finish_reason") == "length",
                       "score": f"{token_f1(str(line['answer']), expected):.2f}"
                       if line.get("answer") is not None else ""} for line in (first, second)]}


def turns(prompt: Any) -> list[tuple[str, str]]:
    """(role, text) of a conversation; a single question of a user has no role."""
    messages = prompt if isinstance(prompt, list) else [{"content": prompt}]
    found = [(str(message.get("role", "")), str(message.get("content", ""))) for message in messages
             if isinstance(message, dict)]
    return [("", found[0][1])] if len(found) == 1 else found
