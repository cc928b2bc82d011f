"""What a model is: a list of layer specifications, cut so that families do not become flags."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from tohum.config import Config


class RopeScaling(Config):
    """Llama 3's stretching of slow rotary frequencies (Llama 3 report, arXiv:2407.21783, section 3.4.2)."""

    factor: PositiveFloat
    low_frequency_factor: PositiveFloat
    high_frequency_factor: PositiveFloat
    original_context: PositiveInt  # tokens


class AttentionSpec(Config):
    """One attention layer. H query heads read G key/value heads of width E each."""

    heads: PositiveInt  # H
    kv_heads: PositiveInt  # G; equal to heads: multi-head, 1: multi-query, between: grouped-query
    head_width: PositiveInt  # E
    rope_base: PositiveFloat | None = None  # None: no rotary positions in this layer
    rope_scaling: RopeScaling | None = None
    rope_factor: PositiveFloat = 1.0  # every rotary frequency is divided by it (Gemma 3's linear scaling)
    window: PositiveInt | None = None  # tokens seen, itself included; None: all before it
    qk_norm: bool = False  # RMSNorm over E on queries and keys, before the rotation
    qk_norm_across_heads: bool = False  # over H E and G E together instead (OLMo 2)
    bias: bool = False  # on query, key and value
    output_bias: bool = False
    soft_cap: PositiveFloat | None = None  # cap * tanh(score / cap)
    scale: PositiveFloat | None = None  # of the scores; None: 1 / sqrt(E)

    @model_validator(mode="after")
    def heads_fit(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.rope_base and self.head_width % 2:
            raise ValueError(f"rotary positions turn pairs, but head_width {self.head_width} is odd")
        if self.qk_norm_across_heads and not self.qk_norm:
            raise ValueError("qk_norm_across_heads without qk_norm")
        return self


class ExpertsSpec(Config):
    """A mixture of experts: a router sends each token to the few that it scores highest."""

    count: PositiveInt
    chosen: PositiveInt  # experts per token
    normalised: bool = True  # the weights of the chosen ones add up to one

    @model_validator(mode="after")
    def enough_to_choose_from(self) -> Self:
        if self.chosen > self.count:
            raise ValueError(f"{self.chosen} experts per token, but only {self.count} experts")
        return self


class FeedForwardSpec(Config):
    """One feed-forward layer: gated kinds (SwiGLU, GeGLU) have three matrices, the others two."""

    kind: Literal["gelu_tanh", "relu2", "swiglu", "geglu"]
    width: PositiveInt  # of the hidden layer, of each expert's where there are experts
    bias: bool = False
    experts: ExpertsSpec | None = None


class LayerSpec(Config):
    """One block: x + f(norm(x)) is `pre`, x + norm(f(x)) is `post`, x + norm(f(norm(x))) is `both`."""

    attention: AttentionSpec
    feed_forward: FeedForwardSpec
    norm_places: Literal["pre", "post", "both"] = "pre"


class NormSpec(Config):
    """RMSNorm (arXiv:1910.07467) or LayerNorm (arXiv:1607.06450)."""

    kind: Literal["rms", "layer"]
    eps: PositiveFloat
    bias: bool = False


class ModelConfig(Config):
    """The whole network; sizes derive from here without building it (see model/counting.py)."""

    vocab_size: PositiveInt  # V
    width: PositiveInt  # D
    context: PositiveInt  # longest T
    layers: tuple[LayerSpec, ...] = Field(min_length=1)
    norm: NormSpec
    learned_positions: bool = False  # add a learned vector per position (GPT-2)
    tied: bool = True  # the head reads the token table
    dropout: NonNegativeFloat = Field(default=0.0, lt=1.0)  # of what embeddings and layers add to the stream
    attention_dropout: NonNegativeFloat = Field(default=0.0, lt=1.0)  # of attention weights; has no fast kernel
    embedding_scale: PositiveFloat = 1.0  # token vectors are multiplied by it (Gemma: sqrt(D))
    logit_soft_cap: PositiveFloat | None = None
