"""Architecture: a kind of model that llama.cpp knows, as data: values and names of tensors <-> ours."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tohum.loading.gguf.head import Head
from tohum.loading.names import Table
from tohum.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`write` answers None, or what reads back differently, for models that llama.cpp cannot express so."""

    name: str
    read: Callable[[Head], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any] | None]
    table: Callable[[ModelConfig], Table]
