"""Merging: base + adapter -> one plain network, computed in float32, with a report of how far it drifts."""

from dataclasses import dataclass

import torch

from tohum.lora.adapter import lora_layers
from tohum.lora.layer import LoraLinear, LoraOverBytes
from tohum.lora.rows import merge_rows
from tohum.model.network import Network


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What rounding to the number format of the base does to merged weights."""

    layers: int
    largest: float  # |merged in float32 - merged as stored|, over all weights
    relative: float  # length of that difference / length of the update itself, over all layers


@torch.no_grad()
def merge(network: Network) -> Drift:
    """Fold every adapter into its weight, in place; the layers are plain linears again. Doing it twice is once."""
    if any(isinstance(layer, LoraOverBytes) for layer in lora_layers(network).values()):
        raise TypeError("a base of bytes takes no update; merge into the model that it was made of")
    count, largest, lost, changed = 0, 0.0, 0.0, 0.0
    merge_rows(network)
    for name, layer in lora_layers(network).items():
        if layer.lora_a is not None:
            exact = layer.merged()
            stored = exact.to(layer.weight.dtype)
            error = (stored.to(exact.dtype) - exact).abs()
            largest = max(largest, error.max().item())
            lost += error.square().sum().item()
            changed += (exact - layer.weight.to(exact.dtype)).square().sum().item()
            layer.weight.copy_(stored)
            count += 1
        put_back(network, name, layer)
    return Drift(layers=count, largest=largest, relative=(lost / changed) ** 0.5 if changed else 0.0)


def put_back(network: Network, name: str, layer: LoraLinear) -> None:
    """The plain linear that the layer took the place of, with the layer's weight."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, layer.plain())
