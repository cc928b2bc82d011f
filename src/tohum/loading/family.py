"""Family: an architecture of the outside world as data: config.json and tensor names <-> ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tohum.loading.keys import Keys
from tohum.loading.names import Table
from tohum.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Family:
    """`write` answers None, or what reads back differently, for models that the family cannot express."""

    model_type: str  # the key in config.json
    architecture: str  # the class that transformers builds
    read: Callable[[Keys], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any] | None]
    table: Table
    harmless: tuple[str, ...] = ()  # further keys that say nothing about the logits
