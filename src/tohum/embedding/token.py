"""Token table: ids (B, T) -> vectors (B, T, D)."""

from torch import Tensor, nn


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

    def matrix(self) -> Tensor:
        """(V, D): what a tied head reads."""
        return self.weight


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
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """ids (B, T) int64, positions (B, T) or None for 0..T-1 -> (B, T, D)."""
        return self.dropout(self.position(self.scale(self.token(ids)), positions))
