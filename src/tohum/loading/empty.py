"""Empty: a configuration -> a network whose parameters have shapes but no values yet, at no cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tohum.errors import CheckpointError
from tohum.model.config import ModelConfig
from tohum.model.counting import parameters
from tohum.model.network import Network

ROTARY_NUMBERS = 16_000_000  # cosines and sines that any model may have: 250,000 positions of heads of width 64


class WithoutInitialValues(TorchFunctionMode):
    """Layers that are made inside leave their memory as it is, which the system then never provides.

    The "meta" device would do as well, but the first use of it costs more than a second.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return given.get("tensor", args[0] if args else None)
        return func(*args, **given)


def check_size(where: str, config: ModelConfig, numbers: int) -> None:
    """Hold what a configuration asks for against the `numbers` that there are, before memory is taken for it.

    A damaged size asks for far more parameters, or for rotary tables of far more positions. Raises CheckpointError.
    """
    if parameters(config) > 10 * numbers + 1_000_000:  # no forgotten tensor, but a damaged number
        raise CheckpointError(f"{where}: holds {numbers:,} numbers, but describes a model of {parameters(config):,}")
    widths = {layer.attention.head_width for layer in config.layers if layer.attention.rope_base}
    if config.context * sum(widths) > 4 * numbers + ROTARY_NUMBERS:
        raise CheckpointError(f"{where}: holds {numbers:,} numbers, but describes a context of {config.context:,} "
                              "tokens; that number is damaged")


def empty_network(config: ModelConfig) -> Network:
    """A network on the CPU whose parameters hold nothing; its rotary tables are computed."""
    with WithoutInitialValues():
        return Network(config)


def take_over(network: Network, weights: Mapping[str, Tensor], device: torch.device | str) -> Network:
    """Make `weights` the parameters of an empty network, without a copy; in evaluation mode, on `device`."""
    network.load_state_dict(weights, strict=True, assign=True)
    return network.to(device).eval()
