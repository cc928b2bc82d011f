"""Feed-forward layers: each position's vector (D,) -> wide hidden layer -> (D,), the same for all positions.

    plain:  down(act(up(x)))                two matrices    GELU (GPT-2), ReLU^2 (arXiv:2109.08668)
    gated:  down(act(gate(x)) * up(x))      three matrices  SwiGLU, GeGLU (arXiv:2002.05202)
"""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from tohum.model.config import FeedForwardSpec


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2."""
    return F.relu(x).square()


gelu_tanh = partial(F.gelu, approximate="tanh")  # GPT-2's: 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3)))

Activation = Callable[[Tensor], Tensor]
PLAIN: dict[str, Activation] = {"gelu_tanh": gelu_tanh, "relu2": relu_squared}
GATED: dict[str, Activation] = {"swiglu": F.silu, "geglu": gelu_tanh}


class PlainFeedForward(nn.Module):
    """down(act(up(x)))."""

    def __init__(self, width: int, spec: FeedForwardSpec):
        super().__init__()
        self.up = nn.Linear(width, spec.width, bias=spec.bias)
        self.down = nn.Linear(spec.width, width, bias=spec.bias)
        self.activation = PLAIN[spec.kind]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(self.activation(self.up(x)))


class GatedFeedForward(nn.Module):
    """down(act(gate(x)) * up(x)): one half decides how much of the other passes."""

    def __init__(self, width: int, spec: FeedForwardSpec):
        super().__init__()
        self.gate = nn.Linear(width, spec.width, bias=spec.bias)
        self.up = nn.Linear(width, spec.width, bias=spec.bias)
        self.down = nn.Linear(spec.width, width, bias=spec.bias)
        self.activation = GATED[spec.kind]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(self.activation(self.gate(x)) * self.up(x))


def build_feed_forward(width: int, spec: FeedForwardSpec) -> PlainFeedForward | GatedFeedForward:
    """The layer that the spec describes."""
    return GatedFeedForward(width, spec) if spec.kind in GATED else PlainFeedForward(width, spec)
