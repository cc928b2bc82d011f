"""`tohum quickstart`: the whole journey on the embedded corpus."""

from pathlib import Path

import click

from tohum.cli.options import DURATION, FOLDER, force_option, json_option
from tohum.cli.output import emit, say


@click.command("quickstart")
@click.option("--budget", type=DURATION, default="5m", show_default=True, help="Wall-clock time for all of it.")
@click.option("--out", type=FOLDER, default=Path("runs/quickstart"), show_default=True, help="Folder to write.")
@click.option("--seed", type=click.IntRange(0), default=1337, show_default=True)
@force_option
@json_option
def command(budget: float, out: Path, seed: int, force: bool, as_json: bool) -> None:
    """Text -> tokenizer -> data -> language model -> classifier -> assistant -> reports, on the text Python carries.

    Nothing is downloaded: the corpus is the reference manual and the docstrings of the running Python.
    """
    from tohum.quickstart import quickstart

    result = quickstart(budget_seconds=budget, out=out, seed=seed, force=force, say=say)
    run, classes, answers = result["pretrain"], result["classify"], result["instruct"]
    baseline = run["baselines"].get("order5_bits_per_byte", float("nan"))
    emit(result, f"{run['val_bits_per_byte']:.3f} bits per byte on held-out documentation "
         f"(a byte model of order 5: {baseline:.3f})\n"
         f"classifier: {classes['accuracy']:.1%} of docstrings to their package "
         f"(always the largest: {classes['majority_baseline']:.1%})\n"
         f"assistant:  chrF {answers['test']['chrf']['value']:.1f}, before tuning "
         f"{answers['test']['card']['gains']['chrf']['before']:.1f}\n"
         f"model:   {run['checkpoint']}\n"
         f"reports: {result['report']}\n         {result['classifier_report']}\n         "
         f"{result['assistant_report']}\n"
         f"try:     tohum generate {out}/run --prompt \"The function returns\"\n"
         f"         tohum classify {out}/classifier --text \"Return the sum of two tensors.\"\n"
         f"         tohum chat {out}/assistant", as_json)
