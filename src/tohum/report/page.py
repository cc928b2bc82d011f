"""The page of one run: run folder -> report.html, one file that loads nothing."""

from pathlib import Path
from typing import Any

from tohum.files import write_text
from tohum.report import facts
from tohum.report.curves import draw
from tohum.report.figures import single
from tohum.report.finetuned import finetuned
from tohum.report.read import RunRecord, read_run
from tohum.report.record import record
from tohum.report.render import render
from tohum.report.samples import moments

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
    values = {"title": f"{run.name} · Tohum", "name": run.name, "status": run.status, "record": record(run),
              "status_text": STATUS[run.status], "moments": moments(run)}
    if run.kind:
        return render("finetuned.html", **values, **finetuned(run))
    return render("page.html", **values, **pretrained(run))


def pretrained(run: RunRecord) -> dict[str, Any]:
    """What the page of a pretraining run shows."""
    return {"kind": "report of a run", "sentence": facts.sentence(run), "tiles": facts.tiles(run),
            "bars": facts.baseline_bars(run), "outcome": facts.outcome(run), "memory": facts.memory_parts(run),
            "figures": [drawn for figure in single(run) if (drawn := draw(figure))],
            "text_facts": facts.text_facts(run), "model_facts": facts.model_facts(run),
            "marked": any(card.shared for moment in moments(run) for card in moment.cards)}
