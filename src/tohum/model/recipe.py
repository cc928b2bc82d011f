"""Section [model] of a recipe -> ModelConfig: a preset, a depth, or explicit numbers, and options on top."""

import difflib
from typing import Any, Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError, model_validator

from tohum.config import Config, explain
from tohum.errors import ConfigError
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.presets import (
    DEFAULT_DEPTH,
    DEFAULT_NORM,
    DEFAULT_ROPE_BASE,
    HEAD_WIDTH,
    PRESETS,
    feed_forward_width,
    from_depth,
)

SIZES = ("width", "layers", "heads", "kv_heads", "head_width", "feed_forward_width")


class ModelRecipe(Config):
    """How large the model is (at most one of: preset, depth, explicit sizes) and which parts it has.

    An option that is not given keeps what the preset or the default family has.
    """

    preset: str | None = None  # a name of presets.PRESETS
    depth: PositiveInt | None = None  # the default family's one dial
    width: PositiveInt | None = None  # D; with it come the other explicit sizes
    layers: PositiveInt | None = None  # default 4
    heads: PositiveInt | None = None  # H; default: as many as fit with width 64 each
    kv_heads: PositiveInt | None = None  # G; default: as many as heads
    head_width: PositiveInt | None = None  # E; default: width / heads
    feed_forward_width: PositiveInt | None = None  # default: 4 D, gated kinds 8/3 D
    feed_forward: Literal["gelu_tanh", "relu2", "swiglu", "geglu"] | None = None
    norm: Literal["rms", "layer"] | None = None
    norm_places: Literal["pre", "post", "both"] | None = None
    positions: Literal["learned", "rotary", "none"] | None = None
    rope_base: PositiveFloat | None = None
    window: PositiveInt | None = None  # tokens that each layer sees; default: all
    qk_norm: bool | None = None
    bias: bool | None = None  # on every matrix and on LayerNorm
    tied: bool | None = None
    dropout: NonNegativeFloat | None = None  # default: by parameters per token and passes; presets have their own
    attention_dropout: NonNegativeFloat | None = None  # default: 0; in presets that have one, as much as dropout

    @model_validator(mode="after")
    def one_way_to_say_the_size(self) -> Self:
        explicit = [key for key in SIZES if getattr(self, key) is not None]
        ways = [name for name in ("preset", "depth") if getattr(self, name) is not None]
        if len(ways) == 2 or (ways and explicit):
            given = ", ".join(f"{name} = {getattr(self, name)}" for name in ways + explicit)
            raise ValueError(f"{given}: give a preset, or a depth, or sizes of your own, not two of them")
        if explicit and self.width is None:
            raise ValueError(f"{explicit[0]} = {getattr(self, explicit[0])} without a width; add model.width")
        if self.rope_base is not None and self.positions in ("learned", "none"):
            raise ValueError(f"rope_base = {self.rope_base:g} needs rotary positions, not '{self.positions}'")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(unknown_preset(self.preset))
        return self


def unknown_preset(name: str) -> str:
    """A message with the nearest name and all names."""
    near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.4)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown preset '{name}';{hint} known: {', '.join(PRESETS)}"


def resolve_model(section: ModelRecipe, vocab_size: int, context: int) -> ModelConfig:
    """The model that the section describes, for a tokenizer with `vocab_size` entries and rows of `context`.

    Raises ConfigError for sizes that do not fit together or a context that learned positions cannot have.
    """
    try:
        base = base_model(section, vocab_size, context)
        return with_options(base, section)
    except ValidationError as error:
        reasons = [explain(ModelConfig, problem).removeprefix("recipe: ") for problem in error.errors()]
        raise ConfigError(f"model: {'; '.join(reasons)}") from None


def base_model(section: ModelRecipe, vocab_size: int, context: int) -> ModelConfig:
    """Preset, depth or explicit sizes, before options."""
    if section.preset is not None:
        return PRESETS[section.preset]().replace(vocab_size=vocab_size, context=context)
    if section.width is None:
        return from_depth(section.depth or DEFAULT_DEPTH, vocab_size, context)
    return explicit_model(section, section.width, vocab_size, context)


def explicit_model(section: ModelRecipe, width: int, vocab_size: int, context: int) -> ModelConfig:
    """The default family with sizes of the user's own."""
    heads = section.heads or max(1, width // (section.head_width or HEAD_WIDTH))
    if section.head_width is None and width % heads:
        raise ConfigError(f"model: width {width} is not a multiple of heads {heads}; "
                          f"change one of them or give head_width")
    attention = AttentionSpec(heads=heads, kv_heads=section.kv_heads or heads,
                              head_width=section.head_width or width // heads, qk_norm=True,
                              rope_base=DEFAULT_ROPE_BASE)
    kind = section.feed_forward or "swiglu"
    gated = kind in ("swiglu", "geglu")
    hidden = section.feed_forward_width or (feed_forward_width(width) if gated else 4 * width)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind=kind, width=hidden))
    return ModelConfig(vocab_size=vocab_size, width=width, context=context, norm=DEFAULT_NORM,
                       layers=(layer,) * (section.layers or DEFAULT_DEPTH))


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None}


def with_options(base: ModelConfig, section: ModelRecipe) -> ModelConfig:
    """`base` with the section's options in every layer."""
    layers = tuple(layer_with_options(layer, section) for layer in base.layers)
    learned = None if section.positions is None else section.positions == "learned"
    attention = section.attention_dropout
    if attention is None and base.attention_dropout:
        attention = section.dropout
    return base.replace(layers=layers, norm=norm_with_options(base.norm, section),
                        **given(learned_positions=learned, tied=section.tied, dropout=section.dropout,
                                attention_dropout=attention))


def layer_with_options(layer: LayerSpec, section: ModelRecipe) -> LayerSpec:
    """One layer with the section's options."""
    attention = given(window=section.window, qk_norm=section.qk_norm, bias=section.bias,
                      output_bias=section.bias, rope_base=section.rope_base)
    if section.positions in ("learned", "none"):
        attention |= {"rope_base": None, "rope_scaling": None}
    elif section.positions == "rotary" and layer.attention.rope_base is None:
        attention.setdefault("rope_base", DEFAULT_ROPE_BASE)
    hidden = given(kind=section.feed_forward, bias=section.bias)
    return layer.replace(attention=layer.attention.replace(**attention),
                         feed_forward=layer.feed_forward.replace(**hidden),
                         **given(norm_places=section.norm_places))


def norm_with_options(norm: NormSpec, section: ModelRecipe) -> NormSpec:
    """LayerNorm keeps its usual epsilon and bias, RMSNorm has no bias."""
    if section.norm is not None and section.norm != norm.kind:
        norm = DEFAULT_NORM if section.norm == "rms" else NormSpec(kind="layer", eps=1e-5, bias=True)
    if section.bias is not None and norm.kind == "layer":
        norm = norm.replace(bias=section.bias)
    return norm
