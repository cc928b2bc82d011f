"""Rotary settings of a Hugging Face config, in the keys of transformers 4 and of transformers 5 <-> ours."""

from collections.abc import Mapping
from typing import Any

from tohum.errors import CheckpointError
from tohum.loading.keys import Keys
from tohum.model.config import AttentionSpec, RopeScaling

DEFAULT_BASE = 10_000.0
Rope = tuple[float, RopeScaling | None]


def read_rope(keys: Keys, context: int, default_base: float = DEFAULT_BASE) -> Rope:
    """Base and scaling, from `rope_parameters` (version 5) or `rope_theta` and `rope_scaling` (version 4).

    Where a config has both, they must agree. Raises CheckpointError.
    """
    base = keys.number("rope_theta", default_base)
    old, new = keys.optional("rope_scaling"), keys.optional("rope_parameters")
    if new is None:
        return read_settings(old or {}, base, context, f"{keys.where}: rope_scaling")
    found = read_settings(new, base, context, f"{keys.where}: rope_parameters")
    if old and read_settings(old, found[0], context, f"{keys.where}: rope_scaling") != found:
        raise CheckpointError(f"{keys.where}: rope_scaling and rope_parameters contradict each other")
    return found


def read_settings(values: Any, base: float, context: int, where: str) -> Rope:
    """One flat dictionary of rotary settings."""
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{where} = {values!r}; expected a JSON object")
    keys = Keys(values, where)
    old_type = keys.optional("type")
    scaled = keys.choice("rope_type", {"default": False, "llama3": True}, old_type or "default")
    base = keys.number("rope_theta", base)
    keys.neutral("partial_rotary_factor", None, 1.0)
    scaling = read_llama3(keys, context) if scaled else None
    keys.finish()
    return base, scaling


def read_llama3(keys: Keys, context: int) -> RopeScaling:
    """Llama 3's stretching of slow frequencies."""
    return RopeScaling(factor=keys.number("factor"), low_frequency_factor=keys.number("low_freq_factor"),
                       high_frequency_factor=keys.number("high_freq_factor"),
                       original_context=keys.integer("original_max_position_embeddings", context))


def write_rope(attention: AttentionSpec) -> dict[str, Any]:
    """Keys for transformers 5, and beside them those that version 4 reads."""
    scaling: dict[str, Any] = {"rope_type": "default"}
    if attention.rope_scaling:
        stretch = attention.rope_scaling
        scaling = {"rope_type": "llama3", "factor": stretch.factor,
                   "low_freq_factor": stretch.low_frequency_factor,
                   "high_freq_factor": stretch.high_frequency_factor,
                   "original_max_position_embeddings": stretch.original_context}
    return {"rope_parameters": {"rope_theta": attention.rope_base, **scaling},
            "rope_theta": attention.rope_base, "rope_scaling": scaling if attention.rope_scaling else None}
