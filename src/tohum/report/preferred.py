"""The preferences' part of a page: test pairs before and after -> sentence, tiles, table, in the words of the loss."""

from dataclasses import dataclass

from tohum.report.facts import Tile
from tohum.report.read import Line, RunRecord, first_number, number, section


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the figures of a loss are. `accuracy` is a share of the rows, `about` explains both."""

    margin: str
    accuracy: str
    about: str
    rows: str = "pairs"


REFERENCE = "A reward is how much likelier an answer has become than it was to the model before training"
DPO = Words(margin="reward margin", accuracy="chosen gained on rejected",
            about=f"{REFERENCE}; the margin is the reward of the chosen answer less that of the rejected one.")
KTO = Words(margin="reward towards the label", accuracy="answers moved as wanted", rows="answers",
            about=f"{REFERENCE} and than answers to other questions have; towards the label is up for wanted answers, "
                  "down for the others.")
FREE = Words(margin="margin per token", accuracy="chosen is likelier per token",
             about="This loss knows no model before training. The margin is beta times the log-probability per token "
                   "of the chosen answer less that of the rejected one.")
WORDS = {"dpo": DPO, "kto": KTO, "orpo": FREE, "simpo": FREE}
SHARES = ("accuracy", "preferred")
LESS_IS_BETTER = {"loss": True, "margin": False, "accuracy": False, "preferred": False}


def words(run: RunRecord) -> Words:
    """Those of the run's loss."""
    return WORDS.get(str(section(run.config, "preference").get("method")), DPO)


def same_loss(a: RunRecord, b: RunRecord) -> bool:
    """Whether the two runs minimise the same thing, so that their losses can be compared."""
    methods = [section(run.config, "preference").get("method") for run in (a, b)]
    return a.kind == b.kind and methods[0] == methods[1]


def test_of(run: RunRecord) -> Line:
    """Figures of the test; empty before it."""
    return section(run.result, "test")


def before_of(run: RunRecord) -> Line:
    """The same of the model before training. Where it is its own reference nothing has moved, to either side."""
    found = section(test_of(run), "before") or run.untrained
    return without_ties(found)


def without_ties(line: Line) -> Line:
    """A line without the accuracy of answers that have not moved at all: 0 would look like all of them wrong."""
    return {key: value for key, value in line.items() if key != "accuracy"} if number(line.get("margin")) == 0 else line


def sentence(run: RunRecord) -> str:
    """What training did to answers that were never seen."""
    test, before, named = test_of(run), before_of(run), words(run)
    data = section(run.result, "data") or section(run.plan, "data")
    rows = number(section(section(data, "sides"), "test").get("kept"))
    old, new, accuracy = (number(line.get(key)) for line, key in (
        (before, "preferred"), (test, "preferred"), (test, "accuracy")))
    said = f"On {rows:,.0f} {named.rows} that it was not trained on" if rows else "On what it was not trained on"
    if accuracy is None:
        return "Training is done; there was nothing to test it on."
    if new is None:
        return f"{said}, {accuracy:.0%} moved as wanted."
    then = f", before training in {old:.0%}" if old is not None else ""
    return f"{said}, the chosen answer is the likelier one in {new:.0%}{then}; {named.accuracy} in {accuracy:.0%}."


def tiles(run: RunRecord) -> list[Tile]:
    """The two shares; before the test those of validation."""
    test, last, before = test_of(run), run.evaluations[-1] if run.evaluations else {}, before_of(run)
    found = []
    for key, name in (("preferred", "chosen is likelier"), ("accuracy", words(run).accuracy)):
        value, old = first_number(test.get(key), None if test else last.get(key)), number(before.get(key))
        found += [Tile(value=f"{value:.1%}", name=name + ("" if test else " on validation"),
                       note="" if old is None or not test else f"before training {old:.1%}")
                  ] if value is not None else []
    return found


def table(run: RunRecord) -> list[Line]:
    """The test before and after; before the test only the first."""
    named = {"loss": "loss", "margin": words(run).margin, "accuracy": words(run).accuracy,
             "preferred": "chosen is the likelier answer", "kl": "distance from the reference"}
    test, before = test_of(run), before_of(run)
    found = [table_row(key, name, number(before.get(key)), number(test.get(key))) for key, name in named.items()]
    return [row for row in found if row["before"] or row["after"]] if run.kind == "prefer" else []


def table_row(key: str, name: str, before: float | None, after: float | None) -> Line:
    """One row as text."""
    form = ".1%" if key in SHARES else ".4f"
    change = after - before if before is not None and after is not None else None
    text = written(change, "+.4f") if key not in SHARES else "" if change is None else f"{change * 100:+.1f} points"
    less = LESS_IS_BETTER.get(key)
    return {"name": name, "before": written(before, form), "after": written(after, form), "change": text,
            "bad": change is not None and less is not None and change != 0 and (change > 0) == less}


def written(value: float | None, form: str) -> str:
    """A number, or nothing."""
    return "" if value is None else format(value, form)
