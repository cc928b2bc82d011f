"""Adapters: which linears get one, its first values, and switching between several on one base."""

import contextlib
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from tohum.errors import ConfigError
from tohum.lora.config import LoraConfig
from tohum.lora.layer import LoraLinear, LoraOverBytes, row_lengths
from tohum.lora.rows import TrainedRows, current_rows, drop_rows, put_rows, train_rows
from tohum.model.int8 import Int8Linear
from tohum.model.network import Network


@dataclass(frozen=True)
class Factors:
    """The adapter of one linear: scale * B A, and DoRA's lengths."""

    a: Tensor  # (rank, in)
    b: Tensor  # (out, rank)
    m: Tensor | None = None  # (out,)
    _: KW_ONLY
    scale: float


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What a LoRA run trains: factors by the name of their linear, and whole tensors beside them."""

    config: LoraConfig
    factors: Mapping[str, Factors]
    extra: Mapping[str, Tensor] = field(default_factory=dict)  # a classifier's head
    token_rows: Mapping[int, Tensor] = field(default_factory=dict)  # id -> its row (D,) of the token table


def size(layer: nn.Linear | Int8Linear | LoraLinear) -> tuple[int, int]:
    """(out, in)."""
    return (layer.out_features, layer.in_features) if isinstance(layer, nn.Linear) else layer.size


def linears(network: Network) -> dict[str, nn.Linear | Int8Linear | LoraLinear]:
    """Every linear of the blocks, by its full name: blocks.3.attention.query."""
    return {f"blocks.{name}": module for name, module in network.blocks.named_modules()
            if isinstance(module, nn.Linear | Int8Linear | LoraLinear)}


def chosen(network: Network, patterns: Sequence[str]) -> list[str]:
    """Names of the linears that the patterns mean. Raises ConfigError for a pattern that matches none.

    A pattern is held against the full name, the name inside its block (attention.query) and its last part (query).
    """
    names = list(linears(network))
    found: set[str] = set()
    for pattern in patterns:
        matching = [name for name in names if any(fnmatchcase(view, pattern) for view in views(name))]
        if not matching:
            known = sorted({view for name in names for view in views(name)[1:]})
            near = difflib.get_close_matches(pattern, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"lora.targets: '{pattern}' matches no linear of this model; {hint}")
        found.update(matching)
    return [name for name in names if name in found]


def views(name: str) -> tuple[str, str, str]:
    """blocks.3.attention.query -> that, attention.query, query."""
    return name, name.split(".", 2)[2], name.rsplit(".", 1)[1]


def wrap(network: Network, names: Sequence[str]) -> None:
    """Put a LoraLinear in the place of each named linear, unless there is one."""
    for name in names:
        parent, _, own = name.rpartition(".")
        owner = network.get_submodule(parent)
        layer = getattr(owner, own)
        if not isinstance(layer, LoraLinear):
            kind = LoraOverBytes if isinstance(layer, Int8Linear) else LoraLinear
            setattr(owner, own, kind(layer).train(layer.training))


def lora_layers(network: nn.Module) -> dict[str, LoraLinear]:
    """Every layer that has, or may get, an adapter."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LoraLinear)}


def add_lora(network: Network, config: LoraConfig, generator: torch.Generator, new_ids: Sequence[int] = ()) -> None:
    """Freeze the whole network and give every target fresh factors: A as Linear begins (PEFT's choice), B zero.

    new_ids: tokens whose rows of the table are trained too.
    """
    names = chosen(network, config.targets)
    network.requires_grad_(False)
    if new_ids:
        train_rows(network, new_ids)
    wrap(network, names)
    layers = lora_layers(network)
    for name in names:
        layer = layers[name]
        out, into = size(layer)
        bound = 1 / math.sqrt(into)
        a = (torch.rand(config.rank, into, generator=generator) * 2 - 1) * bound
        place, kind = layer.weight.device, number_format(layer)
        a, b = a.to(place, kind), torch.zeros(out, config.rank, device=place, dtype=kind)
        m = row_lengths(layer.weight.to(kind), a, b, config.scale) if config.kind == "dora" else None
        layer.put(a, b, m, scale=config.scale, dropout=config.dropout)


def number_format(layer: LoraLinear) -> torch.dtype:
    """Factors are float32 over any base, float64 over float64."""
    return torch.promote_types(layer.weight.dtype, torch.float32)


def attach(network: Network, adapter: Adapter) -> None:
    """Use an adapter in the place of the one before; layers that it does not name are plain again.

    Raises ConfigError for a layer that the network lacks or that has another size.
    """
    known = linears(network)
    for name, factors in adapter.factors.items():
        shape = size(known[name]) if name in known else None
        wanted = (factors.b.shape[0], factors.a.shape[1])
        if shape != wanted:
            seen = f"is {list(shape)} in this model" if shape else "is not in this model"
            raise ConfigError(f"the adapter changes {name}, of {list(wanted)}, which {seen}\n"
                              "it was trained on another base; give the base that its adapter_config.json names")
    put_rows(network, adapter.token_rows)
    wrap(network, list(adapter.factors))
    for name, layer in lora_layers(network).items():
        found = adapter.factors.get(name)
        if found is None:
            layer.remove()
            continue
        place, kind = layer.weight.device, number_format(layer)
        m = None if found.m is None else found.m.to(place, kind)
        layer.put(found.a.to(place, kind), found.b.to(place, kind), m, scale=found.scale,
                  dropout=adapter.config.dropout)


def detach(network: Network) -> None:
    """The base alone."""
    drop_rows(network)
    for layer in lora_layers(network).values():
        layer.remove()


def current(network: Network, config: LoraConfig) -> Adapter:
    """The adapter that the network uses now, as tensors that share its memory."""
    factors = {name: Factors(layer.lora_a.detach(), layer.lora_b.detach(),
                             None if layer.lora_m is None else layer.lora_m.detach(), scale=layer.scale)
               for name, layer in lora_layers(network).items()
               if layer.lora_a is not None and layer.lora_b is not None}
    return Adapter(config=config, factors=factors, token_rows=current_rows(network))


@contextlib.contextmanager
def adapters_off(network: nn.Module) -> Iterator[None]:
    """Inside, the network computes as its base does: the reference of preference losses, without a second copy."""
    layers = [module for module in network.modules() if isinstance(module, LoraLinear | TrainedRows)]
    before = [layer.enabled for layer in layers]
    try:
        for layer in layers:
            layer.enabled = False
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.enabled = was
