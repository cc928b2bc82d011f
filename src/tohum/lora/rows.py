"""New tokens: a frozen token table with some rows that are trained, which a tied head reads as well.

    ids         frozen weight (V, D)      trained rows (n, D)
    [2, 7] ->   row 2                     row of token 7            tokens that the base never saw have nothing
                                                                    to start from but the mean of all rows
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tohum.embedding.token import TokenTable
from tohum.errors import ConfigError
from tohum.model.network import Network


class TrainedRows(TokenTable):
    """The table with other rows for some ids. `weight` stays what it was."""

    slots: Tensor  # (V,) int64: which trained row an id has, -1 for none
    places: Tensor  # (n,) int64: the ids

    def __init__(self, table: TokenTable, ids: Sequence[int]):
        super().__init__(1, 1)
        self.num_embeddings, self.embedding_dim = table.weight.shape
        self.weight = nn.Parameter(table.weight.detach(), requires_grad=False)
        places = torch.tensor(ids, device=table.weight.device)
        self.lora_rows = nn.Parameter(table.weight.detach()[places].float().to(
            torch.promote_types(table.weight.dtype, torch.float32)))
        slots = torch.full((len(table.weight),), -1, device=table.weight.device)
        slots[places] = torch.arange(len(ids), device=table.weight.device)
        self.register_buffer("slots", slots, persistent=False)
        self.register_buffer("places", places, persistent=False)
        self.enabled = True

    def forward(self, input: Tensor) -> Tensor:
        """ids (B, T) -> (B, T, D)."""
        if not self.enabled:
            return super().forward(input)
        slot = self.slots[input]  # (B, T)
        trained = nn.functional.embedding(slot.clamp(min=0), self.lora_rows)
        return torch.where((slot >= 0)[..., None], trained, super().forward(input).to(trained.dtype))

    def matrix(self) -> Tensor:
        """(V, D) with the trained rows in their places."""
        if not self.enabled:
            return self.weight
        return self.weight.to(self.lora_rows.dtype).index_copy(0, self.places, self.lora_rows)


def grow(network: Network, rows: int) -> None:
    """Give the token table so many rows, the new ones the mean of all. Raises ConfigError for a head of its own."""
    have = network.config.vocab_size
    if network.head is not None:
        raise ConfigError("this model's output head is a matrix of its own, beside the token table; new tokens are "
                          "trained where the two are one")
    if rows <= have:
        return
    table = network.embedding.token.weight.detach()
    more = table.float().mean(dim=0, keepdim=True).to(table.dtype).expand(rows - have, -1)
    network.embedding.token = plain_table(torch.cat([table, more]))
    network.config = network.config.replace(vocab_size=rows)


def train_rows(network: Network, ids: Sequence[int]) -> TrainedRows:
    """Make the rows of these ids trainable; the rest of the table is frozen."""
    grow(network, max(ids) + 1)
    made = TrainedRows(network.embedding.token, ids)
    network.embedding.token = made
    return made


def put_rows(network: Network, rows: Mapping[int, Tensor]) -> None:
    """Use an adapter's rows, which may be none. Raises ConfigError for rows of another width."""
    drop_rows(network)
    if not rows:
        return
    ids = sorted(rows)
    if rows[ids[0]].shape != (network.config.width,):
        raise ConfigError(f"the adapter has token rows of {list(rows[ids[0]].shape)}, but the model is "
                          f"{network.config.width} wide\nit was trained on another base")
    most = network.config.vocab_size + len(ids)  # new tokens stand right behind the table
    if ids[0] < 0 or ids[-1] >= most:
        raise ConfigError(f"the adapter has rows for tokens {ids[0]} to {ids[-1]}, but this model has "
                          f"{network.config.vocab_size:,} tokens\nit was trained on another base")
    table = train_rows(network, ids)
    with torch.no_grad():
        table.lora_rows.copy_(torch.stack([rows[i] for i in ids]))


def current_rows(network: Network) -> dict[int, Tensor]:
    """The trained rows by id."""
    table = network.embedding.token
    if not isinstance(table, TrainedRows):
        return {}
    return dict(zip(table.places.tolist(), table.lora_rows.detach(), strict=True))


def merge_rows(network: Network) -> None:
    """Fold trained rows into the table."""
    table = network.embedding.token
    if isinstance(table, TrainedRows):
        network.embedding.token = plain_table(table.matrix().detach().to(table.weight.dtype))


def drop_rows(network: Network) -> None:
    """The base's own table again."""
    table = network.embedding.token
    if isinstance(table, TrainedRows):
        network.embedding.token = plain_table(table.weight.detach())


def plain_table(weight: Tensor) -> TokenTable:
    """A frozen table of these rows (V, D)."""
    plain = TokenTable(1, 1)
    plain.num_embeddings, plain.embedding_dim = weight.shape
    plain.weight = nn.Parameter(weight, requires_grad=False)
    return plain
