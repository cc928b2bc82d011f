"""Options that several verbs share, and the parameter types behind them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tohum.errors import ConfigError
from tohum.units import parse_count, parse_seconds


class Count(click.ParamType):
    """A whole number with an optional unit: 2000, 500k, 1.5M."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_count(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType):
    """Seconds with an optional unit: 90, 10m, 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_seconds(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


COUNT, DURATION = Count(), Duration()
FOLDER = click.Path(path_type=Path)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--json: stdout is exactly one JSON object."""
    return click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object.")(function)


def force_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--force: replace what is there."""
    return click.option("--force", is_flag=True, help="Replace what --out holds already.")(function)


def device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--device, --dtype and --seed, for verbs that compute."""
    for option in (
        click.option("--seed", type=int, default=None, help="All randomness follows from it [1337]."),
        click.option("--dtype", type=click.Choice(["auto", "bf16", "fp16", "fp32"]), default="auto",
                     show_default=True, help="Number format of the arithmetic."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto",
                     show_default=True, help="Where to compute."),
    ):
        function = option(function)
    return function


def int8_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--int8: decode with a byte per number (generation/int8.py)."""
    return click.option("--int8", is_flag=True, help="Keep the matrices as bytes: a quarter of the memory, faster one "
                        "token at a time, a little less exact.")(function)


def choice_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How the next token is chosen (generation/choice.py)."""
    for option in (
        click.option("--lookup", type=click.IntRange(0), default=0, show_default=True,
                     help="Guess up to so many tokens per pass from the text itself: faster where a text repeats "
                     "itself, the same result. With --temperature 0 only."),
        click.option("--repetition-penalty", type=float, default=1.0, show_default=True,
                     help="Above 1, tokens that the text holds already become less likely."),
        click.option("--min-p", type=float, help="Only tokens at least this share as likely as the best one."),
        click.option("--top-p", type=float, help="Only among the best tokens that reach this probability together."),
        click.option("--top-k", type=int, help="Only among the K best tokens."),
        click.option("--temperature", type=float, default=0.8, show_default=True,
                     help="0 always takes the best token; above 1 is wilder than the model."),
    ):
        function = option(function)
    return function


def recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config recipe.toml and --set section.key=value; a flag wins over the file."""
    for option in (
        click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE",
                     help="Set any recipe key; repeatable."),
        click.option("--config", "recipe", type=click.Path(path_type=Path), default=None,
                     help="A recipe in TOML; flags and --set win over it."),
    ):
        function = option(function)
    return function
