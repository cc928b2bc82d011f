"""The page of one run: run folder -> report.html, one file that loads nothing."""

from pathlib import Path

from tohum.files import write_text
from tohum.report import facts
from tohum.report.curves import draw
from tohum.report.figures import single
from tohum.report.read import Line, RunRecord, flat, number, read_run
from tohum.report.render import render
from tohum.report.samples import moments
from tohum.units import human_seconds

STATUS = {"finished": "Training run, finished", "stopped": "Training run, stopped with a checkpoint; can be resumed",
          "unfinished": "Training run, not finished: in progress, or killed"}


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write RUN/report.html, or `out`; whatever the run has not written is left out of the page.

    Returns the path. Raises ConfigError when `run` is no run folder.
    """
    target = out or run / "report.html"
    write_text(target, page(read_run(run)))
    return target


def page(run: RunRecord) -> str:
    """The page as text."""
    shown = moments(run)
    return render(
        "page.html", title=f"{run.name} · Tohum", kind="report of a run", name=run.name, status=run.status,
        status_text=STATUS[run.status], sentence=facts.sentence(run), tiles=facts.tiles(run),
        bars=facts.baseline_bars(run), figures=[drawn for figure in single(run) if (drawn := draw(figure))],
        outcome=facts.outcome(run), memory=facts.memory_parts(run), moments=shown,
        marked=any(card.shared for moment in shown for card in moment.cards), text_facts=facts.text_facts(run),
        model_facts=facts.model_facts(run), events=[event_row(event) for event in run.events],
        config=rows(run.config), environment=rows(run.environment), hashes=facts.hashes(run))


def event_row(event: Line) -> tuple[str, str]:
    """("step 40 · 3.1 s", "stopped: by SIGTERM")."""
    seconds = number(event.get("seconds"))
    when = f"step {event.get('step', 0)}" + (f" · {human_seconds(seconds)}" if seconds is not None else "")
    rest = [f"{key} {value}" for key, value in event.items() if key not in ("kind", "event", "step", "seconds")]
    return when, ": ".join([str(event.get("event", "")), ", ".join(rest)] if rest else [str(event.get("event", ""))])


def rows(values: Line) -> list[tuple[str, str]]:
    """Nested values as dotted keys and text."""
    return [(key, written(value)) for key, value in flat(values).items()]


def written(value: object) -> str:
    """A value of a recipe or environment on one line."""
    if isinstance(value, list):
        return ", ".join(written(item) for item in value) or "none"
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)
