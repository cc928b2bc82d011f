"""The preference objective: a batch of answers -> summed loss, with the figures that tell whether it works."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from tohum.data_sampling.batch import IGNORED
from tohum.generation.mode import evaluating
from tohum.lora.adapter import adapters_off
from tohum.model.loss import token_losses
from tohum.model.network import Network
from tohum.preference.batches import AnswerBatch
from tohum.preference.config import WITH_REFERENCE, Method
from tohum.preference.losses import dpo, kto, orpo, simpo
from tohum.training.objective import Precision
from tohum.training.ranks import Ranks


class PreferenceObjective:
    """Callable for the loop. The reference is the same network with its adapters off: no second copy.

    `taken()` gives the means since it was last asked: `margin` of the rewards; `accuracy`, the share of pairs whose
    chosen answer has the higher reward; `preferred`, the share whose chosen answer is the likelier one; KTO's `kl`.
    """

    def __init__(self, network: Network, precision: Precision, *, method: Method, beta: float, gamma: float,
                 ranks: Ranks):
        self.network, self.precision = network, precision
        self.method, self.beta, self.gamma, self.ranks = method, beta, gamma, ranks
        self.sums: dict[str, float] = defaultdict(float)
        self.count = 0

    def __call__(self, batch: AnswerBatch) -> Tensor:
        """Loss summed over the batch's pairs or answers."""
        batch = batch.to(self.precision.device)
        log_p, tokens = self.log_probabilities(batch)  # (count,) each
        reference = self.reference(batch) if self.method in WITH_REFERENCE else None
        if batch.desirable is not None:
            return self.single(batch, log_p, reference).sum()
        return self.paired(log_p, tokens, reference).sum()

    def paired(self, log_p: Tensor, tokens: Tensor, reference: Tensor | None) -> Tensor:
        """(2P,) -> (P,)."""
        compared = log_p if self.method == "dpo" else log_p / tokens
        chosen, rejected = compared.chunk(2)
        if self.method == "dpo":
            assert reference is not None
            reference_chosen, reference_rejected = reference.chunk(2)
            losses = dpo(chosen, rejected, reference_chosen, reference_rejected, self.beta)
            margin = (chosen - reference_chosen) - (rejected - reference_rejected)
        else:
            losses = (orpo(chosen, rejected, -chosen, self.beta) if self.method == "orpo"
                      else simpo(chosen, rejected, self.beta, self.gamma))
            margin = chosen - rejected
        first, second = log_p.detach().chunk(2)
        self.note({"margin": margin.detach().sum() * self.beta, "accuracy": (margin > 0).sum(),
                   "preferred": (first > second).sum()}, len(margin))
        return losses

    def single(self, batch: AnswerBatch, log_p: Tensor, reference: Tensor | None) -> Tensor:
        """(N,) -> (N,): KTO."""
        assert reference is not None
        assert batch.desirable is not None
        assert batch.kl is not None
        ratio = log_p - reference
        sign = torch.where(batch.desirable, 1.0, -1.0)
        moved = (ratio.detach() - batch.kl) * sign
        self.note({"margin": (moved * self.beta).sum(), "accuracy": (moved > 0).sum(),
                   "kl": batch.kl * len(ratio)}, len(ratio))
        return kto(ratio, batch.desirable, batch.kl.to(ratio.dtype), self.beta)

    def log_probabilities(self, batch: AnswerBatch) -> tuple[Tensor, Tensor]:
        """log p of the supervised tokens of each answer, summed, and their number: (count,) each."""
        rows = batch.rows
        with self.precision.autocast():
            hidden = self.network.hidden(rows.inputs, positions=rows.positions, documents=rows.documents,
                                         branches=rows.branches)  # (B, T, D)
        supervised = rows.targets != IGNORED
        losses = token_losses(hidden[supervised], self.network.head_weight, rows.targets[supervised],
                              dtype=self.precision.dtype, soft_cap=self.network.config.logit_soft_cap)
        owner = batch.answers[supervised]
        log_p = losses.new_zeros(batch.count).index_add(0, owner, -losses)
        return log_p, torch.bincount(owner, minlength=batch.count)

    @torch.no_grad()
    def reference(self, batch: AnswerBatch) -> Tensor:
        """The same sums before training: adapters and dropout off."""
        with adapters_off(self.network), evaluating(self.network):
            return self.log_probabilities(batch)[0]

    @torch.no_grad()
    def kl(self, strangers: Iterable[AnswerBatch]) -> Tensor:
        """Mean of log p - log p of the reference over mismatched answers, at least 0: KTO's estimate of the KL."""
        moved = torch.zeros(2, dtype=torch.float64)  # sum, rows
        for batch in strangers:
            here = batch.to(self.precision.device)
            moved[0] += (self.log_probabilities(here)[0] - self.reference(here)).double().sum().cpu()
            moved[1] += batch.count
        total, count = self.ranks.sum(moved)
        return (total / count.clamp(min=1)).clamp(min=0)

    def note(self, sums: Mapping[str, Tensor], count: int) -> None:
        """Add to the figures."""
        for name, value in sums.items():
            self.sums[name] += float(value)
        self.count += count

    def taken(self) -> dict[str, float]:
        """Means since the last time; nothing when nothing was computed."""
        found = {name: value / self.count for name, value in self.sums.items()} if self.count else {}
        self.sums.clear()
        self.count = 0
        return found

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Figures noted inside are not those of training."""
        kept = dict(self.sums), self.count
        self.taken()
        try:
            yield
        finally:
            self.sums, self.count = defaultdict(float, kept[0]), kept[1]
