"""Choice of the next token: logits (B, V) -> ids (B,), greedy or drawn from what the filters leave."""

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from tohum.config import Config
from tohum.errors import NonFiniteError
from tohum.generation import filters
from tohum.seeding import DEFAULT_SEED


class Choice(Config):
    """How a token is chosen. Filters apply in this order: penalty, temperature, top-k, top-p, min-p."""

    temperature: NonNegativeFloat = Field(default=0.8, allow_inf_nan=False)  # 0: always the best token
    top_k: PositiveInt | None = None
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    min_p: float | None = Field(default=None, ge=0.0, le=1.0)
    repetition_penalty: PositiveFloat = Field(default=1.0, allow_inf_nan=False)  # 1: none
    lookup: NonNegativeInt = 0  # tokens to guess per pass from the text itself (lookup.py); changes the speed alone
    seed: int = DEFAULT_SEED

    @property
    def greedy(self) -> bool:
        """No randomness at all."""
        return self.temperature == 0


def filtered(logits: Tensor, choice: Choice) -> Tensor:
    """logits (B, V), penalties applied -> logits (B, V) to draw from; `choice` is not greedy."""
    logits = filters.temperature(logits, choice.temperature)
    if choice.top_k is not None:
        logits = filters.top_k(logits, choice.top_k)
    if choice.top_p is not None and choice.top_p < 1:
        logits = filters.top_p(logits, choice.top_p)
    if choice.min_p is not None:
        logits = filters.min_p(logits, choice.min_p)
    return logits


def choose(logits: Tensor, seen: Tensor | None, choice: Choice, uniforms: Tensor) -> Tensor:
    """logits (B, V), seen (B, V) bool or None without a penalty, uniforms (B,) in [0, 1) -> ids (B,).

    Raises NonFiniteError where a model's scores are infinite or not a number.
    """
    logits = logits.float()
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):
        raise NonFiniteError("the model's scores for the next token are not finite; its weights are damaged, "
                             "or --dtype is too narrow for it (try --dtype fp32)")
    if seen is not None:
        logits = filters.repetition_penalty(logits, seen, choice.repetition_penalty)
    if choice.greedy:
        return logits.argmax(dim=-1)
    return draw(filtered(logits, choice).softmax(dim=-1), uniforms)


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """probabilities (B, V), uniforms (B,) in [0, 1) -> ids (B,): the token in whose share the number falls.

    One number per row and token, so that a row draws the same whatever stands beside it.
    """
    exact = torch.float32 if probabilities.device.type == "mps" else torch.float64  # MPS has no float64
    edges = probabilities.to(exact).cumsum(dim=-1)  # (B, V), the upper edge of each token's share
    end = edges[:, -1:]  # 1 up to rounding
    target = uniforms[:, None].to(edges.device, exact) * end  # (B, 1)
    target = torch.minimum(target, end * (1 - torch.finfo(exact).eps))  # rounding may have reached the end
    return torch.searchsorted(edges, target, right=True).squeeze(-1)
