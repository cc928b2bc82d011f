"""A file of preferences in any of the usual forms -> pairs (chosen, rejected) or single answers (wanted or not).

Recognised by the keys of the first rows. Pairs: prompt, chosen, rejected (TRL; texts or lists of turns); instruction,
input, chosen, rejected; chosen and rejected as whole conversations, whose common beginning is the prompt. Single
answers: prompt, completion, label (TRL); messages, label (LLaMA-Factory): the last answer is what is judged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.documents.records import json_kind
from tohum.errors import DataError
from tohum.finetuning.columns import Columns, answer_messages, columns_of, question_messages
from tohum.finetuning.conversations import CONVERSATION_KEYS, Messages, check_answered, each_row, turns
from tohum.finetuning.rows import Row, read_rows

FIRST_ROWS = 100
KNOWN = ("prompt, chosen, rejected; instruction, input, chosen, rejected; chosen, rejected (whole conversations); "
         "prompt, completion, label; messages, label")
LABELS: dict[bool | int | float | str, bool] = {  # 1 is True, 0 is False
    True: True, False: False, "true": True, "false": False, "1": True, "0": False}
SPEAKERS = re.compile(r"\n\n(Human|Assistant):[ \t]?")  # Anthropic's hh-rlhf writes conversations as texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One prompt and two answers to it. Every answer is one message or more and ends with the assistant's."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    place: str  # "file:line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaired:
    """One prompt and one answer, which is wanted or not."""

    prompt: Messages
    completion: Messages
    desirable: bool
    place: str


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What a file holds: pairs or single answers, the other list is empty. `described` is the line for the user."""

    pairs: list[Pair]
    unpaired: list[Unpaired]
    described: str


def read_preferences(path: Path) -> Preferences:
    """All rows of a file. Raises DataError that names file, line and key; one for all bad rows."""
    rows = list(read_rows(path))
    if not rows:
        raise DataError(f"{path}: no rows; expected one preference a row, with the keys {KNOWN}")
    keys = list(dict.fromkeys(key for _, row in rows[:FIRST_ROWS] for key in row))
    asking = asking_of(path, keys)
    if {"chosen", "rejected"} <= set(keys):
        pairs, unpaired = each_row(rows, lambda row, place: pair_of(row, asking, place)), []
        used = (*(asking.used if asking else ()), "chosen", "rejected")
    else:
        pairs, unpaired = [], each_row(rows, lambda row, place: single_of(row, asking, place))
        used = (*(asking.used if asking else ()), *(key for key in CONVERSATION_KEYS if key in keys), "label")
    used = tuple(key for key in used if key in keys and not (pairs and asking and key == asking.answer))
    unused = [key for key in keys if key not in used]
    described = (f"{path}: {'pairs of answers' if pairs else 'single answers with labels'}, read from "
                 f"{', '.join(used)}; {len(rows):,} rows" + (f"; not used: {', '.join(unused)}" if unused else ""))
    return Preferences(pairs=pairs, unpaired=unpaired, described=described)


def asking_of(path: Path, keys: Sequence[str]) -> Columns | None:
    """How the rows ask; None where the prompt stands in the conversations. Raises DataError for unknown forms."""
    asking, there = columns_of(keys), set(keys)
    if {"chosen", "rejected"} <= there:
        return asking
    if "label" in there and ((asking and asking.answer) or there & set(CONVERSATION_KEYS)):
        return asking if asking and asking.answer else None
    raise DataError(f"{path}: the keys are {', '.join(keys[:12]) or 'none'}\nexpected {KNOWN}")


def pair_of(row: Row, asking: Columns | None, place: str) -> Pair:
    """One row -> its pair. Raises DataError."""
    for key in ("chosen", "rejected"):
        if key not in row:
            raise DataError(f"{place}: no key '{key}'; the keys that are there: {', '.join(row) or 'none'}")
    told = None if asking is None or not row.get(asking.question) else [
        answer_messages(row, key, place) for key in ("chosen", "rejected")]
    if asking is not None and told is not None and not any(map(is_whole, told)):
        prompt, chosen, rejected = question_messages(row, asking, place), *told
    else:
        one, other = (whole_conversation(row, key, place) for key in ("chosen", "rejected"))
        size = common_turns(one, other)
        prompt, chosen, rejected = one[:size], one[size:], other[size:]
        if not prompt:
            raise DataError(f"{place}: chosen and rejected begin with different turns, and there is no key 'prompt'; "
                            "expected two answers to the same prompt")
    check_answered(chosen, f"{place}: 'chosen'")
    check_answered(rejected, f"{place}: 'rejected'")
    return Pair(prompt=prompt, chosen=chosen, rejected=rejected, place=place)


def is_whole(said: Messages) -> bool:
    """Not an answer alone: some files repeat the prompt in front of it."""
    return bool(said) and said[0]["role"] in ("system", "user")


def common_turns(one: Messages, other: Messages) -> int:
    """Turns that both begin with; at least the last turn of each is an answer of its own."""
    most = min(len(one), len(other)) - 1
    return next((at for at in range(most) if one[at] != other[at]), max(most, 0))


def whole_conversation(row: Row, key: str, place: str) -> Messages:
    """A conversation as a list of turns, or as a text in which speakers are named. Raises DataError."""
    value = row[key]
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return turns(value, f"{place}: '{key}'")
    parts = SPEAKERS.split("\n\n" + value.lstrip("\n"))
    if len(parts) < 3 or parts[0].strip():
        raise DataError(f"{place}: '{key}' is a text, and there is no key 'prompt'; expected a prompt beside it, or a "
                        "whole conversation as a list of turns")
    role = {"Human": "user", "Assistant": "assistant"}
    return tuple({"role": role[who], "content": said.strip()}
                 for who, said in zip(parts[1::2], parts[2::2], strict=True))


def single_of(row: Row, asking: Columns | None, place: str) -> Unpaired:
    """One row -> its answer and label. Raises DataError."""
    desirable = label_of(row, place)
    if asking is not None and asking.answer is not None:
        completion = answer_messages(row, asking.answer, place)
        check_answered(completion, f"{place}: '{asking.answer}'")
        prompt = completion[:-1] if is_whole(completion) else question_messages(row, asking, place)
        return Unpaired(prompt=prompt, completion=completion[-1:] if is_whole(completion) else completion,
                        desirable=desirable, place=place)
    key = next((key for key in CONVERSATION_KEYS if row.get(key)), None)
    if key is None:
        raise DataError(f"{place}: no conversation; the keys that are there: {', '.join(row) or 'none'}")
    messages = turns(row[key], f"{place}: '{key}'")
    check_answered(messages, f"{place}: '{key}'")
    return Unpaired(prompt=messages[:-1], completion=messages[-1:], desirable=desirable, place=place)


def label_of(row: Row, place: str) -> bool:
    """true or false, 1 or 0; as texts in CSV. Raises DataError."""
    value: Any = row.get("label")
    key = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(key, bool | int | float | str) or key not in LABELS:
        seen = f"{json_kind(value)} {str(value)[:20]!r}" if "label" in row else "missing"
        raise DataError(f"{place}: 'label' is {seen}; expected true (a wanted answer) or false")
    return LABELS[key]


def as_unpaired(pairs: Sequence[Pair]) -> list[Unpaired]:
    """KTO from pairs: the chosen answer is wanted, the rejected one is not."""
    return [Unpaired(prompt=pair.prompt, completion=answer, desirable=desirable, place=pair.place)
            for pair in pairs for answer, desirable in ((pair.chosen, True), (pair.rejected, False))]
