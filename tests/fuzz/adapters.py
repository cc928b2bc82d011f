"""Adapter folders under fuzzing: a small base in memory, and PEFT's two files beside each other, one of them damaged."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch

from tohum.finetuning.adapter_folder import places, token_module
from tohum.loading import llama
from tohum.loading.weights import write_file
from tohum.lora.adapter import add_lora, attach, current
from tohum.lora.config import LoraConfig
from tohum.lora.store import Stored, read_adapter, write_adapter
from tohum.model.network import Network


def adapter_reader(network: Network, folder: Path) -> Callable[[Path], object]:
    """Write a whole adapter with a trained token row into `folder`; answers what reads and attaches it."""
    tuned = copy.deepcopy(network)
    add_lora(tuned, LoraConfig(rank=2, targets=("query", "down")), torch.Generator().manual_seed(0), [3])
    spots, table = places(network, llama.TABLE), token_module(llama.TABLE)
    stored = Stored(adapter=current(tuned, LoraConfig(rank=2)), base="base", task="CAUSAL_LM")
    write_adapter(folder, stored, spots, table, write_file)
    return lambda damaged: attach(copy.deepcopy(network), read_adapter(damaged, spots, table).adapter)
