"""Mixtral (arXiv:2401.04088) as Hugging Face stores it <-> ModelConfig and parameters: Mistral with experts."""

from typing import Any

from tohum.loading import llama
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.mistral import read_attention
from tohum.loading.names import Rule, Table, same
from tohum.model.config import ExpertsSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

EXPERT_PARTS = (("w1", "gate"), ("w3", "up"), ("w2", "down"))
DEFAULT_BASE = 1_000_000.0


def with_experts(router: str, expert: str, parts: tuple[tuple[str, str], ...], rules: tuple[Rule, ...]) -> Table:
    """Llama's names, and those of a router and its experts."""
    ours = "blocks.{}.feed_forward.experts.{}"
    return Table(token=llama.TABLE.token, head=llama.TABLE.head, prefix=llama.TABLE.prefix,
                 ignored=llama.TABLE.ignored,
                 rules=(*rules, same(router, "blocks.{}.feed_forward.router.weight"),
                        *(same(f"{expert}.{theirs}.weight", f"{ours}.{part}.weight") for theirs, part in parts)))


TABLE = with_experts("model.layers.{}.block_sparse_moe.gate.weight", "model.layers.{}.block_sparse_moe.experts.{}",
                     EXPERT_PARTS, llama.TABLE.rules)
HARMLESS = ("output_router_logits", "router_aux_loss_coef", "router_jitter_noise")  # training alone reads them


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig; defaults are those of transformers."""
    width, layers = keys.integer("hidden_size", 4096), keys.layers("num_hidden_layers", 32)
    context = keys.integer("max_position_embeddings", 131072)
    attention = read_attention(keys, width=width, context=context, window=keys.optional("sliding_window"),
                               default_base=DEFAULT_BASE)
    experts = ExpertsSpec(count=keys.integer("num_local_experts", 8), chosen=keys.integer("num_experts_per_tok", 2))
    feed_forward = FeedForwardSpec(kind=keys.choice("hidden_act", llama.ACTIVATIONS, "silu"),
                                   width=keys.integer("intermediate_size", 14336), experts=experts)
    return ModelConfig(vocab_size=keys.integer("vocab_size", 32000), width=width, context=context,
                       layers=(LayerSpec(attention=attention, feed_forward=feed_forward),) * layers,
                       norm=NormSpec(kind="rms", eps=keys.number("rms_norm_eps", 1e-5)),
                       tied=keys.flag("tie_word_embeddings", False))


def write_config(config: ModelConfig) -> dict[str, Any] | None:
    """ModelConfig -> config.json, or None for models without experts and for unnamed layers."""
    layer = config.layers[0]
    experts = layer.feed_forward.experts
    if experts is None or layer.feed_forward.kind not in llama.WRITTEN_ACTIVATIONS:
        return None
    return llama.shared_keys(config) | {"sliding_window": layer.attention.window, "num_local_experts": experts.count,
                                        "num_experts_per_tok": experts.chosen}


FAMILY = Family(model_type="mixtral", architecture="MixtralForCausalLM", read=read_config, write=write_config,
                table=TABLE, harmless=HARMLESS)
