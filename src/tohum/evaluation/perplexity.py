"""Perplexity: a network and batches of windows -> loss, perplexity, bits per byte; logits exist only in chunks.

    loss           = nats of all targets / their number
    perplexity     = exp(loss)
    bits per byte  = nats of all targets / ln 2 / bytes of text that the targets spell

Bits per byte compare models with different vocabularies; the others do not. Special tokens (the end of a
document) count in the nats and spell no bytes.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tohum.data_sampling.batch import IGNORED, Batch
from tohum.errors import DataError, NonFiniteError
from tohum.generation.mode import evaluating
from tohum.model.loss import cross_entropy_sum
from tohum.model.network import Network


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a text costs a model."""

    loss: float  # nats per token
    perplexity: float
    bits_per_byte: float
    tokens: int  # targets
    bytes: int  # of text that the targets spell


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Sums over some targets."""

    nats: float
    tokens: int
    bytes: int


def evaluate(network: Network, batches: Iterable[Batch], byte_lengths: np.ndarray, *,
             dtype: torch.dtype | None = None, device: torch.device | None = None) -> Evaluation:
    """Stream over `batches`; memory does not grow with their number.

    byte_lengths (V,): bytes of text of every id. dtype: format of the matrix products (None: the weights').
    device: where the network is (None: look). Afterwards the network is in the mode that it had; no random
    number was drawn. Raises DataError if nothing is to be predicted, NonFiniteError if the loss is not finite.
    """
    return total(costs(network, batches, byte_lengths, dtype=dtype, device=device))


@torch.no_grad()
def costs(network: Network, batches: Iterable[Batch], byte_lengths: np.ndarray, *, dtype: torch.dtype | None = None,
          device: torch.device | None = None, block_tokens: int | None = None) -> Iterator[Cost]:
    """As `evaluate`, in parts: one for each batch, or for each stretch of so many positions of its rows in turn."""
    weights = network.head_weight
    dtype, device = dtype or weights.dtype, device or weights.device
    narrow = dtype in (torch.bfloat16, torch.float16) and weights.dtype != dtype
    with evaluating(network):
        for batch in batches:
            targets = batch.targets.numpy(force=True).reshape(-1)  # (B*T,)
            batch = batch.to(device)
            with torch.autocast(device.type, dtype=dtype) if narrow else contextlib.nullcontext():
                hidden = network.hidden(batch.inputs, positions=batch.positions, documents=batch.documents)
            hidden, wanted = hidden.flatten(0, 1), batch.targets.reshape(-1)  # (B*T, D), (B*T,)
            for start in range(0, len(targets), block_tokens or len(targets)):
                block = slice(start, start + (block_tokens or len(targets)))
                nats = cross_entropy_sum(hidden[block], weights, wanted[block], dtype=dtype,
                                         soft_cap=network.config.logit_soft_cap).item()
                counted = targets[block][targets[block] != IGNORED]
                yield Cost(nats=nats, tokens=len(counted), bytes=int(byte_lengths[counted].sum(dtype=np.int64)))


def total(parts: Iterable[Cost]) -> Evaluation:
    """Sums of sums. Raises DataError, NonFiniteError."""
    nats, tokens, size = 0.0, 0, 0
    for part in parts:
        nats, tokens, size = nats + part.nats, tokens + part.tokens, size + part.bytes
    return summary(nats, tokens, size)


def summary(nats: float, tokens: int, size: int) -> Evaluation:
    """Sums -> the figures that people compare."""
    if not tokens or not size:
        raise DataError(f"nothing to evaluate: {tokens:,} tokens to predict that spell {size:,} bytes of text; "
                        "give a text of two tokens or more")
    if not math.isfinite(nats):
        raise NonFiniteError(f"the loss over {tokens:,} tokens is {nats}; the model's weights are damaged, "
                             "or the number format is too narrow for it (try fp32)")
    loss = nats / tokens
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return Evaluation(loss=loss, perplexity=perplexity, bits_per_byte=nats / math.log(2) / size, tokens=tokens,
                      bytes=size)
