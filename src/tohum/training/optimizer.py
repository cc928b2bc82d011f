"""Optimizers: AdamW for everything, or Muon for the matrices of the blocks and AdamW for the rest.

AdamW: decoupled weight decay, arXiv:1711.05101. Muon: momentum, then the nearest orthogonal matrix by five
Newton-Schulz steps (Jordan 2024, kellerjordan.github.io/posts/muon). Matrices of one shape are orthogonalised
as one stack, which is what makes it cheap for small models, in the arithmetic of the run: five steps forgive the
8 bits of bfloat16, but a processor without bfloat16 instructions takes a hundred times as long for them.
"""

from collections import defaultdict
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from tohum.config import Config

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic with the steepest slope at zero
NEWTON_SCHULZ_STEPS = 5


class OptimizerConfig(Config):
    """`[optimizer]`. Rates are the peaks of the schedule."""

    kind: Literal["adamw", "muon"] = "muon"
    lr: PositiveFloat = 0.02  # of all parameters (adamw), of the matrices (muon)
    embedding_lr: PositiveFloat | None = None  # muon: of embeddings, head and norms; None: lr
    weight_decay: NonNegativeFloat = 0.1  # of matrices and embeddings, never of norms and biases
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    momentum: float = Field(default=0.95, ge=0, lt=1)  # muon


class Optimizer:
    """Both optimizers behind one `step(lr_multiplier)`; its state is a flat dict of named tensors.

    `products` is the format of Muon's matrix products; weights and state keep their own.
    """

    def __init__(self, network: nn.Module, config: OptimizerConfig, *, products: torch.dtype = torch.float32):
        self.config = config
        named = {name: p for name, p in network.named_parameters() if p.requires_grad}
        matrices = {n: p for n, p in named.items() if config.kind == "muon" and n.startswith("blocks.") and p.ndim == 2}
        rest = {n: p for n, p in named.items() if n not in matrices}
        self.names = {id(p): n for n, p in rest.items()}
        self.muon = Muon(matrices, config, products)
        lr = config.lr if config.kind == "adamw" or config.embedding_lr is None else config.embedding_lr
        decayed, plain = ([p for p in rest.values() if (p.ndim >= 2) is wanted] for wanted in (True, False))
        counted = sum(p.numel() for p in [*decayed, *plain, *matrices.values()])
        assert counted == sum(p.numel() for p in named.values()), "a parameter belongs to no group"
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay},
                                        {"params": plain, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        self.adamw = torch.optim.AdamW(groups, lr=lr, betas=(config.beta1, config.beta2), eps=1e-10, fused=True)
        self.peak_lr = lr

    def step(self, lr_multiplier: float) -> None:
        """Update all parameters from their gradients, then drop the gradients."""
        for group in self.adamw.param_groups:
            group["lr"] = self.peak_lr * lr_multiplier
        self.adamw.step()
        self.muon.step(lr_multiplier)
        self.adamw.zero_grad(set_to_none=True)
        self.muon.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """Named tensors that a checkpoint holds."""
        tensors = {f"muon.{name}.momentum": buffer for name, buffer in self.muon.momentum.items()}
        for parameter, values in self.adamw.state.items():
            for key, value in values.items():
                tensors[f"adamw.{self.names[id(parameter)]}.{key}"] = torch.as_tensor(value)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state()` gave; raises KeyError when a tensor is missing."""
        for name, buffer in self.muon.momentum.items():
            buffer.copy_(tensors[f"muon.{name}.momentum"])
        for group in self.adamw.param_groups:
            for parameter in group["params"]:
                prefix = f"adamw.{self.names[id(parameter)]}."
                values = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                if not values:
                    raise KeyError(prefix)
                self.adamw.state[parameter] = {
                    k: v.clone().to(parameter.device) if k != "step" else v.clone() for k, v in values.items()}


class Muon:
    """Momentum made orthogonal, for parameters (rows, columns) grouped by shape."""

    def __init__(self, parameters: dict[str, nn.Parameter], config: OptimizerConfig, products: torch.dtype):
        self.config, self.products = config, products
        self.parameters = parameters
        self.momentum = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.shapes: dict[torch.Size, list[str]] = defaultdict(list)
        for name, p in parameters.items():
            self.shapes[p.shape].append(name)

    @torch.no_grad()
    def step(self, lr_multiplier: float) -> None:
        """One Nesterov-momentum step for every matrix that has a gradient."""
        lr, beta = self.config.lr * lr_multiplier, self.config.momentum
        for shape, names in self.shapes.items():
            updates = []
            for name in names:
                gradient = self.parameters[name].grad
                assert gradient is not None, f"no gradient for {name}"
                self.momentum[name].lerp_(gradient, 1 - beta)
                updates.append(gradient.lerp(self.momentum[name], beta))
            stack = orthogonalise(torch.stack(updates).to(self.products))
            scale = lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for name, update in zip(names, stack, strict=True):
                self.parameters[name].mul_(1 - lr * self.config.weight_decay)
                self.parameters[name].add_(update.to(self.parameters[name].dtype), alpha=-scale)

    def zero_grad(self) -> None:
        for p in self.parameters.values():
            p.grad = None


def orthogonalise(stack: Tensor) -> Tensor:
    """(k, rows, columns) -> the same shape with all singular values near 1 (between 0.7 and 1.2)."""
    a, b, c = NEWTON_SCHULZ
    wide = stack.shape[1] <= stack.shape[2]
    x = stack if wide else stack.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT  # (k, n, n) with n the shorter side
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
