"""Resolved recipe + data -> the parts that the training loop works on."""

from dataclasses import dataclass

import torch

from tohum.data_sampling.loader import TrainBatches
from tohum.data_sampling.shards import DataFolder
from tohum.files import sha256_json
from tohum.model.config import ModelConfig
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.pretraining.config import ResolvedRecipe
from tohum.pretraining.resolve import plain_recipe
from tohum.seeding import generator
from tohum.training.checkpoint import Identity, WholeModel
from tohum.training.loop import TrainPlan
from tohum.training.objective import Precision, language_objective
from tohum.training.optimizer import Optimizer
from tohum.training.ranks import Ranks
from tohum.training.step import Parts

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A run that is ready to start."""

    network: Network
    parts: Parts
    precision: Precision
    plan: TrainPlan
    identity: Identity


def build(recipe: ResolvedRecipe, config: ModelConfig, data: DataFolder, ranks: Ranks) -> Built:
    """Network with initial weights, optimizer, batches and objective for a resolved recipe."""
    t = recipe.training
    torch.set_num_threads(t.threads)
    precision = Precision(dtype=DTYPES[t.dtype], device=torch.device(t.device))
    network = Network(config)
    initialise(network, generator(t.seed, "init"))
    network = network.to(device=precision.device, dtype=torch.float64 if t.dtype == "fp64" else torch.float32)
    network.train()
    batches = TrainBatches(data, max_length=recipe.data.max_length, stride=recipe.data.stride,
                           packing=recipe.data.packing, seed=t.seed, micro_batch=t.micro_batch,
                           rows_per_step=t.batch_tokens // recipe.data.max_length, rank=ranks.rank,
                           world_size=ranks.world_size)
    objective = language_objective(network, precision, compiled=t.compile)
    optimizer = Optimizer(network, recipe.optimizer.settled(), products=precision.dtype)
    parts = Parts(network=network, optimizer=optimizer, batches=batches, objective=objective, ranks=ranks)
    settings = {"data fingerprint": data.fingerprint, "config": sha256_json(plain_recipe(recipe))}
    identity = Identity(files=WholeModel(config=config, tokenizer=data.tokenizer), settings=settings)
    return Built(network=network, parts=parts, precision=precision, plan=loop_plan(recipe), identity=identity)


def loop_plan(recipe: ResolvedRecipe) -> TrainPlan:
    """The loop's numbers out of a resolved recipe."""
    t = recipe.training
    return TrainPlan(steps=t.steps, schedule=recipe.schedule, seed=t.seed, clip_norm=t.clip_norm,
                     report_every=t.report_every, eval_every=t.eval_every, save_every=t.save_every,
                     sample_every=t.sample_every, keep_last=t.keep_last, patience=t.patience)
