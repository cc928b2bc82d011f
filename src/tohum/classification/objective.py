"""The classification objective, and scores of many texts: cross-entropy at the last token of each text."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tohum.data_sampling.batch import IGNORED, Batch
from tohum.finetuning.batches import in_order
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.layout import Vectors
from tohum.generation.mode import evaluating
from tohum.model.classifier import Classifier
from tohum.training.objective import Precision, hidden_of


def class_objective(classifier: Classifier, precision: Precision, weights: Tensor,
                    first_block: int) -> Callable[[Batch], Tensor]:
    """Returns batch -> sum over its texts of weight[label] * -log p(label). weights (C,).

    The weights are N / (C n_c) over the training rows, so the sum divided by the number of texts is an unbiased
    estimate of the weighted loss of them all, for batches of any size.
    """
    weights = weights.to(precision.device, classifier.score.weight.dtype)

    def objective(batch: Batch) -> Tensor:
        scores, labels = class_scores(classifier, batch.to(precision.device), precision, first_block)
        return (F.cross_entropy(scores, labels, reduction="none") * weights[labels]).sum()

    return objective


def class_scores(classifier: Classifier, batch: Batch, precision: Precision,
                 first_block: int) -> tuple[Tensor, Tensor]:
    """(N, C) scores of the N texts of a batch, row by row, and their labels (N,)."""
    last = batch.targets != IGNORED
    with precision.autocast():
        hidden = hidden_of(classifier.network, batch, first_block)  # (B, T, D)
    return classifier.read(hidden[last]), batch.targets[last]


@torch.no_grad()
def all_scores(classifier: Classifier, examples: ExampleSet, precision: Precision, *, micro_tokens: int,
               first_block: int = 0, vectors: Vectors | None = None,
               guard: Callable[[Iterable[Batch]], Iterable[Batch]] = iter) -> NDArray[np.float64]:
    """(N, C) scores of every example, in their order; passes hold texts of like length."""
    parts: list[NDArray[np.float64]] = []
    with evaluating(classifier):
        for batch in guard(in_order(examples, micro_tokens=micro_tokens, vectors=vectors)):
            scores, _ = class_scores(classifier, batch.to(precision.device), precision, first_block)
            parts.append(scores.double().numpy(force=True))
    found = np.empty((len(examples), classifier.score.out_features))
    found[np.argsort(-examples.lengths, kind="stable")] = np.concatenate(parts)
    return found
