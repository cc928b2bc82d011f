"""`tohum export`: a model -> a Hugging Face folder or a GGUF file for other programs, with a certificate."""

from pathlib import Path
from typing import Any

import click

from tohum.cli.options import FOLDER, force_option, json_option
from tohum.cli.output import emit, say


@click.command("export")
@click.argument("model", type=FOLDER)
@click.option("--to", type=click.Choice(["hf", "gguf"]), required=True,
              help="hf: a folder that transformers, vLLM and others open. gguf: a file for llama.cpp and Ollama.")
@click.option("--out", type=FOLDER, required=True, help="The folder to make; for gguf also a file ending in .gguf.")
@click.option("--dtype", type=click.Choice(["fp32", "fp16", "bf16", "q8_0"]), default=None,
              help="Number format; q8_0 (a byte per number) for gguf only. [as the weights are stored]")
@force_option
@json_option
def command(model: Path, to: Any, out: Path, dtype: str | None, force: bool, as_json: bool) -> None:
    """Give a model to other programs: write it, read it back as they do, compare.

    The certificate: how far scores differ, how many of 128 greedy tokens agree, whether a text of many scripts has
    the same ids. If it does not hold, nothing is kept and the exit code is 1.

    \b
    Examples:
      tohum export runs/first --to hf --out exports/first
      tohum export runs/first --to gguf --dtype q8_0 --out exports/first.gguf
      ollama create first -f exports/first.Modelfile
    """
    from dataclasses import asdict

    from tohum.exporting.export import export_model
    from tohum.loading.find import find_model

    folder, note = find_model(model)
    if note:
        say(note)
    done = export_model(folder, to=to, out=out, dtype=dtype, force=force, say=say)
    for line in done.notes:
        say(f"note: {line}")
    found = done.certificate
    emit(asdict(found) | {"holds": found.holds, "dtype": done.dtype, "out": str(done.out.resolve())},
         f"{done.out}, {done.dtype}; read back by {found.reader}: scores within {found.max_logit_difference:.2g}, "
         f"{found.greedy_agreement:.1%} of {found.greedy_tokens} greedy tokens agree, token ids equal", as_json)
