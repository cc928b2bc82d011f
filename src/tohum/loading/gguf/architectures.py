"""All architectures: a GGUF file -> configuration and parameters; a configuration -> the architecture that says it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tohum.config import explain
from tohum.errors import CheckpointError, ConfigError
from tohum.gguf import GGUF, read_gguf
from tohum.loading.empty import check_size, empty_network
from tohum.loading.gguf.architecture import Architecture
from tohum.loading.gguf.gemma import GEMMA2, GEMMA3
from tohum.loading.gguf.head import HARMLESS, Head, stretch_factors
from tohum.loading.gguf.llama import LLAMA, SMOLLM3
from tohum.loading.gguf.others import GPT2, OLMO2, PHI3
from tohum.loading.gguf.qwen import QWEN2, QWEN3, QWEN3_MOE
from tohum.loading.gguf.tensors import GGUFTensors
from tohum.loading.names import Shape, read_parameters, rules_for
from tohum.model.config import ModelConfig

ARCHITECTURES = (QWEN2, QWEN3, QWEN3_MOE, LLAMA, SMOLLM3, GEMMA2, GEMMA3, GPT2, OLMO2, PHI3)
BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


def read_gguf_model(path: Path, dtype: torch.dtype = torch.float32) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and parameters. Raises CheckpointError, ConfigError."""
    gguf = read_gguf(path)
    architecture = known(gguf)
    config = read_config(architecture, Head.of_file(gguf))
    stored = GGUFTensors(gguf, dtype)
    check_size(str(path), config, sum(math.prod(shape) for shape in stored.shapes.values()))
    return config, dict(read_parameters(architecture.table(config), stored, len(config.layers), shapes_of(config)))


def known(gguf: GGUF) -> Architecture:
    """The architecture that a file names. Raises CheckpointError."""
    name = gguf.values.get("general.architecture")
    if not isinstance(name, str) or name not in BY_NAME:
        raise CheckpointError(f"{gguf.path}: architecture {name!r} is not one that can be loaded; "
                              f"known are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def read_config(architecture: Architecture, head: Head) -> ModelConfig:
    """Values -> ModelConfig. Raises CheckpointError for what the network does not do."""
    try:
        config = architecture.read(head)
    except ValidationError as error:
        raise CheckpointError(f"{head.keys.where}: {explain(ModelConfig, error.errors()[0])}") from None
    for key in ("expert_count", "expert_used_count"):
        head.keys.neutral(key, None, 0)
    head.keys.finish(HARMLESS)
    return config


def shapes_of(config: ModelConfig) -> dict[str, Shape]:
    """Shapes of our parameters."""
    return {name: tuple(tensor.shape) for name, tensor in empty_network(config).state_dict().items()}


def architecture_for(config: ModelConfig) -> tuple[Architecture, dict[str, Any]]:
    """The first architecture that says all of `config`, and its values.

    "Says all" is tested, not assumed: reading the result back must give `config` again, dropout aside. Raises
    ConfigError where llama.cpp has none.
    """
    for architecture in ARCHITECTURES:
        values = architecture.write(config)
        if values is not None and says_all(architecture, values, config):
            return architecture, values
    raise ConfigError("llama.cpp has no architecture that computes what this model computes; "
                      "export it with --to hf instead")


def says_all(architecture: Architecture, values: Mapping[str, Any], config: ModelConfig) -> bool:
    """Does reading `values` give `config`, apart from dropout?"""
    ours = shapes_of(config)
    try:
        rules = rules_for(architecture.table(config), len(config.layers), ours)
        stored = {rule.theirs: rule.transform.shape([ours[name] for name in rule.ours]) for rule in rules}
        named = {"general.architecture": architecture.name} | {
            f"{architecture.name}.{key}": value for key, value in values.items()}
        found = read_config(architecture, Head.of("file", named, stored, factors_of(config)))
    except (CheckpointError, KeyError):  # a value that is refused, a parameter without a name
        return False
    return found.replace(dropout=config.dropout, attention_dropout=config.attention_dropout) == config


def factors_of(config: ModelConfig) -> Tensor | None:
    """What Llama 3's stretching divides frequencies by, for the layers that have it."""
    for layer in config.layers:
        if layer.attention.rope_scaling and layer.attention.rope_base:
            return stretch_factors(layer.attention.head_width, layer.attention.rope_base, layer.attention.rope_scaling)
    return None
