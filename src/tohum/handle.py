"""Handle: a model in Python, in three lines: load, generate, logprobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tohum.config import validate
from tohum.errors import CheckpointError, ConfigError
from tohum.finetuning.adapter_folder import is_adapter, labels_of, load_adapted
from tohum.generation.choice import Choice
from tohum.generation.int8 import decode_in_bytes
from tohum.generation.mode import evaluating
from tohum.generation.text import Ends, OnText, generate_text
from tohum.loading.classifier import is_classifier
from tohum.loading.find import find_model
from tohum.loading.folder import LoadedModel, load_model
from tohum.lora.merge import merge
from tohum.machine import pick_device


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How likely a model finds a text."""

    token_ids: list[int]  # those that were scored
    texts: list[str]  # as a person reads them
    logprobs: list[float]  # nats; of each token, given all before it


@dataclass(frozen=True)
class Model:
    """A model folder in memory."""

    loaded: LoadedModel

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", dtype: str = "auto", int8: bool = False) -> "Model":
        """Open a model folder or a run; int8: its matrices as bytes. Raises CheckpointError, ConfigError."""
        return cls(load_at(Path(path), device, dtype, int8=int8))

    def generate(self, prompt: str | Sequence[str], *, max_tokens: int = 128, stop: Sequence[str] = (),
                 on_text: OnText | None = None, **choice: Any) -> Any:
        """Continue a prompt (answers a text) or several (a list of texts); the prompts are not repeated.

        choice: temperature, top_k, top_p, min_p, repetition_penalty, lookup and seed, as `tohum generate` has them.
        on_text is called with the number of the prompt and each new piece. Raises ConfigError.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        found = generate_text(self.loaded.network, self.loaded.tokenizer, prompts, max_tokens=max_tokens,
                              choice=validate(Choice, choice, where="generate"), on_text=on_text,
                              ends=Ends(texts=stop, ids=self.loaded.stop_ids))
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
