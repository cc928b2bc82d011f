"""Classifier folder: a network with a class head <-> the files of transformers' …ForSequenceClassification.

    config.json        the family's, with id2label, label2id and the padding id that transformers finds ends by
    model.safetensors  the family's tensors without a language-model head, and score.weight (C, D)
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tohum.errors import CheckpointError
from tohum.files import write_json
from tohum.loading import families
from tohum.loading.empty import check_size, empty_network, take_over
from tohum.loading.folder import CONFIG, DTYPES, load_tokenizer, read_weights, token_ids
from tohum.loading.keys import read_json
from tohum.loading.names import Shape, write_parameters
from tohum.loading.weights import SHARD_BYTES, WeightFiles, write_weights
from tohum.model.classifier import Classifier
from tohum.model.config import ModelConfig
from tohum.tokenizing.tokenizer import Tokenizer

SCORE = "score.weight"
LANGUAGE, LANGUAGE_GPT2, CLASSES = "ForCausalLM", "LMHeadModel", "ForSequenceClassification"
RENAMED = {"Gemma3ForCausalLM": "Gemma3TextForSequenceClassification"}


@dataclass(frozen=True, kw_only=True)
class LoadedClassifier:
    """A classifier folder in memory."""

    folder: Path
    config: ModelConfig
    classifier: Classifier
    labels: tuple[str, ...]
    tokenizer: Tokenizer


def is_classifier(folder: Path) -> bool:
    """A whole model with a class head."""
    if not (folder / CONFIG).is_file():
        return False
    named = read_json(folder / CONFIG).get("architectures")
    return isinstance(named, list) and any(str(name).endswith(CLASSES) for name in named)


def without_head(config: ModelConfig) -> ModelConfig:
    """The same model as one that has no head of its own to store."""
    return config.replace(tied=True)


def class_architecture(language: str) -> str:
    """LlamaForCausalLM -> LlamaForSequenceClassification."""
    return RENAMED.get(language, language.replace(LANGUAGE, CLASSES).replace(LANGUAGE_GPT2, CLASSES))


def save_classifier(folder: Path, config: ModelConfig, weights: Mapping[str, Tensor], labels: Collection[str],
                    tokenizer: Tokenizer) -> None:
    """weights: of the network by our names, and `score.weight`. Not atomic by itself, as `save_model` is not."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = without_head(config)
    family, values = families.write_config(plain)
    own = {name: value for name, value in weights.items() if name not in (SCORE, "head.weight")}
    stored = write_parameters(family.table, len(plain.layers), own) | {SCORE: weights[SCORE]}
    stored = {name: value.detach().cpu().contiguous() for name, value in stored.items()}
    ids = token_ids(tokenizer)
    ids["pad_token_id"] = next((found for found in (ids["pad_token_id"], ids["eos_token_id"]) if found is not None), 0)
    named = {"id2label": {str(number): label for number, label in enumerate(labels)},
             "label2id": {label: number for number, label in enumerate(labels)}}
    write_json(folder / CONFIG, values | ids | named | {
        "architectures": [class_architecture(family.architecture)], "problem_type": "single_label_classification",
        "dtype": DTYPES[stored[family.table.token].dtype]})
    write_weights(folder, stored, SHARD_BYTES)
    tokenizer.save(folder)


class WithoutScore:
    """The stored tensors of the network itself."""

    def __init__(self, files: WeightFiles):
        self.files, self.where = files, files.where

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return {name: shape for name, shape in self.files.shapes.items() if name != SCORE}

    def tensor(self, name: str) -> Tensor:
        return self.files.tensor(name)


def load_classifier(folder: Path, *, dtype: torch.dtype | None = torch.float32,
                    device: torch.device | str = "cpu") -> LoadedClassifier:
    """Read a classifier folder, ours or one of transformers. Raises CheckpointError."""
    values = read_json(folder / CONFIG)
    family, config = families.read_config(values, str(folder / CONFIG))
    config = without_head(config)
    labels = labels_of(values, folder)
    files = WeightFiles(folder)
    if files.shapes.get(SCORE) != (len(labels), config.width):
        raise CheckpointError(f"{files.where}: {SCORE} is {files.shapes.get(SCORE, 'missing')}; expected "
                              f"{(len(labels), config.width)}, a row for each label of config.json")
    stored = WithoutScore(files)
    check_size(stored.where, config, sum(torch.Size(shape).numel() for shape in stored.shapes.values()))
    network = empty_network(config)
    take_over(network, read_weights(network, stored, family, dtype=dtype, device=device), device)
    classifier = Classifier(network, len(labels)).to(device).eval()
    with torch.no_grad():
        classifier.score.weight.copy_(files.tensor(SCORE))
    return LoadedClassifier(folder=folder, config=config, classifier=classifier, labels=labels,
                            tokenizer=load_tokenizer(folder, config))


def labels_of(values: Mapping[str, object], folder: Path) -> tuple[str, ...]:
    """Names of the classes by number. Raises CheckpointError."""
    named = values.get("id2label")
    if not isinstance(named, dict) or set(named) != {str(number) for number in range(len(named))}:
        raise CheckpointError(f"{folder / CONFIG}: expected names of the classes under 'id2label', numbered from 0")
    return tuple(str(named[str(number)]) for number in range(len(named)))
