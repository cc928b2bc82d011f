"""The network: ids (B, T) -> hidden vectors (B, T, D) -> logits (B, T, V), for every ModelConfig.

    ids --> embedding --> block 0 --> … --> block L-1 --> final norm --> head --> logits
            (V, D)        (residual stream, B x T x D all along)         (V, D)^T
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from tohum.attention.cache import CacheSize, KeyValueCache, Turn
from tohum.attention.layer import CacheView
from tohum.attention.masks import Mask, build_masks
from tohum.embedding.learned import LearnedPositions, NoPositions
from tohum.embedding.rotary import RotaryTable, Rotation
from tohum.embedding.token import InputEmbedding
from tohum.errors import ConfigError
from tohum.model.block import Block
from tohum.model.config import AttentionSpec, ModelConfig, RopeScaling
from tohum.model.norm import build_norm

RotaryKey = tuple[float | None, int, RopeScaling | None, float]


class SoftCap(nn.Module):
    """cap * tanh(logits / cap): keeps logits within ±cap (Gemma 2, arXiv:2408.00118)."""

    def __init__(self, cap: float):
        super().__init__()
        self.cap = cap

    def forward(self, logits: Tensor) -> Tensor:
        return self.cap * torch.tanh(logits / self.cap)


class Network(nn.Module):
    """A decoder-only transformer. explicit=True computes attention by its definition in every layer.

    Values are those of torch's default initialisation until `init.initialise` or a loader sets them.
    """

    def __init__(self, config: ModelConfig, *, explicit: bool = False):
        super().__init__()
        self.config = config
        learned = config.learned_positions
        position = LearnedPositions(config.context, config.width) if learned else NoPositions()
        self.embedding = InputEmbedding(config.vocab_size, config.width, scale=config.embedding_scale,
                                        position=position, dropout=config.dropout)
        self.blocks = nn.ModuleList(Block(config, spec, explicit=explicit) for spec in config.layers)
        self.final_norm = build_norm(config.width, config.norm)
        self.head: Any = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)
        self.decoding_head: nn.Module | None = None  # generation may put one here that reads fewer bytes
        self.soft_cap = SoftCap(config.logit_soft_cap) if config.logit_soft_cap else nn.Identity()
        specs = [spec.attention for spec in config.layers]
        keys = list(dict.fromkeys(rotary_key(spec) for spec in specs if spec.rope_base))
        # Layers with equal rotary settings share one table, those with equal windows one mask.
        self.rotaries = nn.ModuleList(build_rotary(config, key) for key in keys)
        # The entry behind the tables is None, for layers without rotary positions.
        self.rotary_of_layer = [keys.index(rotary_key(s)) if s.rope_base else len(keys) for s in specs]
        self.windows = tuple(dict.fromkeys(spec.window for spec in specs))
        self.mask_of_layer = [self.windows.index(spec.window) for spec in specs]

    @property
    def head_weight(self) -> Tensor:
        """(V, D): the head's own matrix, or the token table that a tied head reads."""
        return self.embedding.token.matrix() if self.head is None else self.head.weight

    def hidden(self, ids: Tensor, *, positions: Tensor | None = None, documents: Tensor | None = None,
               branches: Tensor | None = None, cache: KeyValueCache | None = None) -> Tensor:
        """ids (B, T) int64 -> vectors after the final norm (B, T, D).

        positions (B, T) int64: where each token stands in its text; None: 0..T-1, or on from cached tokens.
        documents (B, T) int: tokens read only tokens of the same number; -1 is padding. With a cache a row is
        one text, documents only say which columns are padding, and the caller advances the cache afterwards.
        branches (B, T) int: tokens of a document read those of the same number and of 0 (attention/masks.py).
        Raises ConfigError for more tokens than `config.context`.
        """
        return self.final_norm(self.stream(ids, positions=positions, documents=documents, branches=branches,
                                           cache=cache))

    def stream(self, ids: Tensor, *, positions: Tensor | None = None, documents: Tensor | None = None,
               branches: Tensor | None = None, cache: KeyValueCache | None = None, vectors: Tensor | None = None,
               blocks: range | None = None) -> Tensor:
        """The residual stream (B, T, D) behind `blocks` (None: all of them); other arguments as in `hidden`.

        vectors (B, T, D): the stream in front of the first of `blocks`, made before; None: the embeddings of ids.
        """
        self.check_length(ids.shape[1])
        rotations, masks, turn = self.shared_parts(ids, positions, documents, cache, branches)
        x = self.embedding(ids, positions if turn is None else turn.positions) if vectors is None else vectors
        for layer in range(len(self.blocks)) if blocks is None else blocks:
            past = CacheView(cache=cache, turn=turn, layer=layer) if cache and turn else None
            x = self.blocks[layer](x, rotations[self.rotary_of_layer[layer]], masks[self.mask_of_layer[layer]], past)
        return x

    def to_logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V): the head and its soft-cap."""
        if self.decoding_head is not None:
            return self.soft_cap(self.decoding_head(hidden))
        return self.soft_cap(nn.functional.linear(hidden, self.head_weight))

    def logits(self, ids: Tensor, *, positions: Tensor | None = None, documents: Tensor | None = None,
               cache: KeyValueCache | None = None) -> Tensor:
        """ids (B, T) -> scores of every next token (B, T, V); arguments as in `hidden`."""
        return self.to_logits(self.hidden(ids, positions=positions, documents=documents, cache=cache))

    forward = logits

    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        """For each layer the weights (B, H, T, T) with which queries (rows) read keys, by the definition."""
        self.check_length(ids.shape[1])
        rotations, masks, _ = self.shared_parts(ids, None, None, None)
        x, maps = self.embedding(ids, None), []
        for layer, block in enumerate(cast("list[Block]", self.blocks)):
            rotation, mask = rotations[self.rotary_of_layer[layer]], masks[self.mask_of_layer[layer]]
            maps.append(block.attention.weights(block.attention_norm(x), rotation, mask))
            x = block(x, rotation, mask)
        return maps

    def new_cache(self, rows: int, length: int, dtype: torch.dtype | None = None) -> KeyValueCache:
        """Storage for `rows` texts of at most `length` tokens (not more than the context)."""
        self.check_length(length)
        sizes = [CacheSize(kv_heads=spec.attention.kv_heads, head_width=spec.attention.head_width,
                           window=spec.attention.window) for spec in self.config.layers]
        like = self.embedding.token.weight
        return KeyValueCache(sizes, rows, length, dtype=dtype or like.dtype, device=like.device)

    def check_length(self, tokens: int) -> None:
        """Raises ConfigError for texts longer than the context."""
        if tokens > self.config.context:
            raise ConfigError(f"{tokens:,} tokens, but this model's context is {self.config.context:,}; "
                              f"shorten the text or cut it into windows")

    def shared_parts(self, ids: Tensor, positions: Tensor | None, documents: Tensor | None,
                     cache: KeyValueCache | None, branches: Tensor | None = None
                     ) -> tuple[list[Rotation | None], tuple[Mask, ...], Turn | None]:
        """Rotations, masks and the cache's plan: computed once, read by all layers."""
        if cache is None:
            masks, turn = build_masks(self.windows, ids, documents, branches, positions), None
        else:
            turn = cache.begin(ids.shape[1], positions, None if documents is None else documents < 0)
            masks, positions = tuple(turn.masks[window] for window in self.windows), turn.positions
        rotations = [table(ids.shape[1], positions) for table in self.rotaries]
        return [*rotations, None], masks, turn


def rotary_key(spec: AttentionSpec) -> RotaryKey:
    """Layers with the same key turn by the same angles."""
    return spec.rope_base, spec.head_width, spec.rope_scaling, spec.rope_factor


def build_rotary(config: ModelConfig, key: RotaryKey) -> RotaryTable:
    """One table for all layers of a key."""
    base, head_width, scaling, factor = key
    assert base is not None  # layers without one have no table
    return RotaryTable(head_width, config.context, base, scaling, factor)
