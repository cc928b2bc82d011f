"""Two runs side by side: two run folders -> one page with their curves over each other and what differs."""

from collections.abc import Callable
from pathlib import Path

from tohum.files import write_text
from tohum.report import facts
from tohum.report.curves import draw
from tohum.report.figures import overlaid
from tohum.report.page import rows
from tohum.report.read import Line, RunRecord, read_run
from tohum.report.render import render
from tohum.report.samples import Card, moments
from tohum.units import human_bytes, human_count, human_seconds

# key of the headline, its name, how it is written, whether less is better (None: neither)
ROWS: tuple[tuple[str, str, Callable[[float], str], bool | None], ...] = (
    ("bits_per_byte", "bits per byte", "{:.4f}".format, True),
    ("val_loss", "validation loss", "{:.4f}".format, True),
    ("train_loss", "training loss", "{:.4f}".format, None),
    ("parameters", "parameters", human_count, None),
    ("steps", "steps", "{:,.0f}".format, None),
    ("tokens", "training tokens", human_count, None),
    ("seconds", "time", human_seconds, True),
    ("tokens_per_second", "tokens per second", human_count, False),
    ("peak_memory_bytes", "peak memory", human_bytes, True),
)
SAME_WITHIN = 1e-9


def write_comparison(a: Path, b: Path, out: Path | None = None) -> Path:
    """Write A/compare-with-B.html, or `out`. Returns the path; raises ConfigError for what is no run folder."""
    first, second = read_run(a), read_run(b)
    target = out or a / f"compare-with-{second.name}.html"
    write_text(target, page(first, second))
    return target


def page(a: RunRecord, b: RunRecord) -> str:
    """The page as text."""
    return render(
        "compare.html", title=f"{a.name} and {b.name} · Tohum", kind="comparison of two runs", names=[a.name, b.name],
        sentence=sentence(a, b), rows=headline_rows(a, b),
        figures=[drawn for figure in overlaid((a, b)) if (drawn := draw(figure))],
        config=differences(a.config, b.config), environment=differences(a.environment, b.environment),
        samples=sample_pairs(a, b),
        hashes=[(f"{mark} {run.name}", found) for mark, run in (("A", a), ("B", b)) if (found := facts.hashes(run))])


def sentence(a: RunRecord, b: RunRecord) -> str:
    """Which is better, by how much, and whether that can be said at all."""
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


def headline_rows(a: RunRecord, b: RunRecord) -> list[Line]:
    """One row for each number that at least one run has."""
    first, second = facts.headline(a), facts.headline(b)
    return [headline_row(row, first[row[0]], second[row[0]]) for row in ROWS
            if first[row[0]] is not None or second[row[0]] is not None]


def headline_row(row: tuple[str, str, Callable[[float], str], bool | None], a: float | None, b: float | None) -> Line:
    """Both values, the change in percent, and which one is better."""
    _, name, write, less_is_better = row
    change, better = "", ""
    if a is not None and b is not None and a:
        change = f"{(b - a) / a * 100:+.1f} %" if abs(b - a) > SAME_WITHIN * abs(a) else "same"
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
