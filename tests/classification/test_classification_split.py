"""classification: the split keeps shares of classes and copies of texts, and says what was done to the set."""

from collections import Counter

import pytest

from tohum.classification.columns import ColumnGuess
from tohum.classification.rows import Labelled, LabelledRow, read_labelled, sorted_labels
from tohum.classification.split import Split, normalised, split_rows
from tohum.errors import ConfigError, DataError

GUESS = ColumnGuess(text_columns=(1,), label_column=2, header=False, names=None, reasons=())


def labelled(*pairs: tuple[str, str]) -> Labelled:
    rows = tuple(LabelledRow(text=text, label=label, place=f"f:{n}") for n, (text, label) in enumerate(pairs, 1))
    return Labelled(rows=rows, labels=sorted_labels({row.label for row in rows}), guess=GUESS)


def of_sizes(**sizes: int) -> Labelled:
    return labelled(*((f"{label} text {n}", label) for label, size in sizes.items() for n in range(size)))


def counts(split: Split) -> list[Counter[str]]:
    return [Counter(row.label for row in side) for side in (split.train, split.validation, split.test)]


def test_split_has_the_wanted_sizes_and_each_class_in_its_share():
    split = split_rows(of_sizes(a=1000, b=300, c=37), seed=1)
    assert [len(side) for side in (split.train, split.validation, split.test)] == [936, 134, 267]
    for label, size in (("a", 1000), ("b", 300), ("c", 37)):
        for side, fraction in zip(counts(split), (0.7, 0.1, 0.2), strict=True):
            assert abs(side[label] - fraction * size) <= 1
    assert split.notes == ()


def test_split_is_a_function_of_rows_and_seed():
    rows = of_sizes(a=50, b=20)
    assert split_rows(rows, seed=1) == split_rows(rows, seed=1)
    assert split_rows(rows, seed=1).test != split_rows(rows, seed=2).test
    kept = {row.place for side in (split_rows(rows, seed=1),) for part in (side.train, side.validation, side.test) for row in part}
    assert len(kept) == 70


def test_copies_of_a_text_stay_on_one_side_and_conflicts_are_reported():
    pairs = [(f"{'Text' if copy else 'text'}  {n}" if copy % 2 else f"text {n} ", "ab"[n % 2]) for n in range(60) for copy in range(1 + n % 4)]
    pairs += [("TEXT 0", "b")]
    split = split_rows(labelled(*pairs), seed=3)
    sides = [{normalised(row.text) for row in side} for side in (split.train, split.validation, split.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert abs(len(split.test) - 0.2 * len(pairs)) <= 2
    assert f"{len(pairs) - 60:,} rows repeat the text of another; each text is on one side only" in split.notes
    assert f"1 texts have several labels, such as f:1 ('a') and f:{len(pairs)} ('b')" in split.notes


def test_rare_classes_are_in_train_and_then_in_test_and_validation():
    split = split_rows(of_sizes(a=100, three=3, two=2, one=1), seed=1)
    train, validation, test = counts(split)
    assert [train["one"], train["two"], test["two"]] == [1, 1, 1]
    assert [train["three"], validation["three"], test["three"]] == [1, 1, 1]
    assert "no row of 'one', 'two' in validation: too few texts" in split.notes
    assert "no row of 'one' in test: too few texts" in split.notes


def test_five_rows_can_be_split_and_fewer_name_a_remedy():
    for seed in range(20):
        train, validation, test = counts(split_rows(of_sizes(a=3, b=2), seed=seed))
        assert set(train) == set(test) == {"a", "b"}
        assert set(validation) == {"a"}
    for sizes in ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 2}):
        with pytest.raises(DataError, match=r"would be empty\nadd rows: three different texts of each class"):
            split_rows(of_sizes(**sizes), seed=1)


def test_a_class_whose_texts_all_have_a_second_label_is_in_train_or_named():
    lone = labelled(*((f"text {n % 5}", "a") for n in range(20)), ("text 1", "b"))
    assert all(counts(split_rows(lone, seed=seed))[0]["b"] == 1 for seed in range(20))
    doubled = labelled(*((f"text {n}", label) for n in range(2) for label in "aaab"), *((f"other {n}", "b") for n in range(3)))
    with pytest.raises(DataError, match="class 'a': every text of it stands under another label as well"):
        _ = [split_rows(doubled, fractions=(0.1, 0.1, 0.8), seed=seed) for seed in range(20)]


def test_class_weights_make_the_classes_equal_over_train():
    split = split_rows(of_sizes(a=400, b=100), seed=1)
    train = counts(split)[0]
    assert split.class_weights == {label: 350 / (2 * train[label]) for label in "ab"}
    assert sum(split.class_weights[row.label] for row in split.train) == pytest.approx(350)
    assert split_rows(of_sizes(a=400, b=100), seed=1, balance="none").class_weights == {"a": 1.0, "b": 1.0}


def test_undersampling_takes_the_smallest_class_before_the_split_and_says_so():
    split = split_rows(of_sizes(a=400, b=100), seed=1, balance="undersample")
    assert [dict(side) for side in counts(split)] == [{"a": 70, "b": 70}, {"a": 10, "b": 10}, {"a": 20, "b": 20}]
    assert split.class_weights == {"a": 1.0, "b": 1.0}
    assert "undersampled to 100 rows of each class before the split: 200 of 500 rows are used" in split.notes[0]


def test_fractions_and_balance_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"fractions 0\.7, 0\.1, 0\.1; expected three above 0 that add up to 1"):
        split_rows(of_sizes(a=9, b=9), fractions=(0.7, 0.1, 0.1), seed=1)
    with pytest.raises(ConfigError, match=r"fractions 0\.8, 0, 0\.2"):
        split_rows(of_sizes(a=9, b=9), fractions=(0.8, 0.0, 0.2), seed=1)
    with pytest.raises(ConfigError, match="balance 'even' is unknown; choose one of weights, undersample, none"):
        split_rows(of_sizes(a=9, b=9), seed=1, balance="even")


def test_sms_spam_undersampled_has_299_test_rows(shared_data):
    spam = read_labelled(shared_data / "classification" / "sms_spam.tsv")
    split = split_rows(spam, seed=1337, balance="undersample")
    assert (len(split.train), len(split.validation), len(split.test)) == (1046, 149, 299)
    whole = split_rows(spam, seed=1337)
    assert (len(whole.train), len(whole.validation), len(whole.test)) == (3902, 557, 1115)
    assert whole.notes == ("415 rows repeat the text of another; each text is on one side only",)
