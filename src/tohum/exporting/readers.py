"""Readers of exports: the foreign library where it is installed, else our own -> scores for a certificate."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tohum.loading.empty import empty_network, take_over
from tohum.loading.folder import TOKENIZER, load_model
from tohum.loading.gguf.architectures import read_gguf_model
from tohum.model.network import Network
from tohum.tokenizing.gguf_vocabulary import load_gguf
from tohum.tokenizing.tokenizer import Tokenizer


class ByNetwork:
    """Ours: a network that was read back, in float32."""

    log_probabilities = False
    exact = 0.0

    def __init__(self, name: str, network: Network, tokenizer: Tokenizer | None):
        self.name, self.network, self.tokenizer = name, network, tokenizer

    def token_ids(self, text: str) -> list[int] | None:
        """By the tokenizer of the copy."""
        return self.tokenizer.encode(text) if self.tokenizer is not None else None

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """(T, V)."""
        return self.network.logits(torch.tensor([list(ids)]))[0].float()

    def scores(self, ids: Sequence[int], places: Sequence[int]) -> Tensor:
        """(places, V)."""
        return self.logits(ids)[list(places)]

    def best(self, ids: Sequence[int], places: Sequence[int]) -> list[int]:
        """The best at each place."""
        return self.scores(ids, places).argmax(-1).tolist()

    def close(self) -> None:
        """Nothing is held but memory."""


class ByTransformers(ByNetwork):
    """transformers: AutoModelForCausalLM and AutoTokenizer, with no argument but the number format."""

    def __init__(self, folder: Path):
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.name = f"transformers {transformers.__version__}"
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        has_words = (folder / TOKENIZER).is_file()
        self.words: Any = transformers.AutoTokenizer.from_pretrained(folder) if has_words else None

    def token_ids(self, text: str) -> list[int] | None:
        """Special tokens that a text spells stay text, as everywhere else here."""
        if self.words is None:
            return None
        return self.words(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """(T, V)."""
        return self.model(torch.tensor([list(ids)])).logits[0].float()


def folder_reader(folder: Path) -> ByNetwork:
    """Of an exported Hugging Face folder."""
    if find_spec("transformers") is not None:
        return ByTransformers(folder)
    loaded = load_model(folder)
    return ByNetwork("tohum", loaded.network, loaded.tokenizer if (folder / TOKENIZER).is_file() else None)


def gguf_reader(path: Path) -> Any:
    """Of an exported GGUF file."""
    if find_spec("xllamacpp") is not None:
        from tohum.exporting.llama_cpp import LlamaCpp

        return LlamaCpp(path)
    config, weights = read_gguf_model(path)
    return ByNetwork("tohum", take_over(empty_network(config), weights, "cpu"), load_gguf(path))
