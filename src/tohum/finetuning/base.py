"""The model to be tuned: a model folder, a run or an adapter -> network, tokenizer, template, what ends a text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from tohum.errors import CheckpointError
from tohum.files import write_directory
from tohum.finetuning.adapter_folder import is_adapter, labels_of, load_adapted
from tohum.loading.classifier import is_classifier
from tohum.loading.find import find_model
from tohum.loading.folder import LoadedModel, load_model, model_sha256, save_model
from tohum.lora.merge import merge
from tohum.lora.rows import grow
from tohum.model.config import ModelConfig
from tohum.model.network import Network
from tohum.tokenizing.template import ChatTemplate, load_template, save_template
from tohum.tokenizing.tokenizer import Tokenizer

BASE = "base"  # folder of a run that tunes an adapter further: base and adapter merged


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What is tuned."""

    loaded: LoadedModel
    folder: Path  # where its plain weights are, or will be once `keep` was called
    note: str  # what a person is told about the choice
    merged: bool  # an adapter was folded in; the result must be kept for the new adapter to stand on

    @property
    def network(self) -> Network:
        return self.loaded.network

    @property
    def config(self) -> ModelConfig:
        return self.loaded.config

    @property
    def tokenizer(self) -> Tokenizer:
        """With new tokens, where the recipe names any."""
        return self.loaded.tokenizer

    @cached_property
    def template(self) -> ChatTemplate | None:
        """The model's own chat template."""
        return load_template(self.loaded.folder, self.tokenizer)

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights that are tuned, once they are where `folder` says."""
        return model_sha256(self.folder)

    def keep(self) -> None:
        """Write merged weights where the adapter will look for its base."""
        if not self.merged or self.folder.is_dir():
            return

        def fill(draft: Path) -> None:  # a table that has grown is stored so
            save_model(draft, self.config, self.network.state_dict(), self.loaded.tokenizer,
                       ends=self.loaded.ends)
            if self.template:
                save_template(draft, self.template)

        write_directory(self.folder, fill)


def open_base(path: Path, out: Path, *, continued: bool, dtype: torch.dtype, device: torch.device,
              new_tokens: Sequence[str] = (), int8: bool = False) -> Opened:
    """Read the model that `path` means; int8: the linears of its blocks as bytes. Raises CheckpointError.

    An adapter is merged into its base in memory; the run in `out` then gets a folder `base` of its own, which is read
    when the run is continued.
    """
    note, merged = "", False
    if continued and (out / BASE).is_dir():
        folder, merged = out / BASE, True
        loaded = load_model(folder, dtype=dtype, device=device)
    else:
        folder, note = find_model(path)
        if is_classifier(folder) or (is_adapter(folder) and labels_of(folder)):
            raise CheckpointError(f"{folder}: is a classifier, whose class head would be lost\n"
                                  "tune the language model that it was made of")
        if is_adapter(folder) and int8:
            raise CheckpointError(f"{folder}: is an adapter, which a base of bytes cannot take up\n"
                                  f"merge it first: tohum merge {path} --out DIR, and tune DIR")
        if is_adapter(folder):
            loaded, _ = load_adapted(folder, dtype=dtype, device=device)
            merge(loaded.network)
            note = f"{note or folder}: an adapter; merged into its base first, and the result kept in {out / BASE}"
            folder, merged = out / BASE, True
        else:
            loaded = load_model(folder, dtype=dtype, device=device, int8=int8)
    if new_tokens:
        words = loaded.tokenizer.with_tokens(new_tokens)
        grow(loaded.network, words.vocab_size)
        loaded = replace(loaded, words=words, config=loaded.network.config)
    return Opened(loaded=loaded, folder=folder, note=note, merged=merged)
