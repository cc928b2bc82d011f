"""Initial values: a network and a seeded generator -> every parameter set, in one place.

One rule for all models; it looks at what a parameter does, never at the model's name:

    token table, learned positions    normal, std 0.02
    matrices that read the stream     normal, std 0.55 / sqrt(fan in): 0.02 at GPT-2's width 768
    matrices that write to it         the same / sqrt(2 L): there are 2 L of them, so that the residual
                                      stream keeps its scale at any depth (GPT-2 report, section 2.3)
    untied head                       normal, std 0.55 / sqrt(D)
    biases 0, norm weights 1
"""

import math
from typing import cast

import torch
from torch import Tensor

from tohum.model.block import Block
from tohum.model.network import Network

TABLE_STD = 0.02  # a tied table is the head too: small logits, so that the first loss is about ln(V)
MATRIX_GAIN = 0.55  # times 1 / sqrt(fan in)
WRITERS = ("attention.output.weight", "down.weight")  # their products are added to the stream


@torch.no_grad()
def initialise(network: Network, generator: torch.Generator) -> None:
    """Set every parameter, in the order of their names in the network: same generator state, same bits.

    Draws in float32 on the generator's device, so that the values do not depend on the network's dtype.
    """
    writers = {parameter for block in cast("list[Block]", network.blocks)
               for name, parameter in block.named_parameters() if name.endswith(WRITERS)}
    tables = set(network.embedding.parameters())
    done: set[Tensor] = set()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                parameter.zero_()
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            elif parameter in tables:
                draw(parameter, TABLE_STD, generator)
            else:
                depth = 2 * len(network.blocks) if parameter in writers else 1
                draw(parameter, MATRIX_GAIN / math.sqrt(parameter.shape[1] * depth), generator)
            done.add(parameter)
    assert len(done) == len(list(network.parameters()))


def draw(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    """Normal values with mean 0 and this standard deviation."""
    parameter.copy_(torch.randn(parameter.shape, generator=generator, device=generator.device).mul_(std))
