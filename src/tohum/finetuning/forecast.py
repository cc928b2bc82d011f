"""Memory of a fine-tuning run before its first step: what the process holds already, and what training adds.

    trained weights   gradient and two running means of each
    one pass          what the blocks keep for backward, from the first one that is trained
    loss              logits of one chunk and the gradient of the hidden vectors; a classifier has next to none
"""

import torch
from torch import nn

from tohum.finetuning.trainable import STATE_BYTES, Trainable
from tohum.kernels.matmul import multiplies_natively
from tohum.machine import free_bytes, peak_memory_bytes, resident_bytes
from tohum.model.classifier import Classifier, trunk
from tohum.model.counting import FLOAT32_BYTES, MicroBatch, training_memory
from tohum.model.loss import chunk_rows
from tohum.training.objective import Precision
from tohum.units import human_bytes


def forecast_bytes(module: nn.Module, trainable: Trainable, precision: Precision, pass_tokens: int) -> int:
    """Peak of the whole run; to be asked when the model is loaded and its frozen part is known.

    pass_tokens: of the largest pass with a gradient.
    """
    network, device = trunk(module), precision.device
    config, layers = network.config, len(network.config.layers)
    batch = MicroBatch(rows=1, tokens=pass_tokens, autocast=precision.dtype == torch.bfloat16, device=device.type,
                       native=device.type == "cpu" and multiplies_natively())
    made = training_memory(config, batch)
    trained_layers = (layers - min(trainable.first_block, layers)) / layers
    loss = 0
    if not isinstance(module, Classifier):
        trained = network.head_weight.requires_grad
        table = config.vocab_size * config.width * trained
        rows = min(pass_tokens, chunk_rows(config.vocab_size, device.type, batch.compute_bytes, frozen=not trained))
        number = batch.compute_bytes if device.type == "cpu" else FLOAT32_BYTES  # of logits, as in training_memory
        loss = number * rows * config.vocab_size + FLOAT32_BYTES * (pass_tokens * config.width + table)
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()
    added = trainable.trained * STATE_BYTES + int((made.activations + made.weight_copies) * trained_layers) + loss
    return max(peak_memory_bytes(device), held + added)


def described(expected: int, device: str, *, bytes_would_help: bool) -> str:
    """One line for a person; more where the memory is not there."""
    line = f"memory: about {human_bytes(expected)} expected at most"
    if expected > (free := free_bytes(device)):
        line += f"\nwarning: only {human_bytes(free)} are free; lower training.micro_tokens"
        line += ", or keep the frozen weights as bytes\nwith --set lora.base_format=int8" * bytes_would_help
    return line
