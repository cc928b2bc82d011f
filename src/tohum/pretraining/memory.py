"""Memory of a run before it starts: model + recipe -> bytes part by part, and the largest micro-batch that fits."""

from collections import Counter
from dataclasses import dataclass

from tohum.kernels.matmul import multiplies_natively
from tohum.machine import free_bytes, resident_bytes
from tohum.model.config import ModelConfig
from tohum.model.counting import (
    ADAM_BYTES,
    BFLOAT16_BYTES,
    FLOAT32_BYTES,
    MicroBatch,
    attention_matrices,
    feed_forward_matrices,
    training_memory,
)
from tohum.pretraining.config import ResolvedRecipe
from tohum.pretraining.probe import Measured

FREE_SHARE = 0.9  # of the free memory that a forecast may plan with


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of a run, part by part; the peak is their sum, or what a trial of the same recipe showed."""

    program: int  # interpreter, libraries, data: what the process holds before the model is built
    parameters: int
    gradients: int
    optimizer: int
    activations: int  # of one micro-batch, with the low-precision copies of the weights
    loss: int  # logits of one chunk, and gradients of hidden states and head
    peak_bytes: int
    largest_micro_batch: int  # windows per pass that fit the free memory, at most those of a step

    def parts(self) -> dict[str, int]:
        """Named parts in the order of their appearance."""
        names = ("program", "parameters", "gradients", "optimizer", "activations", "loss")
        return {name: getattr(self, name) for name in names}


def forecast_memory(config: ModelConfig, recipe: ResolvedRecipe, measured: Measured | None) -> Memory:
    """Arithmetic from the configuration; a trial's peak replaces the sum where there was one."""
    t = recipe.training
    one, two = (parts_of(config, recipe, rows) for rows in (1, 2))
    parts = parts_of(config, recipe, t.micro_batch)
    program = 0 if t.device == "cuda" else resident_bytes() if measured is None else base_bytes(measured, parts)
    per_row = sum(two.values()) - sum(one.values())
    rest = program + sum(one.values()) - per_row
    largest = max(1, int((free_bytes(t.device) * FREE_SHARE - rest) / max(1, per_row)))
    total = program + sum(parts.values())
    return Memory(program=program, **parts, peak_bytes=measured.peak_memory_bytes if measured else total,
                  largest_micro_batch=min(largest, t.batch_tokens // recipe.data.max_length))


def base_bytes(measured: Measured, parts: dict[str, int]) -> int:
    """What a trial's peak holds beside the model's parts."""
    return max(0, measured.peak_memory_bytes - sum(parts.values()))


def parts_of(config: ModelConfig, recipe: ResolvedRecipe, rows: int) -> dict[str, int]:
    """The model's own parts for a micro-batch of `rows` windows."""
    t = recipe.training
    batch = MicroBatch(rows=rows, tokens=recipe.data.max_length, autocast=t.dtype == "bf16", device=t.device,
                       native=t.device == "cpu" and multiplies_natively())
    made = training_memory(config, batch, optimizer_bytes=ADAM_BYTES)
    optimizer = made.optimizer
    activations = made.weight_copies + made.activations
    if recipe.optimizer.kind == "muon":
        stacks = muon_stacks(config)
        optimizer -= sum(stacks.values()) * FLOAT32_BYTES  # one running mean instead of two
        product = BFLOAT16_BYTES if batch.autocast else FLOAT32_BYTES
        work = max(stacks.values()) * (2 * FLOAT32_BYTES + 3 * product)  # one stack while it is orthogonalised
        activations = max(activations, work)  # the activations are gone by then
    return {"parameters": made.parameters, "gradients": made.gradients, "optimizer": optimizer,
            "activations": activations, "loss": made.loss}


def muon_stacks(config: ModelConfig) -> dict[str, int]:
    """Numbers in the matrices of each kind over all layers: attention's four of width x width, the others."""
    stacks: Counter[str] = Counter()
    for layer in config.layers:
        stacks["attention"] += attention_matrices(layer.attention, config.width)
        stacks["feed_forward"] += feed_forward_matrices(layer.feed_forward, config.width)
    return dict(stacks)


