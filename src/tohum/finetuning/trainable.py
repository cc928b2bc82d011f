"""What is trained: all weights, the last block, the head, or a LoRA adapter; everything else is frozen.

    head         classify: the new head alone · else: final norm and output head (not when it is the token table)
    last-block   the last block, the final norm, and the head that `head` means
    all          everything
    lora         adapters on the linears of the blocks, and a classifier's new head
"""

from dataclasses import dataclass

import torch
from torch import nn

from tohum.errors import ConfigError
from tohum.finetuning.config import LoraSection, Train
from tohum.lora.adapter import add_lora, chosen, lora_layers
from tohum.model.classifier import Classifier, trunk
from tohum.model.network import Network
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.units import human_bytes

STATE_BYTES = 12  # of a trained parameter beside its value: gradient and two running means in float32


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What came of the choice."""

    trained: int  # parameters
    total: int
    first_block: int  # no gradient passes below this block; its input can be computed once

    def describe(self) -> str:
        """One line for a person."""
        saved = (self.total - self.trained) * STATE_BYTES
        return (f"training {self.trained:,} of {self.total:,} parameters ({self.trained / self.total:.2%}); "
                f"gradients and optimizer need {human_bytes(saved)} less than for all of them")


def check_choice(network: Network, train: Train | None, lora: LoraSection, *, new_head: bool) -> None:
    """Before any work. Raises ConfigError for a choice that trains nothing. new_head: the run adds one of its own."""
    if train is None:
        chosen(network, lora.settled().targets)
    elif train == "head" and network.head is None and not new_head:
        raise ConfigError("--train head: this model's output head is its token table, which every layer reads; "
                          "use --train last-block or --lora-rank")


def freeze(module: nn.Module, train: Train | None, lora: LoraSection, generator: torch.Generator,
           tokenizer: Tokenizer) -> Trainable:
    """Set requires_grad all through the network, or add LoRA, by a choice that `check_choice` let through."""
    network, layers = trunk(module), len(trunk(module).blocks)
    if train is None:
        add_lora(network, lora.settled(), generator, tokenizer.ids_of(lora.new_tokens))
        first = 0 if lora.new_tokens else min(int(name.split(".")[1]) for name in lora_layers(network))
    else:
        module.requires_grad_(train == "all")
        first = {"all": 0, "last-block": layers - 1, "head": layers}[train]
        if train == "last-block":
            network.blocks[-1].requires_grad_(True)
        if train == "last-block" or (train == "head" and not isinstance(module, Classifier)):
            network.final_norm.requires_grad_(True)
            if network.head is not None:
                network.head.requires_grad_(True)
    if isinstance(module, Classifier):
        module.score.requires_grad_(True)
    counted = [(p.numel(), p.requires_grad) for p in module.parameters()]
    packed = sum(values.numel() for values in module.buffers() if values.dtype == torch.int8)
    return Trainable(trained=sum(n for n, trains in counted if trains), total=packed + sum(n for n, _ in counted),
                     first_block=first)
