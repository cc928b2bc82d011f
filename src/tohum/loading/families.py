"""All families: config.json <-> ModelConfig, by the first family whose round trip is exact."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tohum.config import explain
from tohum.errors import CheckpointError
from tohum.loading import (
    gemma2,
    gemma3,
    gpt2,
    llama,
    mistral,
    mixtral,
    native,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
)
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.model.config import ModelConfig
from tohum.model.counting import parameters

FOREIGN: tuple[Family, ...] = tuple(module.FAMILY for module in (
    gpt2, llama, qwen3, qwen2, mistral, smollm3, gemma2, gemma3, phi3, olmo2, mixtral, qwen3_moe))
MAX_PARAMETERS = 10**14  # larger numbers are no sizes, and would overflow those of tensors
BY_MODEL_TYPE: dict[str, Family] = {family.model_type: family for family in (*FOREIGN, native.FAMILY)}


def read_config(values: Mapping[str, Any], where: str) -> tuple[Family, ModelConfig]:
    """The content of a config.json -> its family and our configuration.

    Raises CheckpointError for an unknown family, and for every key that asks for something the network lacks.
    """
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in BY_MODEL_TYPE:
        raise CheckpointError(f"{where}: model_type = {model_type!r} is not a family that can be loaded; "
                              f"known are {', '.join(BY_MODEL_TYPE)}")
    family = BY_MODEL_TYPE[model_type]
    return family, read_as(family, values, where)


def read_as(family: Family, values: Mapping[str, Any], where: str) -> ModelConfig:
    """A config.json of a known family -> our configuration. Raises CheckpointError."""
    keys = Keys(values, where)
    try:
        config = family.read(keys)
    except ValidationError as error:
        raise CheckpointError(f"{where}: {explain(ModelConfig, error.errors()[0])}") from None
    keys.finish(family.harmless)
    if max(count := parameters(config), config.context) > MAX_PARAMETERS:
        raise CheckpointError(f"{where}: describes a model of {count:.3g} parameters and a context of "
                              f"{config.context:.3g} tokens; its numbers are damaged")
    return config


def write_config(config: ModelConfig) -> tuple[Family, dict[str, Any]]:
    """The first family that says all of `config`, and the content of its config.json.

    "Says all" is tested, not assumed: reading the result back must give `config` again. Dropout is set aside,
    for it is a matter of training. What no family says is kept whole in our own form.
    """
    for family in FOREIGN:
        values = family.write(config)
        if values is not None and says_all(family, values, config):
            return family, head_of(family) | values
    return native.FAMILY, head_of(native.FAMILY) | native.write_config(config)


def says_all(family: Family, values: Mapping[str, Any], config: ModelConfig) -> bool:
    """Does reading `values` give `config`, apart from dropout?"""
    try:
        found = read_as(family, values, "config.json")
    except CheckpointError:
        return False
    return found.model_copy(
        update={"dropout": config.dropout, "attention_dropout": config.attention_dropout}) == config


def head_of(family: Family) -> dict[str, Any]:
    """The keys that name a family."""
    return {"architectures": [family.architecture], "model_type": family.model_type}
