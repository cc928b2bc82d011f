"""`tohum import`: a model of another format -> a model folder."""

from pathlib import Path

import click

from tohum.cli.options import FOLDER, force_option, json_option
from tohum.cli.output import emit
from tohum.units import human_count


@click.command("import")
@click.argument("source")
@click.option("--out", type=FOLDER, required=True, help="The model folder to make.")
@click.option("--tokenizer", type=FOLDER, default=None,
              help="Its tokenizer, where SOURCE has none: tokenizer.json, tok512.bin, a SentencePiece .model, …")
@force_option
@json_option
def command(source: str, out: Path, tokenizer: Path | None, force: bool, as_json: bool) -> None:
    """Bring a model of another format into a model folder.

    SOURCE is a Hugging Face folder or hub id (GPT-2, Llama, Mistral, SmolLM, Qwen2 and 3, Gemma 2 and 3, Phi-3,
    OLMo 2, Mixtral, Qwen3-MoE), a GGUF file of such a model, whatever its number format, OpenAI's original GPT-2
    folder, or a llama2.c .bin file, which needs --tokenizer. A hub id is the one thing that uses the network; only the
    needed files are fetched, and a download that broke goes on where it stopped.

    \b
    Examples:
      tohum import stories260K.bin --tokenizer tok512.bin --out models/stories
      tohum import HuggingFaceTB/SmolLM2-135M-Instruct --out models/smollm2
      tohum import bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q8_0.gguf --out models/smollm2
    """
    from tohum.loading.importing import import_model
    from tohum.model.counting import parameters

    done = import_model(source, out, tokenizer=tokenizer, force=force)
    count = parameters(done.config)
    result = {"family": done.family, "parameters": count, "out": str(out.resolve()),
              "layers": len(done.config.layers), "width": done.config.width, "context": done.config.context}
    emit(result, f"{done.family}, {human_count(count)} parameters -> {out}", as_json)
