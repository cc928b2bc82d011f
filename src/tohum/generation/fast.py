"""Few tokens by compiled kernels: a network and its cache -> its hidden vectors and scores, several times as fast.

`Network` says what is computed; here its modules become the structs that kernels.c reads, with the same weights and the
same cache, and only for passes in which calling torch takes longer than computing: inference on a CPU, few tokens. A
network, a layer or a pass that does not fit is left to torch, so nothing depends on this but the speed:

    ids (B, T) --> embedding (torch) --> blocks, final norm (kernels) --> (B, T, D) --> head (kernels) --> soft-cap

What flows between matrices is float32 whatever their format, and a token's vector has the same bits alone and beside
others, which makes guesses (lookup.py) exact in every format.
"""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from tohum.attention.cache import KeyValueCache
from tohum.attention.fused import attend
from tohum.attention.layer import Attention
from tohum.embedding.rotary import RotaryTable
from tohum.embedding.token import TokenTable
from tohum.kernels import structs
from tohum.kernels.build import lanes_for, library
from tohum.kernels.linear import Linear
from tohum.kernels.run import block_array, make_pass, run_blocks, run_linear, run_norm
from tohum.machine import has_bf16_arithmetic
from tohum.model.block import Block
from tohum.model.feed_forward import (
    GatedFeedForward,
    MixtureOfExperts,
    PlainFeedForward,
    gelu_tanh,
    relu_squared,
)
from tohum.model.int8 import Int8Linear
from tohum.model.network import Network
from tohum.model.norm import RMSNorm

KINDS: dict[object, int] = {gelu_tanh: 0, relu_squared: 1, silu: 2}  # as in vectors.h
FEW_TOKENS = 64  # of a pass in float32, up to which these kernels beat torch's


class NotSuited(Exception):
    """A module that the kernels do not know."""


class FastNetwork:
    """`hidden` and `to_logits` of a network in evaluation mode, with one cache. Made by `fast_network`."""

    def __init__(self, network: Network, cache: KeyValueCache, found: ctypes.CDLL):
        """Raises NotSuited."""
        self.network, self.cache, self.library = network, cache, found
        self.kept: list[Tensor] = []
        self.runs = list(self.plan())
        self.final_norm = norm_struct(network.final_norm, self.kept)
        self.head = matrix_struct(network.decoding_head or network.head or network.embedding.token, self.kept)
        self.dtype = network.embedding.token.weight.dtype
        # Bytes are multiplied in bfloat16 where that is fast; what lies between those products then needs no more.
        self.narrow_prompts = has_bf16_arithmetic() and any(isinstance(m, Int8Linear) for m in network.modules())
        self.most = None if self.dtype != torch.float32 and not has_bf16_arithmetic() else FEW_TOKENS

    def plan(self) -> Iterator[tuple["ctypes.Array[structs.Block]", Block | None]]:
        """Runs of blocks that one call passes through; after each, the block whose feed-forward half is torch's."""
        run: list[structs.Block] = []
        tables = [*cast("list[RotaryTable]", self.network.rotaries), None]
        for number, block in enumerate(cast("list[Block]", self.network.blocks)):
            table = tables[self.network.rotary_of_layer[number]]
            run.append(block_struct(block, table, self.cache, number, self.kept))
            if isinstance(block.feed_forward, MixtureOfExperts):
                yield block_array(run), block
                run = []
        if run:
            yield block_array(run), None

    def suits(self, ids: Tensor, positions: Tensor | None) -> bool:
        """Whether a pass is for the kernels: few tokens, or guesses, which one token's arithmetic has to check.

        What does not fit the cache is left to torch as well, which says so.
        """
        rows, tokens = ids.shape
        end = min(self.cache.longest + tokens, self.cache.length)
        fits = rows == self.cache.rows and (positions is None or int(positions.max()) < end)
        if not fits or self.network.training or (tokens > 1 and self.cache.forgets):
            return False
        return self.most is None or rows * tokens <= self.most or (rows == 1 and self.cache.longest > 0)

    def hidden(self, ids: Tensor, *, positions: Tensor | None = None, documents: Tensor | None = None,
               cache: KeyValueCache | None = None) -> Tensor:
        """As Network.hidden, in inference mode: ids (B, T) -> (B, T, D); zeros where there is padding."""
        if cache is not self.cache or not self.suits(ids, positions):
            with torch.autocast("cpu", dtype=torch.bfloat16) if self.narrow_prompts else contextlib.nullcontext():
                return self.network.hidden(ids, positions=positions, documents=documents, cache=cache)
        self.network.check_length(ids.shape[1])
        padding = None if documents is None else documents < 0
        turn = self.cache.begin(ids.shape[1], positions, padding)
        x = self.network.embedding(ids, turn.positions).float()  # (B, T, D)
        texts = torch.arange(len(ids))[:, None].expand(ids.shape)
        parts = x.flatten(0, 1), texts.flatten(), turn.positions.flatten()
        if padding is not None:
            parts = tuple(part[~padding.flatten()] for part in parts)
        vectors, *places = (part.contiguous() for part in parts)  # (N, D), (N,) twice
        vectors = self.through(vectors, make_pass(*places, width=vectors.shape[1], longest=turn.used))
        if padding is None:
            return vectors.view_as(x)
        return torch.zeros_like(x).masked_scatter(~padding[..., None], vectors)

    def through(self, vectors: Tensor, tokens: structs.Pass) -> Tensor:
        """Blocks, which change the vectors (N, D) in place, and the final norm -> (N, D)."""
        for run, block in self.runs:
            run_blocks(self.library, run, tokens, vectors)
            if block is not None:
                vectors += mix(block, vectors[None].to(self.dtype))[0]
        return run_norm(self.library, self.final_norm, vectors)

    def to_logits(self, hidden: Tensor) -> Tensor:
        """(…, D) -> (…, V) in float32: the head and its soft-cap."""
        rows = hidden.float().reshape(-1, hidden.shape[-1]).contiguous()
        scores = run_linear(self.library, self.head, rows)
        return self.network.soft_cap(scores.view(*hidden.shape[:-1], -1))


