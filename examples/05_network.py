"""One network for every family: a model is a list of layer specs; sizes are known before it is built."""

import torch

from tohum.model.counting import MicroBatch, cache_bytes, flops_per_token, parameters, training_memory
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth
from tohum.units import human_bytes, human_count

# 1. Counting needs no weights: the table takes a moment, also for models that would not fit here.
print(f"{'model':16}{'parameters':>12}{'FLOPs/token':>13}{'cache of 1k':>13}")
for name in ("gpt2-124m", "gpt2-1558m", "gpt-config-124m", "llama-3.2-1b", "qwen3-0.6b"):
    config = PRESETS[name]()
    print(f"{name:16}{human_count(parameters(config)):>12}{human_count(flops_per_token(config, 1024)):>13}"
          f"{human_bytes(cache_bytes(config, rows=1, length=1024)):>13}")

# 2. The default family has one dial, and what a training step needs is known part by part.
config = from_depth(2, vocab_size=512, context=64)
memory = training_memory(config, MicroBatch(rows=8, tokens=64))
print(f"\ndepth 2: {parameters(config):,} parameters, {human_bytes(memory.total)} in training:")
for part in ("parameters", "gradients", "optimizer", "activations", "loss"):
    print(f"  {part:12}{human_bytes(getattr(memory, part)):>10}")

# 3. Build it: parts are chosen here, once; what a spec does not ask for is an Identity.
network = Network(config)
initialise(network, torch.Generator().manual_seed(0))
print("\n", network.blocks[0], sep="")
assert sum(p.numel() for p in network.parameters()) == parameters(config)

# 4. Run it: the first loss is that of guessing, ln(512) = 6.24.
ids = torch.randint(512, (4, 64), generator=torch.Generator().manual_seed(1))
logits = network.logits(ids)  # (4, 64, 512)
loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
print(f"\nlogits {tuple(logits.shape)}, loss before any training {loss.item():.2f}")
