"""`tohum pretrain`: train from scratch to a budget of time, a number of steps or of tokens."""

from pathlib import Path
from typing import Any

import click

from tohum.cli.options import COUNT, DURATION, FOLDER, force_option, json_option, recipe_options
from tohum.cli.output import emit
from tohum.cli.training_options import profile_option, recipe_from, training_options


@click.command("pretrain")
@click.option("--data", type=FOLDER, help="Folder that 'tohum data prepare' wrote.")
@click.option("--out", type=FOLDER, required=True, help="Run folder to write.")
@click.option("--depth", type=click.IntRange(1), help="Size of the default family: layers, and width / 64.")
@click.option("--model", "preset", help="A named size, such as gpt2-124m.")
@click.option("--budget", type=DURATION, help="Wall-clock time for everything, such as 5m; this machine is measured "
              "and size, batch and steps are chosen for it. [10m when no length is given]")
@click.option("--steps", type=COUNT, help="Optimizer steps.")
@click.option("--tokens", type=COUNT, help="Training tokens, such as 20M.")
@click.option("--max-hours", type=click.FloatRange(min=0, min_open=True),
              help="Save and stop after this long (exit code 75).")
@click.option("--patience", type=click.IntRange(1), help="Stop after this many validations without a new best.")
@click.option("--resume", is_flag=True, help="Continue what --out holds; start when it holds nothing.")
@profile_option
@training_options
@recipe_options
@force_option
@json_option
def command(out: Path, resume: bool, force: bool, profile: bool, as_json: bool, **options: Any) -> None:
    """Train a language model from scratch on a data folder.

    \b
    A run folder can be killed at any moment and resumed to the same bits:
      tohum pretrain --data data --out runs/first --budget 10m
      tohum pretrain --data data --out runs/first --budget 10m --resume
    """
    from tohum.pretraining.run import Request, pretrain
    from tohum.report.page import write_report
    from tohum.training.ranks import main_process
    from tohum.units import human_bytes, human_seconds

    recipe = recipe_from(options, default_length=not resume)
    result = pretrain(Request(recipe=recipe, out=out, resume=resume, force=force, profile=profile))
    if not main_process():
        return
    page = write_report(out)
    emit(result, f"{result['steps']:,} steps, {result['tokens']:,} tokens in {human_seconds(result['seconds'])}; "
         f"validation: {result['val_bits_per_byte'] or float('nan'):.4f} bits per byte; "
         f"peak memory {human_bytes(result['peak_memory_bytes'])}\n"
         f"model:  {result['checkpoint']}\nreport: {page}\n"
         f"try:    tohum generate {out} --prompt \"...\"", as_json)
