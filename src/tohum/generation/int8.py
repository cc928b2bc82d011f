"""Bytes for decoding: a network whose matrices are float -> the same network with a byte per number (model/int8.py).

One new token reads every matrix once and computes little with it, so decoding is as fast as memory is: with a quarter
of the bytes it goes up to four times as fast. Decoding multiplies bytes with float32 vectors (fast.py); where that is
not to be had, torch's kernel does it.
"""

from torch import nn

from tohum.model.int8 import Int8Linear
from tohum.model.network import Network


def decode_in_bytes(network: Network) -> Network:
    """Replace the matrices of the blocks, and give the network a head of bytes; in place, for generation alone.

    A tied token table stays float beside its copy in bytes: looking up a token reads one row of it.
    """
    for name, module in list(network.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(network.blocks.get_submodule(parent), child, Int8Linear.of(module.weight, module.bias))
    network.decoding_head = Int8Linear.of(network.head_weight, None)
    if network.head is not None:
        network.head = network.decoding_head
    return network
