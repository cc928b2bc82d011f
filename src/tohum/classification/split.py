"""Labelled rows -> train, validation and test, each class in its share on every side, copies of a text on one side.

A pure function of (rows, fractions, seed, balance). Two texts that differ only in case and blanks are copies.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tohum.classification.rows import Labelled, LabelledRow
from tohum.errors import ConfigError, DataError
from tohum.seeding import derive

Balance = Literal["weights", "undersample", "none"]
FRACTIONS = (0.7, 0.1, 0.2)  # train, validation, test
TRAIN, VALIDATION, TEST = range(3)
SIDES = ("train", "validation", "test")
Group = list[int]  # numbers of rows whose texts are copies of each other


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of each side in the order of the file. `class_weights`: label -> factor of its loss, 1.0 unless balanced
    by weights. `notes`: what a reader of the figures has to know."""

    train: tuple[LabelledRow, ...]
    validation: tuple[LabelledRow, ...]
    test: tuple[LabelledRow, ...]
    class_weights: dict[str, float]
    notes: tuple[str, ...]


def split_rows(labelled: Labelled, *, fractions: tuple[float, float, float] = FRACTIONS, seed: int,
               balance: Balance = "weights") -> Split:
    """Stratified split; every class stands in train, and on the other sides where it has texts enough.

    balance: "weights" gives class c the weight N / (C * n_c) from train; "undersample" keeps as many rows of each
    class as the smallest has, before the split (validation and test too). Raises ConfigError, DataError.
    """
    check(fractions, balance)
    rows, notes = labelled.rows, []
    if balance == "undersample":
        rows, notes = undersample(labelled, seed)
    groups = grouped(rows)
    notes += copies_noted(rows, groups)
    sides: list[list[int]] = [[], [], []]
    for side, group in assign(rows, groups, labels=labelled.labels, fractions=fractions, seed=seed):
        sides[side] += group
    if empty := [name for name, side in zip(SIDES, sides, strict=True) if not side]:
        raise DataError(f"{len(rows):,} rows with {len(groups):,} different texts in {len(labelled.labels)} classes: "
                        f"{' and '.join(empty)} would be empty\nadd rows: three different texts of each class are "
                        "enough to train, to stop and to test")
    train, validation, test = (tuple(rows[number] for number in sorted(side)) for side in sides)
    notes += absences_noted(labelled.labels, validation, test)
    if missing := sorted(set(labelled.labels) - {row.label for row in train}):
        raise DataError(f"class '{missing[0]}': every text of it stands under another label as well, and none of them "
                        "came into train\ndelete the wrong rows")
    return Split(train=train, validation=validation, test=test, notes=tuple(notes),
                 class_weights=class_weights(train, labelled.labels, balance))


def check(fractions: Sequence[float], balance: str) -> None:
    """Raises ConfigError for fractions that are none or do not add up."""
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(f"fractions {', '.join(f'{f:g}' for f in fractions)}; expected three above 0 that add up "
                          "to 1: train, validation, test, as 0.7, 0.1, 0.2")
    if balance not in get_args(Balance):
        raise ConfigError(f"balance '{balance}' is unknown; choose one of {', '.join(get_args(Balance))}")


def undersample(labelled: Labelled, seed: int) -> tuple[tuple[LabelledRow, ...], list[str]]:
    """As many rows of each class as the smallest class has, drawn by the seed, in the order of the file."""
    smallest = min(Counter(row.label for row in labelled.rows).values())
    kept: list[int] = []
    for label in labelled.labels:
        numbers = [number for number, row in enumerate(labelled.rows) if row.label == label]
        kept += generator(seed, "undersample", label).sample(numbers, smallest)
    note = (f"undersampled to {smallest:,} rows of each class before the split: {len(kept):,} of "
            f"{len(labelled.rows):,} rows are used, and the figures of the test are not those of the natural mixture")
    return tuple(labelled.rows[number] for number in sorted(kept)), [note]


def generator(seed: int, purpose: str, label: str) -> random.Random:
    """Randomness for one purpose and one class: other classes do not move it."""
    return random.Random(derive(seed, f"{purpose}:{label}"))


def normalised(text: str) -> str:
    """What copies have in common."""
    return " ".join(text.split()).casefold()


