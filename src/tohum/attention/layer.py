"""The attention layer: (B, T, D) -> project -> norm -> rotate -> attend -> project back -> (B, T, D)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from tohum.attention.cache import KeyValueCache, Turn
from tohum.attention.fused import attend
from tohum.attention.masks import Mask
from tohum.attention.reference import ScoreRule, attend_explicitly, attend_with_weights
from tohum.embedding.rotary import NoRotation, Rotate, Rotation
from tohum.kernels.linear import Linear


class AttentionShape(Protocol):
    """What a layer needs to know; `model.config.AttentionSpec` has it."""

    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_width(self) -> int: ...
    @property
    def rope_base(self) -> float | None: ...
    @property
    def bias(self) -> bool: ...
    @property
    def output_bias(self) -> bool: ...
    @property
    def soft_cap(self) -> float | None: ...
    @property
    def scale(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class CacheView:
    """One layer's part of a cache during one pass."""

    cache: KeyValueCache
    turn: Turn
    layer: int


class Attention(nn.Module):
    """H query heads of width E read G key/value heads. Which parts it has is decided here, once.

    query, key (B, T, heads, E) pass `head_norms` (QK-norm, arXiv:2302.05442, or Identity), then the rotation.
    """

    def __init__(self, width: int, shape: AttentionShape, *, head_norms: tuple[nn.Module, nn.Module],
                 dropout: float, explicit: bool):
        super().__init__()
        self.head_width = shape.head_width
        self.query = Linear(width, shape.heads * shape.head_width, bias=shape.bias)
        self.key = Linear(width, shape.kv_heads * shape.head_width, bias=shape.bias)
        self.value = Linear(width, shape.kv_heads * shape.head_width, bias=shape.bias)
        self.output = Linear(shape.heads * shape.head_width, width, bias=shape.output_bias)
        self.query_norm, self.key_norm = head_norms
        self.rotate = Rotate() if shape.rope_base else NoRotation()
        self.rule = ScoreRule(scale=shape.scale or 1 / math.sqrt(shape.head_width), soft_cap=shape.soft_cap)
        self.attend: Callable[..., Tensor] = attend_explicitly if explicit or shape.soft_cap else attend
        self.dropout = dropout

    def heads(self, x: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, D) -> query (B, T, H, E), key and value (B, T, G, E)."""
        split = (*x.shape[:2], -1, self.head_width)
        query = self.rotate(self.query_norm(self.query(x).view(split)), rotation)
        key = self.rotate(self.key_norm(self.key(x).view(split)), rotation)
        return query, key, self.value(x).view(split)

    def forward(self, x: Tensor, rotation: Rotation | None, mask: Mask,
                past: CacheView | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D). `mask` says what is readable among the keys, cached ones included."""
        query, key, value = self.heads(x, rotation)
        if past is not None:
            key, value = past.cache.store(past.layer, past.turn, key, value)  # (B, S, G, E)
        dropout = self.dropout if self.training else 0.0
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        context = self.attend(query, key, value, mask, self.rule, dropout)  # (B, H, T, E)
        return self.output(context.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, rotation: Rotation | None, mask: Mask) -> Tensor:
        """x (B, T, D) -> attention weights (B, H, T, T), by the definition and without dropout."""
        query, key, value = (part.transpose(1, 2) for part in self.heads(x, rotation))
        return attend_with_weights(query, key, value, mask, self.rule)[1]
