"""Empty: a configuration -> a network whose parameters have shapes but no values yet, at no cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tohum.model.config import ModelConfig
from tohum.model.network import Network


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


def empty_network(config: ModelConfig) -> Network:
    """A network on the CPU whose parameters hold nothing; its rotary tables are computed."""
    with WithoutInitialValues():
        return Network(config)


def take_over(network: Network, weights: Mapping[str, Tensor], device: torch.device | str) -> Network:
    """Make `weights` the parameters of an empty network, without a copy; in evaluation mode, on `device`."""
    network.load_state_dict(weights, strict=True, assign=True)
    return network.to(device).eval()
