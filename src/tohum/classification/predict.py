"""A trained classifier and texts -> the probability of every class, in batches of like length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tohum.classification.examples import text_ids
from tohum.classification.objective import all_scores
from tohum.data_sampling.windows import IGNORED
from tohum.errors import CheckpointError, DataError
from tohum.evaluation.classes import softmax
from tohum.finetuning.adapter_folder import is_adapter, labels_of, load_adapted, take_score
from tohum.finetuning.examples import Example, ExampleSet
from tohum.finetuning.reading import reading_of
from tohum.loading.classifier import is_classifier, load_classifier
from tohum.loading.find import find_model
from tohum.lora.merge import merge
from tohum.model.classifier import Classifier
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.training.objective import Precision

MICRO_TOKENS = 2048
TEXTS_AT_ONCE = 4096  # memory is theirs, however long the file


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A classifier in memory. The temperature is the one that its run fitted on validation; 1 without a run."""

    classifier: Classifier
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    max_length: int
    temperature: float = 1.0

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N, C) in the order of the texts; each is what its text would get alone. Raises DataError."""
        examples = []
        for number, text in enumerate(texts, 1):
            ids = text_ids(self.tokenizer, text)[: self.max_length]
            if not ids:
                raise DataError(f"text {number} is empty; a classifier needs at least one token")
            examples.append(Example(ids=ids, targets=[IGNORED] * (len(ids) - 1) + [0]))
        weight = self.classifier.score.weight
        precision = Precision(dtype=self.classifier.network.head_weight.dtype, device=weight.device)
        scores = all_scores(self.classifier, ExampleSet(examples), precision, micro_tokens=MICRO_TOKENS)
        return softmax(scores, self.temperature)

    def best(self, row: NDArray[np.float64]) -> str:
        """The label of one row of probabilities."""
        return self.labels[int(row.argmax())]


def load_predictor(path: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Predictor:
    """A run, an adapter or a classifier folder. Raises CheckpointError for what is no classifier."""
    folder, _ = find_model(path)
    reading = reading_of(path)
    if is_classifier(folder):
        found = load_classifier(folder, dtype=dtype, device=device)
        return Predictor(classifier=found.classifier, tokenizer=found.tokenizer, labels=found.labels,
                         max_length=min(reading.max_length or found.config.context, found.config.context),
                         temperature=reading.temperature)
    if not is_adapter(folder) or not labels_of(folder):
        raise CheckpointError(f"{folder}: is a language model, not a classifier\n"
                              f"'tohum finetune classify {path} --data FILE --out DIR' makes one of it")
    loaded, stored = load_adapted(folder, device=device)
    labels = tuple(labels_of(folder))
    classifier = Classifier(loaded.network, len(labels)).to(device)
    take_score(classifier, stored.adapter, folder)
    merge(loaded.network)
    loaded.network.to(dtype)
    return Predictor(classifier=classifier.eval(), tokenizer=loaded.tokenizer, labels=labels,
                     temperature=reading.temperature,
                     max_length=min(reading.max_length or loaded.config.context, loaded.config.context))
