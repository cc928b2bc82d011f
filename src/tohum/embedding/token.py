"""Token table: ids (B, T) -> vectors (B, T, D)."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tohum.dropout import Dropout


class Scale(nn.Module):
    """x -> factor * x. Gemma multiplies token vectors by sqrt(D) (arXiv:2403.08295, section 2)."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"


class TokenTable(nn.Embedding):
    """The table (V, D) itself."""

    adds_rows = False  # for a loop that calls backward() alone: see `Rows`

    def forward(self, input: Tensor) -> Tensor:  # torch's name for ids
        """ids (B, T) -> (B, T, D)."""
        wanted = self.adds_rows and self.weight.requires_grad and torch.is_grad_enabled()
        few = input.device.type == "cpu" and input.numel() < self.num_embeddings
        if not (wanted and few) or torch.compiler.is_compiling():
            return super().forward(input)
        link = torch.empty(0, requires_grad=True)  # what makes the result part of the graph
        return cast("Tensor", Rows.apply(link, (self.weight,), input))

    def matrix(self) -> Tensor:
        """(V, D): what a tied head reads."""
        return self.weight


class Rows(torch.autograd.Function):
    """A lookup whose backward pass adds to the rows of `weight.grad` that were read, and to no other.

    Autograd's own makes (V, D) numbers, nearly all zero, and adds them to those of a head that reads the table, too: a
    tenth of the memory of GPT-2's step. As torch's AccumulateGrad, it adds to whatever gradient is there; what asks
    autograd for gradients by name (`torch.autograd.grad`), or for second ones, does not see it.
    """

    @staticmethod
    def forward(ctx: Any, link: Tensor, table: tuple[Tensor], ids: Tensor) -> Tensor:
        """The weight (V, D), ids (B, T) -> (B, T, D). In a tuple, for an input's gradient would wait for this one."""
        (ctx.weight,) = table
        ctx.save_for_backward(ids)
        return F.embedding(ids, ctx.weight.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:  # pyrefly: ignore[bad-override]
        """Rows of one id are added up first, in their order."""
        weight, (ids,) = ctx.weight, ctx.saved_tensors
        places, row = torch.unique(ids, return_inverse=True)
        rows = torch.ops.aten.embedding_dense_backward(gradients[0], row, len(places), -1, False)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad[places] += rows
        return None, None, None


class InputEmbedding(nn.Module):
    """ids -> what the first block reads: token vectors, scaled, plus positions, then dropout.

    A table lookup is a matrix product with one-hot rows, without the multiplications by zero:

        ids        token.weight (V, D)          x (B, T, D)
        [2, 0] ->  row 0:  0.1  -0.4     ->     [[ 0.7  0.2],      row 2
                   row 1:  0.5   0.9             [ 0.1 -0.4]]      row 0
                   row 2:  0.7   0.2
    """

    def __init__(self, vocab_size: int, width: int, *, scale: float, position: nn.Module, dropout: float):
        super().__init__()
        self.token = TokenTable(vocab_size, width)
        self.scale = Scale(scale) if scale != 1 else nn.Identity()
        self.position = position
        self.dropout = Dropout(dropout) if dropout else nn.Identity()

    def forward(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """ids (B, T) int64, positions (B, T) or None for 0..T-1 -> (B, T, D)."""
        return self.dropout(self.position(self.scale(self.token(ids)), positions))