def grouped(rows: Sequence[LabelledRow]) -> list[Group]:
    """Rows with the same normalised text, in the order of the file."""
    found: dict[str, Group] = {}
    for number, row in enumerate(rows):
        found.setdefault(normalised(row.text), []).append(number)
    return list(found.values())


def label_of(rows: Sequence[LabelledRow], group: Group, sizes: Counter[str]) -> str:
    """The label whose share it counts for: of several, the one with the fewest rows in all, which needs them most."""
    return min((rows[number].label for number in group), key=lambda label: (sizes[label], label))


def assign(rows: Sequence[LabelledRow], groups: Sequence[Group], *, labels: Sequence[str],
           fractions: Sequence[float], seed: int) -> Iterable[tuple[int, Group]]:
    """(side, group) for every group. The sizes of the sides are those of the whole, rounded once.

    Each class gets what the rounded running total has grown by: less than one row from its exact share.
    """
    total, given, sizes = 0, [0, 0, 0], Counter(row.label for row in rows)
    by_label: dict[str, list[Group]] = {label: [] for label in labels}
    for group in groups:
        by_label[label_of(rows, group, sizes)].append(group)
    for label, mine in by_label.items():
        generator(seed, "split", label).shuffle(mine)
        total += sum(map(len, mine))
        quotas = [0, 0, 0]
        for side in (VALIDATION, TEST):
            quotas[side] = int(fractions[side] * total + 0.5) - given[side]
            given[side] += quotas[side]
        yield from fill(mine, quotas)


def fill(groups: Sequence[Group], quotas: Sequence[int]) -> Iterable[tuple[int, Group]]:
    """The groups of one class, in the order given: test and validation take what fits, train the others.

    With one text it goes to train, with two also to test, with three to every side, whatever the quotas say.
    """
    sides: list[list[Group]] = [[], [], []]
    left = [0, quotas[VALIDATION], quotas[TEST]]
    for group in groups:
        side = next((side for side in (TEST, VALIDATION) if len(group) <= left[side]), TRAIN)
        sides[side].append(group)
        left[side] -= len(group)
    for side, texts in ((TRAIN, 1), (TEST, 2), (VALIDATION, 3)):
        if not sides[side] and len(groups) >= texts:
            donor = max((other for other in range(3) if other != side), key=lambda other: (len(sides[other]), other))
            smallest = min(sides[donor], key=len)
            sides[donor].remove(smallest)
            sides[side].append(smallest)
    return [(side, group) for side in range(3) for group in sides[side]]


def majority_label(rows: Sequence[LabelledRow]) -> str:
    """The most frequent label; of several, the first in the file."""
    return Counter(row.label for row in rows).most_common(1)[0][0]


def class_weights(train: Sequence[LabelledRow], labels: Sequence[str], balance: Balance) -> dict[str, float]:
    """N / (C * n_c): the classes weigh the same together, and all rows N."""
    if balance != "weights":
        return dict.fromkeys(labels, 1.0)
    counts = Counter(row.label for row in train)
    return {label: len(train) / (len(labels) * counts[label]) for label in labels}


def copies_noted(rows: Sequence[LabelledRow], groups: Sequence[Group]) -> list[str]:
    """How many rows are copies, and where copies disagree."""
    notes = []
    if copies := len(rows) - len(groups):
        notes.append(f"{copies:,} rows repeat the text of another; each text is on one side only")
    at_odds = [group for group in groups if len({rows[number].label for number in group}) > 1]
    if at_odds:
        first = [rows[number] for number in at_odds[0]]
        other = next(row for row in first if row.label != first[0].label)
        notes.append(f"{len(at_odds):,} texts have several labels, such as {first[0].place} ('{first[0].label}') and "
                     f"{other.place} ('{other.label}')")
    return notes


def absences_noted(labels: Sequence[str], validation: Sequence[LabelledRow], test: Sequence[LabelledRow]) -> list[str]:
    """Classes with too few texts to be on every side."""
    notes = []
    for name, side in (("validation", validation), ("test", test)):
        present = {row.label for row in side}
        if absent := [f"'{label}'" for label in labels if label not in present]:
            notes.append(f"no row of {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''} in {name}: too few texts")
    return notes
