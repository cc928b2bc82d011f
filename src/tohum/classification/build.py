"""Resolved recipe, model and encoded rows -> the parts that the fine-tuning runner works on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tohum.classification.config import ClassifyRecipe
from tohum.classification.files import ClassifierFiles
from tohum.classification.objective import all_scores, class_objective
from tohum.classification.prepare import Rows, Say
from tohum.evaluation.classes import ClassCounts, softmax
from tohum.finetuning.adapter_folder import AdapterFiles, Base
from tohum.finetuning.base import Opened
from tohum.finetuning.batches import ExampleBatches, Order
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.frozen import frozen_vectors
from tohum.finetuning.layout import Vectors
from tohum.finetuning.run import Begun, Setup
from tohum.finetuning.trainable import Trainable, freeze
from tohum.finetuning.watch import Guard
from tohum.loading.classifier import without_head
from tohum.model.classifier import Classifier
from tohum.seeding import generator
from tohum.training.checkpoint import ModelFiles
from tohum.training.objective import Precision
from tohum.units import human_count

CACHE = "cache"  # folder of a run, removed at its end


@dataclass(frozen=True, kw_only=True)
class Built:
    """A run that is ready to start, and what its test needs."""

    setup: Setup
    classifier: Classifier
    precision: Precision
    micro_tokens: int
    first_block: int
    validation_vectors: Vectors | None
    test_vectors: Vectors | None


def build(out: Path, begun: Begun[ClassifyRecipe], opened: Opened, rows: Rows, say: Say) -> Built:
    """Classifier with its head, what is frozen, batches, objective, form of the checkpoints."""
    recipe, t = begun.recipe, begun.recipe.training
    assert t.micro_tokens, "the recipe is not resolved"
    assert t.batch_rows, "the recipe is not resolved"
    dtype = torch.float64 if t.dtype == "fp64" else torch.float32
    classifier = Classifier(opened.network.to(dtype), len(rows.labels)).to(begun.precision.device, dtype)
    classifier.initialise(generator(t.seed, "head"))
    trainable = freeze(classifier, t.train, recipe.lora, generator(t.seed, "lora"))
    vectors = Frozen(classifier, trainable, begun.precision, out / CACHE, t.micro_tokens, say)
    train = rows.train.examples
    order = Order(len(train), key=f"{train.fingerprint}:{t.seed}", rows_per_step=t.batch_rows,
                  rank=begun.ranks.rank, world_size=begun.ranks.world_size)
    batches = ExampleBatches(examples=train, order=order, packing="isolated", micro_tokens=t.micro_tokens,
                             vectors=vectors.of("train", train))
    held_out = vectors.of("validation", rows.validation.examples)
    validation = Validation(classifier, rows, begun.precision, t.micro_tokens, trainable.first_block, held_out)
    weights = torch.tensor([rows.split.class_weights[label] for label in rows.labels])
    setup = Setup(network=classifier, trainable=trainable, batches=batches, precision=begun.precision,
                  objective=class_objective(classifier, begun.precision, weights, trainable.first_block),
                  files=files_of(recipe, opened, rows), fingerprint=train.fingerprint, evaluate=validation,
                  sample=lambda: (), tokens_per_step=round(train.tokens / len(train) * t.batch_rows))
    return Built(setup=setup, classifier=classifier, precision=begun.precision, micro_tokens=t.micro_tokens,
                 first_block=trainable.first_block, validation_vectors=held_out,
                 test_vectors=vectors.of("test", rows.test.examples))


def files_of(recipe: ClassifyRecipe, opened: Opened, rows: Rows) -> ModelFiles:
    """An adapter, or a whole classifier."""
    if recipe.training.train is None:
        return AdapterFiles(base=Base.of(opened.folder), lora=recipe.lora.settled(), tokenizer=opened.tokenizer,
                            labels=rows.labels)
    return ClassifierFiles(config=without_head(opened.config), tokenizer=opened.tokenizer, labels=rows.labels)


@dataclass(frozen=True)
class Frozen:
    """What the blocks that never change make of the texts, computed once; None where every block is trained."""

    classifier: Classifier
    trainable: Trainable
    precision: Precision
    folder: Path
    micro_tokens: int
    say: Say

    def of(self, name: str, examples: ExampleSet) -> Vectors | None:
        """Vectors of one side."""
        first = self.trainable.first_block
        if not first or not len(examples):
            return None
        self.folder.mkdir(exist_ok=True)
        self.say(f"blocks 0 to {first - 1} never change: computing them once for "
                 f"{human_count(examples.tokens)} tokens ({name})")
        return frozen_vectors(self.classifier.network, examples, first_block=first, precision=self.precision,
                              path=self.folder / f"{name}.npy", micro_tokens=self.micro_tokens)


@dataclass(frozen=True)
class Validation:
    """Loss, accuracy and macro-F1 over the validation rows; callable, see finetuning/watch.py."""

    classifier: Classifier
    rows: Rows
    precision: Precision
    micro_tokens: int
    first_block: int
    vectors: Vectors | None

    def __call__(self, guard: Guard) -> Mapping[str, float]:
        examples = self.rows.validation.examples
        scores = all_scores(self.classifier, examples, self.precision, micro_tokens=self.micro_tokens,
                            first_block=self.first_block, vectors=self.vectors, guard=guard)
        truth = labels_in(examples)
        counts = ClassCounts(self.rows.labels)
        probabilities = softmax(scores)
        counts.add(truth, probabilities)
        found = counts.metrics(self.rows.majority)
        weights = np.array([self.rows.split.class_weights[label] for label in self.rows.labels])[truth]
        own = np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-300))
        loss = float(-(weights * own).sum() / weights.sum())
        return {"loss": loss, "accuracy": found.accuracy, "macro_f1": found.macro_f1}


def labels_in(examples: ExampleSet) -> np.ndarray:
    """(N,) the label numbers, out of the last targets."""
    return examples.targets[examples.starts + examples.lengths - 1].astype(np.int64)
