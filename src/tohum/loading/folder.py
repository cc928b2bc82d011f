"""Model folder: configuration, weights, tokenizer <-> the files of a Hugging Face folder, our only form.

    config.json  generation_config.json  model.safetensors (or shards and their index)
    tokenizer.json  tokenizer_config.json
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tohum.errors import CheckpointError
from tohum.files import sha256_file, sha256_json, write_json
from tohum.loading import families
from tohum.loading.empty import check_size, empty_network, take_over
from tohum.loading.family import Family
from tohum.loading.find import ADAPTER
from tohum.loading.keys import read_json
from tohum.loading.names import StoredTensors, read_parameters, write_parameters
from tohum.loading.weights import SHARD_BYTES, WeightFiles, weight_paths, write_weights
from tohum.machine import tune_products
from tohum.model.config import ModelConfig
from tohum.model.int8 import Int8Linear, to_bytes
from tohum.model.network import Network
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.tokenizer import Tokenizer

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer.json"
DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16",
          torch.float64: "float64"}


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model folder in memory; its tokenizer is read, and its hash computed, when first asked for."""

    folder: Path
    config: ModelConfig
    network: Network
    words: Tokenizer | None = None  # in the place of the folder's tokenizer

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer. Raises CheckpointError where there is none, or one of another model."""
        return self.words or load_tokenizer(self.folder, self.config)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a text: those of generation_config.json, and the tokenizer's end of a document."""
        named = self.generation.get("eos_token_id")
        found = [*(named if isinstance(named, list) else [named]), self.tokenizer.eos_id]
        return frozenset(token for token in found if isinstance(token, int))

    @cached_property
    def generation(self) -> dict[str, Any]:
        """What generation_config.json says."""
        path = self.folder / GENERATION
        return read_json(path) if path.is_file() else {}

    @property
    def ends(self) -> Ends:
        """All that ends a text: those tokens, and the file's stop strings."""
        named = self.generation.get("stop_strings")
        texts = [named] if isinstance(named, str) else named if isinstance(named, list) else []
        return Ends(ids=self.stop_ids, texts=tuple(text for text in texts if isinstance(text, str) and text))

    @cached_property
    def sha256(self) -> str:
        """Hash of configuration and weights."""
        return model_sha256(self.folder)


def save_model(folder: Path, config: ModelConfig, weights: Mapping[str, Tensor],
               tokenizer: Tokenizer | None, *, dtype: torch.dtype | None = None,
               shard_bytes: int = SHARD_BYTES, ends: Ends | None = None) -> Family:
    """Write a model into `folder` (made if absent) and answer the family that it is stored as.

    weights: the network's parameters by name, on any device; dtype None keeps theirs. ends: what ends a text besides
    the tokenizer's end of a document. Not atomic by itself: give it the draft folder of `files.write_directory`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    family, values = families.write_config(config)
    stored = {name: tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
              for name, tensor in write_parameters(family.table, len(config.layers), weights).items()}
    ids = token_ids(tokenizer)
    number_format = DTYPES[stored[family.table.token].dtype]
    write_json(folder / CONFIG, values | ids | {"dtype": number_format, "use_cache": True})
    write_generation(folder, tokenizer, ends)
    write_weights(folder, stored, shard_bytes)
    if tokenizer is not None:
        tokenizer.save(folder)
    return family


def write_generation(folder: Path, tokenizer: Tokenizer | None, ends: Ends | None) -> None:
    """generation_config.json: special ids, and all that ends a text, as transformers reads it."""
    ids: dict[str, Any] = dict(token_ids(tokenizer))
    ends = ends or Ends()
    stops = {*(ends.ids or ()), ids["eos_token_id"]} - {None}
    if len(stops) > 1:
        ids["eos_token_id"] = sorted(stops)
    if ends.texts:
        ids["stop_strings"] = list(ends.texts)
    write_json(folder / GENERATION, ids)


def token_ids(tokenizer: Tokenizer | None) -> dict[str, int | None]:
    """Special ids under Hugging Face's names; null where there is none, for an absent key means a default."""
    if tokenizer is None:
        return {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id,
            "pad_token_id": tokenizer.pad_id}


def load_model(folder: Path, *, dtype: torch.dtype | None = torch.float32,
               device: torch.device | str = "cpu", int8: bool = False) -> LoadedModel:
    """Read a model folder into a network in evaluation mode. dtype None: as stored. int8: the blocks' linears as
    bytes, each made as it is read, so that they are never all in memory as floats.

    Raises CheckpointError naming the file for everything that is missing, damaged or beyond the network.
    """
    tune_products()
    family, config = read_family(folder)
    stored = WeightFiles(folder)
    network = network_for(config, stored)
    weights = read_weights(network, stored, family, dtype=dtype, device=device, int8=int8)
    return LoadedModel(folder=folder, config=config, network=take_over(network, weights, device))


