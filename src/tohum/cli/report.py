"""`tohum report`: one offline HTML page of a run, or of two side by side."""

from pathlib import Path

import click

from tohum.cli.options import FOLDER, json_option
from tohum.cli.output import emit


@click.command("report")
@click.argument("run", type=FOLDER)
@click.argument("run_b", type=FOLDER, required=False)
@click.option("--out", type=click.Path(path_type=Path), help="File to write [RUN/report.html].")
@json_option
def command(run: Path, run_b: Path | None, out: Path | None, as_json: bool) -> None:
    """Draw a run: curves, samples, configuration, machine, hashes; and what its kind has to show.

    Pre-training: the plan against what happened. A classifier: what it confuses, its probabilities, its worst
    mistakes. An assistant: answers and a general text before and after.

    The page is one file that loads nothing. RUN may still be in progress, or killed. With RUN_B the two are laid
    over each other, with what differs between their recipes.

    \b
      tohum report runs/first
      tohum report runs/first runs/second --out compare.html
    """
    from tohum.report.compare import write_comparison
    from tohum.report.facts import headline
    from tohum.report.page import write_report
    from tohum.report.read import read_run

    written = write_comparison(run, run_b, out) if run_b else write_report(run, out)
    runs = [read_run(path) for path in (run, run_b) if path]
    figures = [{"name": record.name, "status": record.status} | headline(record) for record in runs]
    emit({"report": str(written.absolute()), "runs": figures}, f"report: {written}", as_json)