def fast_network(network: Network, cache: KeyValueCache | None) -> FastNetwork | None:
    """The fast form of a network, or None where it, its cache or the machine does not have one."""
    if cache is None or cache.lengths.device.type != "cpu" or network.head_weight.device.type != "cpu":
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return None
    layers = network.config.layers
    lanes = lanes_for(network.config.width, *(spec.attention.head_width for spec in layers),
                      *(spec.feed_forward.width for spec in layers))
    found = library("decoding", lanes) if lanes else None
    if found is None:
        return None
    try:
        return FastNetwork(network, cache, found)
    except NotSuited:
        return None


def mix(block: Block, x: Tensor) -> Tensor:
    """What a block's feed-forward half adds to x (B, T, D)."""
    return block.feed_forward_post_norm(block.feed_forward(block.feed_forward_norm(x)))


def block_struct(block: Block, table: RotaryTable | None, cache: KeyValueCache, number: int,
                 kept: list[Tensor]) -> structs.Block:
    """One block with its part of the cache. Raises NotSuited."""
    attention, hidden = block.attention, block.feed_forward
    made = structs.Block(**attention_fields(attention, kept))
    for name in ("attention_norm", "attention_post_norm", "feed_forward_norm", "feed_forward_post_norm"):
        setattr(made, name, norm_struct(getattr(block, name), kept))
    if isinstance(hidden, PlainFeedForward | GatedFeedForward):
        made.up, made.down = matrix_struct(hidden.up, kept), matrix_struct(hidden.down, kept)
        made.kind = KINDS[hidden.activation]
        if isinstance(hidden, GatedFeedForward):
            made.gate = matrix_struct(hidden.gate, kept)
    size, keys = cache.sizes[number], cache.keys[number]
    made.slots, made.stored = cache.slots(size.window), structs.FORMATS[keys.dtype]
    made.kv_heads = size.kv_heads
    made.keys, made.values = structs.pointer(keys, kept), structs.pointer(cache.values[number], kept)
    if table is not None:
        made.cosines, made.sines = structs.exact(table.cosines, kept), structs.exact(table.sines, kept)
    return made


def attention_fields(attention: Attention, kept: list[Tensor]) -> dict[str, object]:
    """What is known of a layer without its cache. Raises NotSuited."""
    wide, rule = attention.head_width, attention.rule
    if rule.soft_cap is None and attention.attend is not attend:
        raise NotSuited  # explicit attention is asked for by those who want the definition
    matrices = {name: matrix_struct(getattr(attention, name), kept) for name in ("query", "key", "value", "output")}
    norms = {name: norm_struct(getattr(attention, name), kept) for name in ("query_norm", "key_norm")}
    return {**matrices, **norms, "heads": matrices["query"].out // wide, "head_width": wide, "scale": rule.scale,
            "soft_cap": rule.soft_cap or 0.0}


def matrix_struct(module: nn.Module, kept: list[Tensor]) -> structs.Matrix:
    """A linear layer, or a token table that is read as one. Raises NotSuited."""
    if type(module) is Int8Linear:
        return structs.matrix(module.values, kept, factors=module.factors, bias=module.bias)
    if isinstance(module, nn.Linear) and type(module) in (nn.Linear, Linear):
        check_numbers(module.weight)
        return structs.matrix(module.weight, kept, bias=module.bias)
    if type(module) is TokenTable:
        check_numbers(module.weight)
        return structs.matrix(module.weight, kept)
    raise NotSuited


def check_numbers(weight: Tensor) -> None:
    """Raises NotSuited for formats that the kernels do not read."""
    if weight.dtype not in structs.FORMATS or not weight.is_contiguous():
        raise NotSuited


def norm_struct(module: nn.Module, kept: list[Tensor]) -> structs.Norm:
    """A norm, or an empty one for Identity. Raises NotSuited."""
    if type(module) is nn.Identity:
        return structs.Norm()
    if isinstance(module, nn.LayerNorm):
        return structs.norm(module.weight, module.eps, kept, bias=module.bias, centred=True)
    if isinstance(module, RMSNorm):
        return structs.norm(module.weight, module.eps, kept)
    raise NotSuited
