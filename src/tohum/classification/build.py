"""Resolved recipe, model and encoded rows -> the parts that the fine-tuning runner works on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tohum.classification.config import ClassifyRecipe
from tohum.classification.files import ClassifierFiles
from tohum.classification.objective import all_scores, class_objective
from tohum.classification.prepare import Rows
from tohum.evaluation.classes import ClassCounts, softmax
from tohum.finetuning.adapter_folder import AdapterFiles, Base
from tohum.finetuning.base import Opened
from tohum.finetuning.batches import ExampleBatches, Order
from tohum.finetuning.examples import ExampleSet
from tohum.finetuning.frozen import frozen_vectors
from tohum.finetuning.layout import Vectors
from tohum.finetuning.run import Setup
from tohum.finetuning.stage import CACHE, Work
from tohum.finetuning.trainable import freeze
from tohum.finetuning.watch import Guard
from tohum.loading.classifier import without_head
from tohum.model.classifier import Classifier
from tohum.seeding import generator
from tohum.training.checkpoint import ModelFiles
from tohum.training.objective import Precision
from tohum.units import human_count


@dataclass(frozen=True, kw_only=True)
class ClassSetup(Setup):
    """The runner's parts, and what the test needs."""

    classifier: Classifier
    validation: "Scores"
    test: "Scores"


def build(work: Work[ClassifyRecipe, Rows]) -> ClassSetup:
    """Classifier with its head, what is frozen, batches, objective, form of the checkpoints."""
    recipe, t, rows, begun = work.recipe, work.recipe.training, work.rows, work.begun
    classifier = Classifier(work.opened.network.to(work.dtype), len(rows.labels))
    classifier = classifier.to(begun.precision.device, work.dtype)
    classifier.initialise(generator(t.seed, "head"))
    trainable = freeze(classifier, t.train, recipe.lora, generator(t.seed, "lora"), work.opened.tokenizer)
    first = trainable.first_block
    train = rows.train.examples
    order = Order(len(train), key=f"{train.fingerprint}:{t.seed}", rows_per_step=work.batch_rows,
                  rank=begun.ranks.rank, world_size=begun.ranks.world_size)
    sides = {name: Scores(classifier, side.examples, begun.precision, work.micro_tokens, first,
                          frozen_of(work, classifier, name, side.examples, first))
             for name, side in rows.sides.items()}
    batches = ExampleBatches(examples=train, order=order, packing="isolated", micro_tokens=work.micro_tokens,
                             context=work.opened.config.context, vectors=sides["train"].vectors)
    weights = torch.tensor([rows.split.class_weights[label] for label in rows.labels])
    per_step = round(train.tokens / len(train) * work.batch_rows)
    return ClassSetup(network=classifier, classifier=classifier, trainable=trainable, batches=batches,
                      precision=begun.precision, fingerprint=train.fingerprint,
                      objective=class_objective(classifier, begun.precision, weights, first),
                      files=files_of(recipe, work.opened, rows), sample=lambda: (),
                      evaluate_first=False, evaluate=lambda guard: validate(sides["validation"], rows, guard),
                      tokens_per_step=per_step, pass_tokens=work.pass_tokens(train.longest, per_step),
                      validation=sides["validation"], test=sides["test"])


def files_of(recipe: ClassifyRecipe, opened: Opened, rows: Rows) -> ModelFiles:
    """An adapter, or a whole classifier."""
    if recipe.training.train is None:
        return AdapterFiles(base=Base.of(opened.folder), lora=recipe.lora.settled(), tokenizer=opened.tokenizer,
                            labels=rows.labels)
    return ClassifierFiles(config=without_head(opened.config), tokenizer=opened.tokenizer, labels=rows.labels)


def frozen_of(work: Work[ClassifyRecipe, Rows], classifier: Classifier, name: str, examples: ExampleSet,
              first_block: int) -> Vectors | None:
    """What the blocks that never change make of the texts, computed once; None where every block is trained."""
    if not first_block or not len(examples):
        return None
    (work.out / CACHE).mkdir(exist_ok=True)
    work.say(f"blocks 0 to {first_block - 1} never change: computing them once for "
             f"{human_count(examples.tokens)} tokens ({name})")
    return frozen_vectors(classifier.network, examples, first_block=first_block, precision=work.begun.precision,
                          path=work.out / CACHE / f"{name}-{work.begun.ranks.rank}.npy", micro_tokens=work.micro_tokens)


@dataclass(frozen=True)
class Scores:
    """The classifier's scores of one side of the split; calling gives (N, C) in the order of the rows."""

    classifier: Classifier
    examples: ExampleSet
    precision: Precision
    micro_tokens: int
    first_block: int
    vectors: Vectors | None

    def __call__(self, guard: Guard = iter) -> NDArray[np.float64]:
        return all_scores(self.classifier, self.examples, self.precision, micro_tokens=self.micro_tokens,
                          first_block=self.first_block, vectors=self.vectors, guard=guard)


def validate(side: Scores, rows: Rows, guard: Guard) -> Mapping[str, float]:
    """Loss (weighted as in training), accuracy and macro-F1 over the validation rows."""
    probabilities, truth = softmax(side(guard)), labels_in(side.examples)
    counts = ClassCounts(rows.labels)
    counts.add(truth, probabilities)
    found = counts.metrics(rows.majority)
    weights = np.array([rows.split.class_weights[label] for label in rows.labels])[truth]
    own = np.log(np.maximum(probabilities[np.arange(len(truth)), truth], np.finfo(np.float64).tiny))
    loss = float(-(weights * own).sum() / weights.sum())
    return {"loss": loss, "accuracy": found.accuracy, "macro_f1": found.macro_f1}


def labels_in(examples: ExampleSet) -> NDArray[np.int64]:
    """(N,) the label numbers, out of the last targets."""
    return examples.targets[examples.starts + examples.lengths - 1].astype(np.int64)
