"""Named models: name -> ModelConfig, and the default family, which has one dial: depth. Data only."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tohum.model.config import (
    AttentionSpec,
    ExpertsSpec,
    FeedForwardSpec,
    LayerSpec,
    ModelConfig,
    NormSpec,
    RopeScaling,
)

# The default family: what `from_depth` builds. Its shape is that of Qwen3 (arXiv:2505.09388), so that a model
# trained here opens in other tools as an architecture they already have.
HEAD_WIDTH = 64  # E
WIDTH_PER_DEPTH = 64  # D = 64 * depth: one head more per layer
QUERIES_PER_KV_HEAD = 1  # H / G; 1 is multi-head
FEED_FORWARD_RATIO = 8 / 3  # hidden width / D: three gated matrices then weigh as much as two of ratio 4
FEED_FORWARD_MULTIPLE = 64  # its width is rounded up to whole vector registers
DEFAULT_DEPTH = 4
DEFAULT_NORM = NormSpec(kind="rms", eps=1e-6)
DEFAULT_ROPE_BASE = 10_000.0  # contexts here are short; Qwen3 itself has 1,000,000 for 32k tokens


def feed_forward_width(width: int, ratio: float = FEED_FORWARD_RATIO) -> int:
    """Hidden width of the default family: ratio * D rounded up to a multiple of 64 (of 8 below that)."""
    multiple = FEED_FORWARD_MULTIPLE if width >= FEED_FORWARD_MULTIPLE else 8
    return -int(-width * ratio // multiple) * multiple


def qwen3_layer(heads: int, kv_heads: int, head_width: int, hidden: int, rope_base: float) -> LayerSpec:
    """QK-norm, rotary positions, SwiGLU, no biases, norms before."""
    attention = AttentionSpec(heads=heads, kv_heads=kv_heads, head_width=head_width, rope_base=rope_base,
                              qk_norm=True)
    return LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=hidden))


def from_depth(depth: int, vocab_size: int, context: int) -> ModelConfig:
    """The default family: depth layers of width 64 * depth with heads of width 64, tied head."""
    width = WIDTH_PER_DEPTH * depth
    heads = width // HEAD_WIDTH
    kv_heads = heads // QUERIES_PER_KV_HEAD if heads % QUERIES_PER_KV_HEAD == 0 else heads
    layer = qwen3_layer(heads, kv_heads, HEAD_WIDTH, feed_forward_width(width), DEFAULT_ROPE_BASE)
    return ModelConfig(vocab_size=vocab_size, width=width, context=context, layers=(layer,) * depth,
                       norm=DEFAULT_NORM)


def gpt2(layers: int, heads: int, width: int) -> ModelConfig:
    """GPT-2 (OpenAI, 2019): learned positions, LayerNorm, GELU, biases everywhere, tied head."""
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_width=width // heads, bias=True,
                              output_bias=True)
    hidden = FeedForwardSpec(kind="gelu_tanh", width=4 * width, bias=True)
    layer = LayerSpec(attention=attention, feed_forward=hidden)
    return ModelConfig(vocab_size=50257, width=width, context=1024, layers=(layer,) * layers, dropout=0.1,
                       attention_dropout=0.1, norm=NormSpec(kind="layer", eps=1e-5, bias=True), learned_positions=True)


def gpt_config_124m() -> ModelConfig:
    """GPT_CONFIG_124M of "Build a Large Language Model (From Scratch)" (Raschka, 2024): GPT-2 without biases
    on query, key and value, and with a head of its own."""
    base = gpt2(layers=12, heads=12, width=768)
    layer = base.layers[0]
    layer = layer.replace(attention=layer.attention.replace(bias=False))
    return base.replace(layers=(layer,) * 12, tied=False)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of a Llama-like model whose layers are all alike."""

    vocab_size: int
    context: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int  # width of the feed-forward's hidden layer


def llama(sizes: Sizes, scaling: RopeScaling) -> ModelConfig:
    """Llama 3.2 (arXiv:2407.21783): grouped-query attention, SwiGLU, stretched rotary frequencies."""
    attention = AttentionSpec(heads=sizes.heads, kv_heads=sizes.kv_heads, head_width=sizes.head_width,
                              rope_base=500_000.0, rope_scaling=scaling)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=sizes.hidden))
    return ModelConfig(vocab_size=sizes.vocab_size, width=sizes.width, context=sizes.context,
                       layers=(layer,) * sizes.layers, norm=NormSpec(kind="rms", eps=1e-5))


def qwen3(sizes: Sizes) -> ModelConfig:
    """Qwen3 (arXiv:2505.09388): QK-norm, SwiGLU, rotary base 1,000,000."""
    layer = qwen3_layer(sizes.heads, sizes.kv_heads, sizes.head_width, sizes.hidden, 1e6)
    return ModelConfig(vocab_size=sizes.vocab_size, width=sizes.width, context=sizes.context,
                       layers=(layer,) * sizes.layers, norm=NormSpec(kind="rms", eps=1e-6))


