"""Certificate: a model and what somebody else reads from its copy -> how far apart they are, and whether that is near
enough.

Compared are the scores behind a text of many scripts and 128 tokens that the model itself continues it with: a wrong
matrix moves scores by about their own spread, rounding to another number format by a small part of it. So what is
allowed is a share of the spread (the standard deviation of the model's scores), by number format.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tohum.generation.choice import Choice
from tohum.generation.decode import generate
from tohum.generation.mode import evaluating
from tohum.model.network import Network
from tohum.tokenizing.tokenizer import Tokenizer

TEXT_TOKENS, NEW_TOKENS = 64, 128
PLACES = 4  # at which readers that are slow give the scores of the whole vocabulary
FLOOR = -60.0  # log-probabilities below are 0 as probabilities in float32, and not told apart
ALLOWED = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.3, "q8_0": 0.6}  # of the spread


class Reader(Protocol):
    """A copy as its future user reads it. `places` are positions in `ids`; scores are those of the next token."""

    name: str
    exact: float  # of the spread: what its own arithmetic rounds, whatever the format
    log_probabilities: bool  # its scores are shifted so that their exponentials add up to one

    def token_ids(self, text: str) -> list[int] | None:
        """Ids of a text; None where the copy has no tokenizer."""
        ...

    def scores(self, ids: Sequence[int], places: Sequence[int]) -> Tensor:
        """(places, V) float32."""
        ...

    def best(self, ids: Sequence[int], places: Sequence[int]) -> list[int]:
        """The best next token at each place."""
        ...

    def close(self) -> None:
        """Let go what it holds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the model itself says."""

    ids: list[int]
    start: int  # where its own continuation begins
    scores: Tensor  # (len(ids) - start, V): those of ids[start:] and so on, float32
    text_ids: list[int] | None

    @property
    def places(self) -> list[int]:
        """Positions whose next token the model chose."""
        return list(range(self.start - 1, len(self.ids) - 1))


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The figures, and what they had to be."""

    reader: str
    max_logit_difference: float
    allowed_difference: float
    greedy_agreement: float  # share of the tokens that the copy chooses too, each after the same text
    greedy_tokens: int
    unexplained: int  # disagreements where the model's two tokens are further apart than rounding can move them
    token_ids_equal: bool

    @property
    def holds(self) -> bool:
        """Near enough."""
        return self.token_ids_equal and not self.unexplained and self.max_logit_difference <= self.allowed_difference


@torch.inference_mode()
def reference(network: Network, tokenizer: Tokenizer | None, text: str) -> Reference:
    """The model's own words behind the first tokens of `text` (behind numbers, for a model without a tokenizer)."""
    config = network.config
    text_ids = tokenizer.encode(text) if tokenizer is not None else None
    ids = tokenizer.prompt_ids(text) if tokenizer is not None else [(7 * k) % config.vocab_size for k in range(64)]
    most = max(1, min(TEXT_TOKENS, config.context // 3))
    ids = ids[:most] or [0]
    new = min(NEW_TOKENS, config.context - len(ids))
    with evaluating(network):
        made = [token for _, token in generate(network, [ids], choice=Choice(temperature=0), max_tokens=new)]
        whole = [*ids, *made]
        device = network.head_weight.device
        logits = network.logits(torch.tensor([whole], device=device))[0, len(ids) - 1 : len(whole) - 1]
    return Reference(ids=whole, start=len(ids), scores=logits.float().cpu(), text_ids=text_ids)


def certify(original: Reference, reader: Reader, text: str, dtype: str) -> Certificate:
    """Hold a copy in number format `dtype` against the model."""
    places = original.places
    some = sorted({places[round(k * (len(places) - 1) / (PLACES - 1))] for k in range(PLACES)})
    rows = original.scores[[place - original.start + 1 for place in some]]
    theirs = reader.scores(original.ids, some)[:, : rows.shape[1]]
    ours = rows
    if reader.log_probabilities:
        ours, theirs = rows.log_softmax(-1).clamp(min=FLOOR), theirs.clamp(min=FLOOR)
    allowed = (ALLOWED[dtype] + reader.exact) * float(rows.std(dim=-1).mean())
    best = torch.tensor(reader.best(original.ids, places))
    chosen = original.scores.argmax(-1)
    behind = original.scores.amax(-1) - original.scores.gather(1, best[:, None])[:, 0]
    return Certificate(reader=reader.name, max_logit_difference=float((theirs - ours).abs().max()),
                       allowed_difference=allowed, greedy_agreement=float((best == chosen).float().mean()),
                       greedy_tokens=len(places), unexplained=int((behind > 2 * allowed).sum()),
                       token_ids_equal=reader.token_ids(text) == original.text_ids)
