"""Export: a model folder -> a Hugging Face folder or a GGUF file with its Modelfile, certified before it appears."""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from tohum.errors import CheckpointError, ConfigError, FailedError
from tohum.evaluation.certificate import Certificate, certify, reference
from tohum.exporting.ollama import modelfile
from tohum.exporting.readers import folder_reader, gguf_reader
from tohum.files import refuse_existing, try_place, write_directory, write_json, write_text
from tohum.loading.folder import GENERATION, TOKENIZER, LoadedModel, load_model, save_model
from tohum.loading.gguf.write import write_gguf
from tohum.loading.weights import WeightFiles
from tohum.tokenizing.gguf_fields import SAMPLE, gguf_fields
from tohum.tokenizing.template import load_template
from tohum.tokenizing.tokenizer import Tokenizer

To = Literal["hf", "gguf"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
STORED = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}  # as safetensors calls them
TEMPLATE, CERTIFICATE = "chat_template.jinja", "certificate.json"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how near it is to the model."""

    out: Path
    dtype: str
    certificate: Certificate
    notes: list[str]


def export_model(folder: Path, *, to: To, out: Path, dtype: str | None, force: bool = False,
                 say: Callable[[str], None] = lambda _: None) -> Exported:
    """Write the model of `folder` for other programs, read it back as they do, and keep it if that agrees.

    dtype: fp32, fp16, bf16, or q8_0 (GGUF alone); None: as the weights are stored. For GGUF, `out` is a file ending
    in .gguf, or a folder for one. Raises ConfigError, CheckpointError; FailedError where the certificate does not
    hold, and then nothing is left.
    """
    if to == "hf" and dtype == "q8_0":
        raise ConfigError("--dtype q8_0 is a format of GGUF files; Hugging Face folders take fp32, fp16 or bf16")
    if not force:
        for path in (out, *beside(out)):
            refuse_existing(path, force=False)  # before the work; with --force only after it succeeded
    try_place(out)
    loaded = load_model(folder)
    dtype = dtype or stored_dtype(folder)
    words = loaded.tokenizer if (folder / TOKENIZER).is_file() else None
    say("the model continues a text of many scripts, for its copy to be held against")
    original = reference(loaded.network, words, SAMPLE)
    done: list[tuple[Certificate, list[str]]] = []

    def fill(draft: Path) -> None:
        write = write_folder if to == "hf" else write_file
        notes = write(draft, loaded, words, dtype, out)
        say("reading it back")
        reader = folder_reader(draft) if to == "hf" else gguf_reader(next(draft.glob("*.gguf")))
        with contextlib.closing(reader):
            certificate = certify(original, reader, SAMPLE, dtype)
        if not certificate.holds:
            raise FailedError(refusal(out, certificate))
        done.append((certificate, notes))
        write_json(draft / CERTIFICATE, asdict(certificate) | {"dtype": dtype, "model_sha256": loaded.sha256})

    made = out.with_name(f".{out.name}.made")
    shutil.rmtree(made, ignore_errors=True)  # of an export that was killed at its very end
    write_directory(made, fill)
    put(made, out, single=to == "gguf" and out.suffix == ".gguf", force=force)
    return Exported(out=out, dtype=dtype, certificate=done[0][0], notes=done[0][1])


def put(made: Path, out: Path, *, single: bool, force: bool) -> None:
    """The finished folder, or the `single` file in it, to its place."""
    refuse_existing(out, force)
    if single:
        take_out(made, out)
    else:
        os.rename(made, out)


def beside(out: Path) -> list[Path]:
    """Modelfile and certificate of a single file; a folder holds them itself."""
    single = out.suffix == ".gguf"
    return [out.with_name(f"{out.stem}.{name}") for name in ("Modelfile", CERTIFICATE)] if single else []


def take_out(made: Path, out: Path) -> None:
    """The files of a finished folder to where a single file was asked for: beside it, under its name."""
    for name, path in zip(("Modelfile", CERTIFICATE), beside(out), strict=True):
        os.replace(made / name, path)
    os.replace(made / out.name, out)
    made.rmdir()


def stored_dtype(folder: Path) -> str:
    """The number format of a folder's weights, the widest where there are several. Raises CheckpointError."""
    found = WeightFiles(folder).formats
    return next((name for name, stored in STORED.items() if stored in found), "fp32")


def write_folder(draft: Path, loaded: LoadedModel, words: Tokenizer | None, dtype: str, _: Path) -> list[str]:
    """A Hugging Face folder: shards, tied weights, tokenizer, chat template, generation settings."""
    save_model(draft, loaded.config, loaded.network.state_dict(), words, dtype=DTYPES[dtype])
    if (loaded.folder / GENERATION).is_file():  # the model's own, with all tokens that end its texts
        (draft / GENERATION).write_bytes((loaded.folder / GENERATION).read_bytes())
    template = load_template(loaded.folder, words) if words is not None else None
    if template is not None:
        write_text(draft / TEMPLATE, template.source)
    return []


def write_file(draft: Path, loaded: LoadedModel, words: Tokenizer | None, dtype: str, out: Path) -> list[str]:
    """A GGUF file and Ollama's Modelfile."""
    if words is None:
        raise CheckpointError(f"{loaded.folder}: has no {TOKENIZER}; a GGUF file must have one inside")
    template = load_template(loaded.folder, words)
    name = out.name if out.suffix == ".gguf" else f"model-{dtype}.gguf"
    fields = gguf_fields(words, loaded.config.vocab_size, template.source if template else None)
    more = sorted(loaded.stop_ids - {words.eos_id})
    if more:
        fields["tokenizer.ggml.eot_token_id"] = more[0]
    notes = write_gguf(draft / name, loaded.config, loaded.network.state_dict(), dtype=dtype,
                       name=loaded.folder.resolve().name, vocabulary=fields)
    write_text(draft / "Modelfile", modelfile(name, template, loaded.config.context))
    return notes


def refusal(out: Path, certificate: Certificate) -> str:
    """The lines for a copy that is not the model."""
    return (f"{out}: the certificate does not hold, and the export was removed: {certificate.reader} differs by "
            f"{certificate.max_logit_difference:.3g} in its scores ({certificate.allowed_difference:.3g} are allowed)\n"
            f"greedy agreement {certificate.greedy_agreement:.0%}, token ids "
            f"{'equal' if certificate.token_ids_equal else 'NOT equal'}; try another --dtype, or report this")
