"""Two runs side by side: two run folders -> one page with their curves over each other and what differs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tohum.files import write_text
from tohum.report import facts, figures, preferred, tuning
from tohum.report.answered import MOST_ANSWERS, OPEN_ANSWERS, paired
from tohum.report.classified import confusion
from tohum.report.curves import draw
from tohum.report.read import Line, RunRecord, number, read_run, section
from tohum.report.record import rows
from tohum.report.render import render
from tohum.report.samples import Card, moments
from tohum.units import human_bytes, human_count, human_seconds

Row = tuple[str, str, Callable[[float], str], bool | None]
PERCENT = "{:.2%}".format

# key of the headline, its name, how it is written, whether less is better (None: neither)
ROWS: tuple[Row, ...] = (
    ("bits_per_byte", "bits per byte", "{:.4f}".format, True),
    ("accuracy", "accuracy", PERCENT, False),
    ("macro_f1", "macro-F1", "{:.4f}".format, False),
    ("expected_calibration_error", "calibration error", "{:.4f}".format, True),
    ("preferred", "chosen answer is likelier", PERCENT, False),
    ("exact_match", "exact match", PERCENT, False),
    ("token_f1", "token F1", "{:.4f}".format, False),
    ("chrf", "chrF", "{:.2f}".format, False),
    ("ended_fraction", "answers that end by themselves", PERCENT, False),
    ("general_bits_per_byte", "bits per byte of a general text", "{:.4f}".format, True),
    ("test_loss", "test loss", "{:.4f}".format, True),
    ("val_loss", "validation loss", "{:.4f}".format, True),
    ("train_loss", "training loss", "{:.4f}".format, None),
    ("parameters", "parameters", human_count, None),
    ("trainable_parameters", "trained parameters", human_count, None),
    ("steps", "steps", "{:,.0f}".format, None),
    ("tokens", "training {}", human_count, None),
    ("seconds", "time", human_seconds, True),
    ("tokens_per_second", "{} per second", human_count, False),
    ("peak_memory_bytes", "peak memory", human_bytes, True),
)
OWN_TO_A_LOSS = ("accuracy", "test_loss", "val_loss", "train_loss", "tokens", "tokens_per_second")
TESTED = (*facts.TESTED, "exact_match", "token_f1", "chrf", "test_loss")  # which is better, if the test is the same
SAME_WITHIN = 1e-9
KINDS = {"": "a pretraining run", "classify": "a classifier", "instruct": "an assistant", "prefer": "a preference run"}
DECISIVE = {"": (), "classify": ("macro_f1", "accuracy"), "instruct": ("token_f1", "test_loss"),
            "prefer": ("preferred", "accuracy")}


def write_comparison(a: Path, b: Path, out: Path | None = None) -> Path:
    """Write A/compare-with-B.html, or `out`. Returns the path; raises ConfigError for what is no run folder."""
    first, second = read_run(a), read_run(b)
    target = out or a / f"compare-with-{second.name}.html"
    write_text(target, page(first, second))
    return target


def page(a: RunRecord, b: RunRecord) -> str:
    """The page as text."""
    both = (a, b)
    plots = figures.overlaid(both) if not (a.kind or b.kind) else tuning.overlaid(both) if a.kind == b.kind else []
    answered = common_answers(a, b)[:MOST_ANSWERS]
    return render(
        "compare.html", title=f"{a.name} and {b.name} · Tohum", kind="comparison of two runs", names=[a.name, b.name],
        sentence=sentence(a, b), rows=headline_rows(a, b), per=facts.counted(a),
        figures=[shown for figure in plots if (shown := draw(figure))],
        matrices=[(f"{mark} {run.name}", matrix) for mark, run in zip("AB", both, strict=True)
                  if (matrix := confusion(section(run.result, "test")))],
        config=differences(a.config, b.config), environment=differences(a.environment, b.environment),
        samples=sample_pairs(a, b), answers=answered[:OPEN_ANSWERS], more_answers=answered[OPEN_ANSWERS:],
        hashes=[(f"{mark} {run.name}", found) for mark, run in zip("AB", both, strict=True)
                if (found := facts.hashes(run))])


def sentence(a: RunRecord, b: RunRecord) -> str:
    """Which is better, by how much, and whether that can be said at all."""
    if a.kind != b.kind:
        return (f"{a.name} is {KINDS[a.kind]}, {b.name} {KINDS[b.kind]}: their losses and scores measure different "
                "things.")
    if a.kind:
        return tuned_sentence(a, b)
    first, second = (facts.headline(run)["bits_per_byte"] for run in (a, b))
    prints = [run.result.get("data_fingerprint") or run.data.get("fingerprint") for run in (a, b)]
    if first is None or second is None:
        return "At least one of the two has not been validated yet."
    if None not in prints and prints[0] != prints[1]:
        warning = " They were validated on data of different fingerprints, so the two numbers measure different texts."
    else:
        warning = ""
    if abs(first - second) < SAME_WITHIN:
        return f"Both need {first:.4f} bits per byte.{warning}"
    better, worse = (a.name, b.name) if first < second else (b.name, a.name)
    gap = abs(first - second)
    return f"{better} needs {gap:.3f} bits per byte less than {worse} ({gap / max(first, second):.1%}).{warning}"


def tuned_sentence(a: RunRecord, b: RunRecord) -> str:
    """The same of two fine-tuning runs of one kind, by the first figure of the test that both have."""
    first, second = (facts.headline(run) for run in (a, b))
    comparable = preferred.same_loss(a, b)
    shared = next((row for key in DECISIVE[a.kind] for row in ROWS if row[0] == key
                   and None not in (first[key], second[key]) and (comparable or key not in OWN_TO_A_LOSS)), None)
    if shared is None and not comparable:
        return "The two minimise different losses: what they have in common is below."
    if shared is None:
        return "At least one of the two has not been tested yet."
    key, name, write, less = shared
    values = [number(run[key]) or 0.0 for run in (first, second)]
    if tested_on(a) != tested_on(b):
        return (f"{a.name}: {name} {write(values[0])}, {b.name}: {write(values[1])}. They were tested on different "
                "rows (another file, seed or share), so this does not say which is better.")
    if abs(values[0] - values[1]) < SAME_WITHIN:
        return f"Both have the same “{name}”: {write(values[0])}."
    good, bad = (0, 1) if (values[0] < values[1]) == bool(less) else (1, 0)
    names = (a.name, b.name)
    return f"{names[good]} is better than {names[bad]}: {name} {write(values[good])} against {write(values[bad])}."


def tested_on(run: RunRecord) -> tuple[Any, ...]:
    """What decides which rows a fine-tuning run is tested on."""
    data = section(run.config, "data")
    return (*(str(data.get(key)) for key in ("file", "fractions", "answers")),
            "undersample" if data.get("balance") == "undersample" else "",
            section(run.config, "training").get("seed"))


def common_answers(a: RunRecord, b: RunRecord) -> list[Line]:
    """The test questions that both runs have answered, with both answers."""
    return [row for row in paired(a.answers, b.answers) if None not in (side["text"] for side in row["sides"])]


def headline_rows(a: RunRecord, b: RunRecord) -> list[Line]:
    """One row for each number that at least one run has."""
    first, second, unit = facts.headline(a), facts.headline(b), facts.counted(a)
    same_test, comparable = tested_on(a) == tested_on(b), preferred.same_loss(a, b)
    found = []
    for key, name, write, less in ROWS:
        one, other = first.get(key), second.get(key)
        if (one is None and other is None) or (not comparable and key in OWN_TO_A_LOSS):
            continue
        named = preferred.words(a).accuracy if (a.kind, key) == ("prefer", "accuracy") else name.format(unit)
        found.append(headline_row((key, named, write, less if same_test or key not in TESTED else None), one, other))
    return found


def headline_row(row: Row, a: float | None, b: float | None) -> Line:
    """Both values, the change (in percent, of shares in points), and which one is better."""
    _, name, write, less_is_better = row
    change, better = "", ""
    if a is not None and b is not None and (a or write is PERCENT):
        change = "same" if abs(b - a) <= SAME_WITHIN * abs(a) else (
            f"{(b - a) * 100:+.1f} points" if write is PERCENT else f"{(b - a) / a * 100:+.1f} %")
        if less_is_better is not None and change != "same":
            better = "b" if (b < a) == less_is_better else "a"
    return {"name": name, "a": "" if a is None else write(a), "b": "" if b is None else write(b),
            "change": change, "better": better}


def differences(a: Line, b: Line) -> list[Line]:
    """Dotted keys whose values are not the same."""
    first, second = dict(rows(a)), dict(rows(b))
    return [{"key": key, "a": first.get(key, ""), "b": second.get(key, "")}
            for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]


def sample_pairs(a: RunRecord, b: RunRecord) -> list[tuple[Card, Card]]:
    """The last samples of both for the prompts that both were given."""
    last = [{card.prompt: card for card in found[-1].cards} if (found := moments(run)) else {} for run in (a, b)]
    return [(card, last[1][prompt]) for prompt, card in last[0].items() if prompt in last[1]]
