"""The checkpoints of a classifier whose own weights are trained: transformers' folder; see `ModelFiles`."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tohum.loading.classifier import SCORE, load_classifier, save_classifier
from tohum.model.classifier import Classifier
from tohum.model.config import ModelConfig
from tohum.tokenizing.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ClassifierFiles:
    """A whole model with a class head."""

    config: ModelConfig
    tokenizer: Tokenizer
    labels: tuple[str, ...]

    def save(self, folder: Path, network: nn.Module) -> None:
        """Configuration with the names of the classes, weights, tokenizer."""
        assert isinstance(network, Classifier)
        weights = {name: value.detach() for name, value in network.network.state_dict().items()}
        save_classifier(folder, self.config, weights | {SCORE: network.score.weight}, self.labels, self.tokenizer)

    def load(self, folder: Path, network: nn.Module) -> None:
        """Into the parameters that are there."""
        assert isinstance(network, Classifier)
        found = load_classifier(folder, dtype=None).classifier
        network.network.load_state_dict(found.network.state_dict())
        network.score.load_state_dict(found.score.state_dict())
