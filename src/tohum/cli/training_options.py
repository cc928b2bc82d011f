"""Options of the verbs that plan or start a training run, and the recipe that they make."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tohum.pretraining.config import PretrainRecipe

DEFAULT_BUDGET_SECONDS = 600.0
KEYS = {"preset": "model.preset", "depth": "model.depth", "budget": "training.budget", "steps": "training.steps",
        "tokens": "training.tokens", "max_hours": "training.max_hours", "patience": "training.patience",
        "seed": "training.seed", "device": "training.device", "dtype": "training.dtype"}
LENGTHS = ("training.budget", "training.steps", "training.tokens")
SIZES = ("model.preset", "model.depth", "model.width", "model.layers", "model.heads", "model.kv_heads",
         "model.head_width", "model.feed_forward_width")


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--seed, --device, --dtype of a training run; fp16 is left out: it needs loss scaling, bf16 does not."""
    for option in (
        click.option("--seed", type=click.IntRange(0), help="All randomness follows from it. [1337]"),
        click.option("--dtype", type=click.Choice(["auto", "bf16", "fp16", "fp32"]), default=None,
                     help="Number format of matrix products; weights stay in fp32. [auto]"),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default=None,
                     help="Where to compute. [auto]"),
    ):
        function = option(function)
    return function


def profile_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--profile: see training/profile.py."""
    return click.option("--profile", is_flag=True, help="Print where the time of three steps goes, and keep it in "
                        "RUN/profile.json.")(function)


def recipe_from(options: dict[str, Any], *, default_length: bool) -> "PretrainRecipe":
    """Recipe file, then flags, then --set; a run without any length gets the default budget."""
    from tohum.cli.output import say
    from tohum.config import resolve
    from tohum.errors import ConfigError
    from tohum.pretraining.config import PretrainRecipe

    if options.get("dtype") == "fp16":
        raise ConfigError("--dtype fp16 needs loss scaling, which training does not do; use bf16 or fp32")
    flags = {key: options.get(name) for name, key in KEYS.items()}
    if options.get("data") is not None:
        flags["data.folder"] = str(Path(options["data"]).absolute())
    recipe = resolve(PretrainRecipe, file=options["recipe"], flags=flags, assignments=options["assignments"],
                     alternatives=(LENGTHS, SIZES))
    t = recipe.training
    if default_length and t.budget is None and t.steps is None and t.tokens is None:
        say(f"no --budget, --steps or --tokens: taking --budget {DEFAULT_BUDGET_SECONDS / 60:.0f}m")
        recipe = recipe.replace(training=t.replace(budget=DEFAULT_BUDGET_SECONDS).model_dump())
    return recipe

