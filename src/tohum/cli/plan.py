"""`tohum plan`: what this machine will make of the data, before a minute is spent."""

from pathlib import Path
from typing import Any

import click

from tohum.cli.options import COUNT, DURATION, FOLDER, json_option, recipe_options
from tohum.cli.output import emit
from tohum.cli.training_options import recipe_from, training_options


@click.command("plan")
@click.option("--data", type=FOLDER, required=True, help="Folder that 'tohum data prepare' wrote.")
@click.option("--budget", type=DURATION, help="Time for everything, such as 30m.")
@click.option("--steps", type=COUNT, help="Optimizer steps.")
@click.option("--tokens", type=COUNT, help="Training tokens, such as 20M.")
@click.option("--depth", type=click.IntRange(1), help="Size of the default family.")
@click.option("--model", "preset", help="A named size, such as gpt2-124m.")
@training_options
@recipe_options
@json_option
def command(data: Path, as_json: bool, **options: Any) -> None:
    """Measure this machine for some seconds and say what a run would become.

    \b
    Size, batch, steps, memory part by part, time, and the validation loss with an interval that holds it
    in 8 of 10 runs:
      tohum plan --data data --budget 30m
    """
    from tohum.data_sampling.shards import DataFolder
    from tohum.kernels.memory import tune_memory
    from tohum.machine import pick_device, tune_products
    from tohum.pretraining.describe import describe
    from tohum.pretraining.plan import make_plan
    from tohum.training.ranks import Ranks

    tune_memory()
    tune_products()
    recipe = recipe_from({**options, "data": data}, default_length=True)
    plan = make_plan(recipe, DataFolder.open(data), Ranks.from_environment(pick_device(recipe.training.device)))
    emit(plan.to_json(), describe(plan), as_json)