def tiny_gemma2() -> ModelConfig:
    """Gemma 2 (arXiv:2408.00118): every other layer has a window; scores and logits are capped; norms on both
    sides; the score scale is a setting, and token vectors are multiplied by sqrt(D)."""
    full = AttentionSpec(heads=4, kv_heads=2, head_width=8, rope_base=10_000.0, soft_cap=50.0, scale=16**-0.5)
    hidden = FeedForwardSpec(kind="geglu", width=64)
    near = LayerSpec(attention=full.replace(window=16), feed_forward=hidden, norm_places="both")
    far = LayerSpec(attention=full, feed_forward=hidden, norm_places="both")
    return ModelConfig(vocab_size=256, width=32, context=128, layers=(near, far),
                       norm=NormSpec(kind="rms", eps=1e-6), embedding_scale=32**0.5, logit_soft_cap=30.0)


def tiny_gemma3() -> ModelConfig:
    """Gemma 3 (arXiv:2503.19786): QK-norms instead of caps; near and far layers have rotary bases of their own, and
    the far ones turn eight times as slowly, for texts longer than the trained ones."""
    base = tiny_gemma2()
    near, far = (layer.replace(attention=layer.attention.replace(soft_cap=None, qk_norm=True, **rope))
                 for layer, rope in zip(base.layers, ({}, {"rope_base": 1e6, "rope_factor": 8.0}), strict=True))
    return base.replace(layers=(near, far), logit_soft_cap=None)


def tiny_olmo2() -> ModelConfig:
    """OLMo 2 (arXiv:2501.00656): norms after, QK-norms over all heads together."""
    attention = AttentionSpec(heads=4, kv_heads=4, head_width=8, rope_base=500_000.0, qk_norm=True,
                              qk_norm_across_heads=True)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=64), norm_places="post")
    return ModelConfig(vocab_size=256, width=32, context=128, layers=(layer,) * 2,
                       norm=NormSpec(kind="rms", eps=1e-6), tied=False)


def tiny_qwen3_moe() -> ModelConfig:
    """Qwen3 with experts (arXiv:2505.09388): two of four small feed-forward layers for each token."""
    base = qwen3(TINY)
    sparse = FeedForwardSpec(kind="swiglu", width=24, experts=ExpertsSpec(count=4, chosen=2))
    return base.replace(layers=tuple(layer.replace(feed_forward=sparse) for layer in base.layers))


def tiny_exaone4() -> ModelConfig:
    """EXAONE 4 (arXiv:2507.11407): norms after, QK-norm; layers with a window have rotary positions, those
    that see everything have none."""
    hidden = FeedForwardSpec(kind="swiglu", width=64)
    near = AttentionSpec(heads=4, kv_heads=2, head_width=8, rope_base=1e6, qk_norm=True, window=16)
    far = near.replace(window=None, rope_base=None)
    layers = tuple(LayerSpec(attention=a, feed_forward=hidden, norm_places="post") for a in (near, far))
    return ModelConfig(vocab_size=256, width=32, context=128, layers=layers,
                       norm=NormSpec(kind="rms", eps=1e-5), tied=False)


def tiny_arcee() -> ModelConfig:
    """Arcee's AFM: a Llama whose feed-forward is ReLU squared, without a gate."""
    attention = AttentionSpec(heads=4, kv_heads=2, head_width=8, rope_base=10_000.0)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="relu2", width=128))
    return ModelConfig(vocab_size=256, width=32, context=128, layers=(layer,) * 2,
                       norm=NormSpec(kind="rms", eps=1e-5), tied=False)


LLAMA_3_2_SCALING = RopeScaling(factor=32.0, low_frequency_factor=1.0, high_frequency_factor=4.0,
                                original_context=8192)

LLAMA_3_2_1B = Sizes(vocab_size=128_256, context=131_072, width=2048, layers=16, heads=32, kv_heads=8, head_width=64,
                     hidden=8192)
QWEN3_0_6B = Sizes(vocab_size=151_936, context=40_960, width=1024, layers=28, heads=16, kv_heads=8, head_width=128,
                   hidden=3072)
TINY = Sizes(vocab_size=256, context=128, width=32, layers=2, heads=4, kv_heads=2, head_width=8, hidden=64)

# Name -> builder. The tiny ones are for learning and tests: the real shapes at width 32.
PRESETS: dict[str, Callable[[], ModelConfig]] = {
    "gpt2-124m": partial(gpt2, layers=12, heads=12, width=768),
    "gpt2-355m": partial(gpt2, layers=24, heads=16, width=1024),
    "gpt2-774m": partial(gpt2, layers=36, heads=20, width=1280),
    "gpt2-1558m": partial(gpt2, layers=48, heads=25, width=1600),
    "gpt-config-124m": gpt_config_124m,
    "llama-3.2-1b": partial(llama, LLAMA_3_2_1B, LLAMA_3_2_SCALING),
    "qwen3-0.6b": partial(qwen3, QWEN3_0_6B),
    "tiny-gpt2": lambda: gpt2(layers=2, heads=4, width=32).replace(vocab_size=256, context=128),
    "tiny-llama": partial(llama, TINY, LLAMA_3_2_SCALING.replace(factor=4.0, original_context=32)),
    "tiny-qwen3": partial(qwen3, TINY),
    "tiny-gemma2": tiny_gemma2,
    "tiny-gemma3": tiny_gemma3,
    "tiny-olmo2": tiny_olmo2,
    "tiny-qwen3-moe": tiny_qwen3_moe,
    "tiny-exaone4": tiny_exaone4,
    "tiny-arcee": tiny_arcee,
}
