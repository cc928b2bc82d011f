"""Gemma 3 (arXiv:2503.19786), text models, as Hugging Face stores them <-> ModelConfig and parameters: Gemma 2 with
QK-norms instead of caps, five layers with a window for each without, and rotary bases of their own for both kinds."""

from collections.abc import Mapping
from typing import Any

from tohum.errors import CheckpointError
from tohum.loading import gemma2
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.qwen3 import FULL, SLIDING, layer_types
from tohum.model.config import AttentionSpec, LayerSpec, ModelConfig, NormSpec

TABLE = gemma2.table((*gemma2.NORMS,
                      ("model.layers.{}.self_attn.q_norm", "blocks.{}.attention.query_norm"),
                      ("model.layers.{}.self_attn.k_norm", "blocks.{}.attention.key_norm")))
BASES = {FULL: ("rope_theta", 1_000_000.0), SLIDING: ("rope_local_base_freq", 10_000.0)}
PATTERNS = ("sliding_window_pattern", "_sliding_window_pattern")


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, context = keys.integer("hidden_size", 2304), keys.integer("max_position_embeddings", 131072)
    layers = keys.layers("num_hidden_layers", 26)
    every = max(1, *(keys.integer(key, 6) for key in PATTERNS))
    attention, feed_forward = gemma2.read_common(keys)
    attention = attention.replace(qk_norm=True, soft_cap=gemma2.cap(keys, "attn_logit_softcapping", None))
    pattern = [SLIDING if (number + 1) % every else FULL for number in range(layers)]
    windows = layer_types(keys, layers, keys.integer("sliding_window", 4096), pattern)
    rope = read_rope(keys)
    specs = {window: LayerSpec(attention=attention.replace(window=window, **rope[SLIDING if window else FULL]),
                               feed_forward=feed_forward, norm_places="both") for window in set(windows)}
    return ModelConfig(vocab_size=keys.integer("vocab_size", 262208), width=width, context=context,
                       layers=tuple(specs[window] for window in windows),
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-6)), embedding_scale=width**0.5,
                       logit_soft_cap=gemma2.cap(keys, "final_logit_softcapping", None),
                       tied=keys.flag("tie_word_embeddings", True))


def read_rope(keys: Keys) -> dict[str, dict[str, float]]:
    """Base and factor of the layers with and without a window, from the keys of transformers 5 or 4."""
    old = {kind: keys.number(key, base) for kind, (key, base) in BASES.items()}
    scaling, new = keys.optional("rope_scaling"), keys.optional("rope_parameters") or {}
    if not isinstance(new, Mapping) or set(new) - set(BASES):
        raise CheckpointError(f"{keys.where}: rope_parameters = {str(new)[:60]}; expected settings for "
                              f"{' and '.join(BASES)}")
    found = {}
    for kind, base in old.items():
        settings = new.get(kind) or (scaling if kind == FULL else None) or {}
        if not isinstance(settings, Mapping):
            raise CheckpointError(f"{keys.where}: rope_parameters of {kind}: expected a JSON object")
        inner = Keys(settings, f"{keys.where}: rotary settings of {kind}")
        linear = inner.choice("rope_type", {"default": False, "linear": True}, inner.given("type", "default"))
        found[kind] = {"rope_base": inner.number("rope_theta", base),
                       "rope_factor": inner.number("factor") if linear else 1.0}
        inner.finish()
    return found


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None."""
    keys = gemma2.shared_keys(config)
    if keys is None:
        return None
    specs = {SLIDING if layer.attention.window else FULL: layer.attention for layer in reversed(config.layers)}
    for key in ("rope_theta", "rope_scaling", "rope_parameters"):
        keys.pop(key, None)
    return keys | {"rope_parameters": {kind: rope_settings(specs.get(kind), base)
                                       for kind, (_, base) in BASES.items()}}


def rope_settings(spec: AttentionSpec | None, base: float) -> dict[str, Any]:
    """The settings of one kind of layer; the default ones for a kind that the model does not have."""
    if spec is None or spec.rope_base is None:
        return {"rope_type": "default", "rope_theta": base}
    scaled = {"rope_type": "linear", "factor": spec.rope_factor} if spec.rope_factor != 1 else {"rope_type": "default"}
    return scaled | {"rope_theta": spec.rope_base}


FAMILY = Family(model_type="gemma3_text", architecture="Gemma3ForCausalLM", read=read_config, write=write_config,
                table=TABLE, harmless=gemma2.HARMLESS)
