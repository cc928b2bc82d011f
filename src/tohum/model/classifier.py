"""A classifier: the network with its head replaced, read at the last token of a text: ids (B, T) -> (N, C) scores.

    text  --> blocks --> final norm --> (B, T, D) --[last real token of each text]--> score (C, D) --> C scores

The last token is the only one that has read the whole text. Padding behind it is never read (order), and padding in
front is masked, so the scores of a text do not depend on what it was batched with.
"""

from typing import cast

import torch
from torch import Tensor, nn

from tohum.model.network import Network


class Classifier(nn.Module):
    """A network and a linear head of C classes without bias (as transformers keeps it).

    It takes the place of the network's own head: one that is not the token table is given up.
    """

    def __init__(self, network: Network, classes: int):
        super().__init__()
        network.head = None
        self.network = network
        self.score = nn.Linear(network.config.width, classes, bias=False, device=network.head_weight.device,
                               dtype=torch.promote_types(network.head_weight.dtype, torch.float32))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Small random rows: at first all classes are nearly equally likely."""
        values = torch.randn(self.score.weight.shape, generator=generator) * 0.02
        self.score.weight.copy_(values)

    def read(self, hidden: Tensor) -> Tensor:
        """Vectors after the final norm (N, D), one per text -> scores (N, C) in float32 or wider."""
        return nn.functional.linear(hidden.to(self.score.weight.dtype), self.score.weight)

    def forward(self, ids: Tensor, lengths: Tensor, *, positions: Tensor | None = None,
                documents: Tensor | None = None) -> Tensor:
        """ids (B, T), one text per row; lengths (B,): columns up to the end of each text -> (B, C)."""
        hidden = self.network.hidden(ids, positions=positions, documents=documents)  # (B, T, D)
        return self.read(hidden[torch.arange(len(ids), device=ids.device), lengths - 1])


def trunk(module: nn.Module) -> Network:
    """The network inside: a classifier's, or the module itself."""
    return module.network if isinstance(module, Classifier) else cast("Network", module)
