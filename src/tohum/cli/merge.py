"""`tohum merge`: an adapter folded into its base -> a model folder, certified."""

from dataclasses import asdict
from pathlib import Path

import click

from tohum.cli.options import FOLDER, force_option, json_option
from tohum.cli.output import emit, say


@click.command("merge")
@click.argument("adapter", type=FOLDER)
@click.option("--base", type=FOLDER, help="The model under the adapter. [the one that it names]")
@click.option("--out", type=FOLDER, required=True, help="Model folder to write.")
@click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16"]), help="Number format. [that of the base]")
@force_option
@json_option
def command(adapter: Path, base: Path | None, out: Path, dtype: str | None, force: bool, as_json: bool) -> None:
    """Fold a LoRA adapter, or the best one of a run, into its base.

    \b
    The sum is made in float32; then the folder is read back and held against base and adapter:
      tohum merge runs/assistant --out models/assistant
    """
    from tohum.exporting.merging import merge_adapter

    found = merge_adapter(adapter, out=out, base=base, dtype=dtype, force=force, say=say)
    certificate = found.certificate
    emit({"out": str(out), "dtype": found.dtype, "drift": asdict(found.drift)} | certificate,
         f"{found.drift.layers} layers merged; rounding to {found.dtype} moved weights by "
         f"{found.drift.largest:.2g} at most, {found.drift.relative:.2%} of the update\n"
         f"largest difference {certificate['max_logit_difference']:.2g}, greedy agreement "
         f"{certificate['greedy_agreement']:.1%}\nmodel: {out}", as_json)