def load_config(folder: Path) -> ModelConfig:
    """The configuration of a model folder. Raises CheckpointError."""
    return read_family(folder)[1]


def load_weights(folder: Path, config: ModelConfig | None = None, *, dtype: torch.dtype | None = None,
                 device: torch.device | str = "cpu", stored: StoredTensors | None = None) -> dict[str, Tensor]:
    """The parameters of a model folder by our names; dtype None: as stored; stored None: its safetensors.

    With `config`, the folder must hold a model of exactly that shape (dropout aside). Raises CheckpointError.
    """
    family, found = read_family(folder)
    if config is not None and found != config.replace(
            dropout=found.dropout, attention_dropout=found.attention_dropout):
        raise CheckpointError(f"{folder / CONFIG}: describes another model than the one asked for")
    stored = stored or WeightFiles(folder)
    return read_weights(network_for(found, stored), stored, family, dtype=dtype, device=device)


def load_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    """The tokenizer of a model folder. Raises CheckpointError."""
    if not (folder / TOKENIZER).is_file():
        raise CheckpointError(f"{folder}: has no {TOKENIZER}; this model reads and writes token ids only")
    tokenizer = Tokenizer.load(folder)
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(f"{folder / TOKENIZER}: has {tokenizer.vocab_size:,} entries, but the model's "
                              f"table has {config.vocab_size:,} rows; it belongs to another model")
    return tokenizer


def read_family(folder: Path) -> tuple[Family, ModelConfig]:
    """What config.json says."""
    path = folder / CONFIG
    if not path.is_file() and (folder / ADAPTER).is_file():
        raise CheckpointError(f"{folder}: is an adapter, not a whole model\n"
                              f"'tohum merge {folder} --out DIR' folds it into its base")
    return families.read_config(read_json(path), str(path))


def network_for(config: ModelConfig, stored: StoredTensors) -> Network:
    """An empty network, if there are numbers enough to fill it. Raises CheckpointError."""
    check_size(stored.where, config, sum(math.prod(shape) for shape in stored.shapes.values()))
    return empty_network(config)


def read_weights(network: Network, stored: StoredTensors, family: Family, *, dtype: torch.dtype | None,
                 device: torch.device | str, int8: bool = False) -> dict[str, Tensor]:
    """Stored tensors -> parameters of `network`, one at a time, each in memory of its own.

    A copy, not a view of the mapped file: it is aligned as torch aligns (kernels round differently on other
    addresses), and the file may be replaced afterwards.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    weights: dict[str, Tensor] = {}
    packed = with_bytes(network, device) if int8 else {}
    for name, tensor in read_parameters(family.table, stored, len(network.blocks), shapes):
        if name in packed:
            to_bytes(tensor.to(device), packed[name].values, packed[name].factors)
            continue
        weights[name] = torch.empty(tensor.shape, dtype=dtype or tensor.dtype, device=device).copy_(tensor)
    for name, linear in packed.items():
        place = name.removesuffix("weight")
        weights |= {f"{place}values": linear.values, f"{place}factors": linear.factors}
    return weights


def with_bytes(network: Network, device: torch.device | str) -> dict[str, Int8Linear]:
    """Make every linear of the blocks one of bytes, without values yet; by the name of the weight that it had.

    All at once, before the first matrix is read: results that are allocated between the passing floats of their making
    leave gaps that the next floats do not fit into, and the memory that they were to save is gone.
    """
    packed: dict[str, Int8Linear] = {}
    for name, module in list(network.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            shape = module.out_features, module.in_features
            made = Int8Linear(torch.empty(shape, dtype=torch.int8, device=device),
                              torch.empty(shape[0], dtype=torch.bfloat16, device=device), module.bias)
            setattr(network.blocks.get_submodule(parent), child, made)
            packed[f"blocks.{name}.weight"] = made
    return packed


def model_sha256(folder: Path) -> str:
    """Hash of configuration and weight files, an adapter's where the folder is one; the same for every copy."""
    if not (folder / CONFIG).is_file() and (folder / ADAPTER).is_file():
        return sha256_json({path.name: sha256_file(path) for path in sorted(folder.glob("adapter_*"))})
    config: dict[str, Any] = read_json(folder / CONFIG)
    return sha256_json({"config": config, "weights": {p.name: sha256_file(p) for p in weight_paths(folder)}})
