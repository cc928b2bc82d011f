"""Optimizers: AdamW for everything, or Muon for the matrices of the blocks and AdamW for the rest.

AdamW: decoupled weight decay, arXiv:1711.05101. Muon: momentum, then the nearest orthogonal matrix by five
Newton-Schulz steps (Jordan 2024, kellerjordan.github.io/posts/muon). Matrices of one shape are orthogonalised
as one stack, which is what makes it cheap for small models, in the arithmetic of the run: five steps forgive the
8 bits of bfloat16, but a processor without bfloat16 instructions takes a hundred times as long for them.
"""

from collections import defaultdict
from typing import Literal

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
        self.muon = Muon(matrices, config, products)
        self.adamw = AdamW({n: p for n, p in named.items() if n not in matrices}, config)

    def step(self, lr_multiplier: float, *, shortened: float = 1.0) -> None:
        """Update all parameters from their gradients times `shortened` (if that is below 1), then drop the gradients.

        Clipping here saves a pass over all gradients.
        """
        self.adamw.step(lr_multiplier, min(1.0, shortened))
        self.muon.step(lr_multiplier, min(1.0, shortened))

    def state(self) -> dict[str, Tensor]:
        """Named tensors that a checkpoint holds."""
        tensors = {f"muon.{name}.momentum": buffer for name, buffer in self.muon.momentum.items()}
        for name, values in self.adamw.state.items():
            tensors |= {f"adamw.{name}.{key}": value for key, value in values.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state()` gave; raises KeyError when a tensor is missing or has another shape."""
        for name, value in self.state().items():
            if tensors[name].shape != value.shape:
                raise KeyError(f"{name}: shape {tuple(tensors[name].shape)}, not {tuple(value.shape)}")
            value.copy_(tensors[name])


class AdamW:
    """torch's fused kernel, called by name: torch.optim would first load the compiler, which takes two seconds.

    A parameter without a gradient stays as it is, and so does its state.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], config: OptimizerConfig):
        self.config, self.parameters = config, parameters
        self.lr = config.lr if config.kind == "adamw" or config.embedding_lr is None else config.embedding_lr
        self.state = {name: {"step": torch.zeros((), device=p.device), "exp_avg": torch.zeros_like(p),
                             "exp_avg_sq": torch.zeros_like(p)} for name, p in parameters.items()}
        decayed = [name for name, p in parameters.items() if p.ndim >= 2]
        self.groups = [(decayed, config.weight_decay), ([name for name in parameters if name not in decayed], 0.0)]

    @torch.no_grad()
    def step(self, lr_multiplier: float, shortened: float = 1.0) -> None:
        """One step for every parameter that has a gradient; drops the gradients."""
        for names, decay in self.groups:
            present = [name for name in names if self.parameters[name].grad is not None]
            for kind, place in dict.fromkeys((p.dtype, p.device) for p in map(self.parameters.__getitem__, present)):
                chosen = [n for n in present if (self.parameters[n].dtype, self.parameters[n].device) == (kind, place)]
                self.update(chosen, self.lr * lr_multiplier, decay, shortened)
        for parameter in self.parameters.values():
            parameter.grad = None

    def update(self, names: list[str], lr: float, weight_decay: float, shortened: float) -> None:
        """Parameters of one format on one device."""
        parameters: list[Tensor] = [self.parameters[name] for name in names]
        gradients = [p.grad for p in parameters if p.grad is not None]
        steps, first, second = ([self.state[name][key] for name in names] for key in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        divisor = None if shortened == 1.0 else torch.tensor(1 / shortened, dtype=torch.float32,
                                                                  device=parameters[0].device)
        torch._fused_adamw_(
            parameters, gradients, first, second, [], steps, amsgrad=False, maximize=False, lr=lr,
            beta1=self.config.beta1, beta2=self.config.beta2, weight_decay=weight_decay, eps=1e-10,
            grad_scale=divisor)


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
    def step(self, lr_multiplier: float, shortened: float = 1.0) -> None:
        """One Nesterov-momentum step for every matrix that has a gradient."""
        lr, beta = self.config.lr * lr_multiplier, self.config.momentum
        for shape, names in self.shapes.items():
            updates = []
            for name in names:
                gradient = self.parameters[name].grad
                assert gradient is not None, f"no gradient for {name}"
                gradient = gradient if shortened == 1.0 else gradient.mul_(shortened)
                self.momentum[name].lerp_(gradient, 1 - beta)
                updates.append(gradient.lerp(self.momentum[name], beta))
            stack = orthogonalise(torch.stack(updates).to(self.products))
            scale = lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for name, update in zip(names, stack, strict=True):
                self.parameters[name].mul_(1 - lr * self.config.weight_decay)
                self.parameters[name].add_(update.to(self.parameters[name].dtype), alpha=-scale)
                self.parameters[name].grad = None


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
