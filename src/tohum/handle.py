"""Handle: a model in Python, in three lines: load, generate, logprobs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tohum.config import validate
from tohum.errors import CheckpointError, ConfigError
from tohum.finetuning.adapter_folder import check_base, is_adapter, labels_of, load_adapted, places, token_module
from tohum.generation.choice import Choice
from tohum.generation.int8 import decode_in_bytes
from tohum.generation.mode import evaluating
from tohum.generation.text import OnText, generate_text
from tohum.loading.classifier import is_classifier
from tohum.loading.find import find_model
from tohum.loading.folder import LoadedModel, load_model, read_family
from tohum.lora.adapter import Adapter, attach, detach
from tohum.lora.merge import merge
from tohum.lora.store import read_adapter
from tohum.machine import pick_device
from tohum.tokenizing.ends import Ends


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How likely a model finds a text."""

    token_ids: list[int]  # those that were scored
    texts: list[str]  # as a person reads them
    logprobs: list[float]  # nats; of each token, given all before it


@dataclass(frozen=True)
class Model:
    """A model folder in memory, with any number of adapters that stand beside it."""

    loaded: LoadedModel
    adapters: Mapping[str, Adapter] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", dtype: str = "auto", int8: bool = False,
             adapters: Mapping[str, str | Path] | None = None) -> "Model":
        """Open a model folder or a run; int8: its matrices as bytes. Raises CheckpointError, ConfigError.

        adapters: name -> adapter folder or LoRA run on this base; `use` switches between them at no cost.
        """
        if adapters and int8:
            raise ConfigError("adapters stand on a base of floats; leave int8 out")
        loaded = load_at(Path(path), device, dtype, int8=int8)
        return cls(loaded, {name: open_adapter(Path(folder), loaded) for name, folder in (adapters or {}).items()})

    def use(self, name: str | None) -> None:
        """Answer with the adapter of that name from now on; None: the base alone. Raises ConfigError."""
        if name is None:
            detach(self.loaded.network)
        elif name in self.adapters:
            attach(self.loaded.network, self.adapters[name])
        else:
            raise ConfigError(f"no adapter '{name}'; there are {', '.join(self.adapters) or 'none'}")

    def generate(self, prompt: str | Sequence[str], *, max_tokens: int = 128, stop: Sequence[str] = (),
                 on_text: OnText | None = None, **choice: Any) -> Any:
        """Continue a prompt (answers a text) or several (a list of texts); the prompts are not repeated.

        choice: temperature, top_k, top_p, min_p, repetition_penalty, lookup and seed, as `tohum generate` has them.
        on_text is called with the number of the prompt and each new piece. Raises ConfigError.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        found = generate_text(self.loaded.network, self.loaded.tokenizer, prompts, max_tokens=max_tokens,
                              choice=validate(Choice, choice, where="generate"), on_text=on_text,
                              ends=Ends(texts=stop) | self.loaded.ends)
        texts = [result.text for result in found]
        return texts[0] if isinstance(prompt, str) else texts

    @torch.inference_mode()
    def logprobs(self, text: str) -> Scored:
        """Score every token of a text but the first (all, where the model's texts begin with BOS).

        Raises ConfigError for a text of fewer than two tokens or longer than the context.
        """
        words, network = self.loaded.tokenizer, self.loaded.network
        ids = words.prompt_ids(text)
        if len(ids) < 2:
            raise ConfigError(f"{text[:40]!r} has {len(ids)} token; scoring needs two or more")
        with evaluating(network):
            logits: Tensor = network.logits(torch.tensor([ids], device=network.head_weight.device))[0, :-1]  # (T, V)
        scores = logits.float().log_softmax(-1).gather(1, torch.tensor(ids[1:], device=logits.device)[:, None])
        return Scored(token_ids=ids[1:], texts=[words.token_text(token) for token in ids[1:]],
                      logprobs=scores[:, 0].tolist())


def open_adapter(path: Path, loaded: LoadedModel) -> Adapter:
    """The adapter that a path means, for this base. Raises CheckpointError for one of another base."""
    folder, _ = find_model(path)
    check_base(folder, loaded.folder)
    table = read_family(loaded.folder)[0].table
    return read_adapter(folder, places(loaded.network, table), token_module(table)).adapter


def load_at(path: Path, device: str, dtype: str, *, int8: bool = False,
            say: Callable[[str], None] = lambda _: None) -> LoadedModel:
    """The model that a path means; `say` is told where that was a choice. int8: for generation alone.

    dtype auto: bf16 on a GPU that has it, else fp32. Raises CheckpointError, ConfigError.
    """
    folder, note = find_model(path)
    if note:
        say(note)
    place = pick_device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no CUDA device; use --device cpu")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("--device mps, but this machine has none; use --device cpu")
    narrow = place.type == "cuda" and torch.cuda.is_bf16_supported()
    formats = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32,
               "auto": torch.bfloat16 if narrow else torch.float32}
    loaded = load_any(folder, formats[dtype], place)
    if int8:
        decode_in_bytes(loaded.network)
    return loaded


def load_any(folder: Path, dtype: torch.dtype, device: torch.device) -> LoadedModel:
    """A language model, or an adapter folded into its base. Raises CheckpointError."""
    if is_classifier(folder) or (is_adapter(folder) and labels_of(folder)):
        raise CheckpointError(f"{folder}: is a classifier; it answers with classes, not with text\n"
                              f"use 'tohum classify {folder} --text ...'")
    if not is_adapter(folder):
        return load_model(folder, dtype=dtype, device=device)
    loaded, _ = load_adapted(folder, device=device)
    merge(loaded.network)  # in float32, rounded once
    return LoadedModel(folder=folder, config=loaded.config, network=loaded.network.to(dtype))
