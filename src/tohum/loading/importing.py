"""Importing: a model of another format -> a model folder of ours; each kind of source is one reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tohum.errors import CheckpointError, ConfigError
from tohum.files import refuse_existing, try_place, write_directory
from tohum.loading.families import FOREIGN
from tohum.loading.folder import TOKENIZER, load_config, load_weights, save_model
from tohum.loading.gguf.architectures import read_gguf_model
from tohum.loading.hub import fetch, is_hub_id
from tohum.loading.llama2c import read_llama2c
from tohum.loading.openai import is_openai, read_openai
from tohum.loading.pickled import PickledFiles, has_pickles
from tohum.loading.weights import INDEX, WEIGHTS
from tohum.model.config import ModelConfig
from tohum.tokenizing.tokenizer import Tokenizer

READ = (f"a Hugging Face folder or hub id ({', '.join(family.model_type for family in FOREIGN)}), OpenAI's GPT-2 "
        "folder, a .gguf or a llama2.c .bin file")
TOKENIZERS = (TOKENIZER, "encoder.json", "vocab.json", "tokenizer.model")  # the forms that a folder may have
KEPT = ("generation_config.json", "chat_template.jinja")  # taken over as they are, with the tokenizer's files


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was made of a source."""

    family: str
    config: ModelConfig
    out: Path


def import_model(source: str, out: Path, *, tokenizer: Path | None = None, force: bool = False) -> Imported:
    """Read `source`, write the model folder `out`; weights keep their number format.

    tokenizer: a file or folder with the tokenizer, where the source has none or another is meant.
    Raises ConfigError for sources of unknown kind, CheckpointError for those that are damaged or ask for more than
    the network does; `out` then stays as it was.
    """
    if not force:
        refuse_existing(out, force=False)  # before the work; with --force only after it succeeded
    try_place(out)
    path = Path(source)
    if not path.exists() and is_hub_id(source):
        path = fetch(source)
    config, weights = read_source(path)
    words = Tokenizer.load(choose_tokenizer(path, tokenizer))
    if words.vocab_size > config.vocab_size:
        raise CheckpointError(f"{tokenizer or path}: a tokenizer of {words.vocab_size:,} entries, but the model's "
                              f"table has {config.vocab_size:,} rows; give the model's own with --tokenizer")
    kept = {name: (path / name).read_bytes() for name in KEPT if tokenizer is None and (path / name).is_file()}
    families: list[str] = []

    def fill(draft: Path) -> None:
        families.append(save_model(draft, config, weights, words).model_type)
        for name, content in kept.items():
            (draft / name).write_bytes(content)

    refuse_existing(out, force)
    write_directory(out, fill)
    return Imported(family=families[0], config=config, out=out)


def read_source(path: Path) -> tuple[ModelConfig, Mapping[str, Tensor]]:
    """Configuration and weights of a source. Raises ConfigError where no reader takes it."""
    if path.is_dir():
        if is_openai(path):
            return read_openai(path)
        only_pickles = has_pickles(path) and not any((path / name).is_file() for name in (WEIGHTS, INDEX))
        return load_config(path), load_weights(path, stored=PickledFiles(path) if only_pickles else None)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; expected {READ}")
    if path.suffix == ".gguf":
        return read_gguf_model(path)
    if path.suffix != ".bin":
        raise ConfigError(f"{path}: not a kind of file that is imported; expected {READ}")
    return read_llama2c(path)


def choose_tokenizer(source: Path, tokenizer: Path | None) -> Path:
    """Where the tokenizer is read from: --tokenizer, else the source folder. Raises ConfigError."""
    if tokenizer is not None:
        return tokenizer
    if source.suffix == ".gguf" or (source.is_dir() and any((source / name).is_file() for name in TOKENIZERS)):
        return source
    missing = "a llama2.c file has no tokenizer inside" if source.is_file() else f"has no {TOKENIZER}"
    raise ConfigError(f"{source}: {missing}; give the tokenizer with --tokenizer FILE")
