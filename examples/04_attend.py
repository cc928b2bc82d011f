"""Attention by its definition and by the fused kernel, a picture of the weights, and the key/value cache."""

import torch

from tohum.attention.fused import attend
from tohum.attention.masks import build_masks
from tohum.attention.reference import ScoreRule, attend_with_weights
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS

torch.manual_seed(0)
words = ["the", "cat", "that", "chased", "the", "dogs", "was", "tired"]
T, rule = len(words), ScoreRule(scale=0.5)
query, key, value = torch.randn(3, 1, 2, T, 4)  # B = 1 row, H = 2 heads, T tokens, E = 4

# 1. weights = softmax(Q K^T * scale), each token reading itself and what was before; context = weights V.
(causal, near) = build_masks((None, 3), torch.zeros(1, T, dtype=torch.int64), None)
for name, mask in (("every earlier token", causal), ("a window of 3", near)):
    context, weights = attend_with_weights(query, key, value, mask, rule)
    print(f"{name}: percent that each word (row) reads of each word (column), head 0")
    for word, row in zip(words, weights[0, 0].tolist(), strict=True):
        print(f"{word:>8}", "".join(f"{100 * weight:5.0f}" if weight else "    ." for weight in row))
    # 2. The fused kernel gives the same context without ever storing the T x T weights.
    difference = (attend(query, key, value, mask, rule) - context).abs().max()
    print(f"  largest difference to the fused kernel: {difference:.0e}")

# 3. Writing one token at a time: keys and values of the past are kept, not computed again.
network = Network(PRESETS["tiny-qwen3"]()).eval().requires_grad_(False)
initialise(network, torch.Generator().manual_seed(0))
ids = torch.randint(256, (1, 12))
whole, cache, parts = network.logits(ids), network.new_cache(rows=1, length=12), []
for piece in ids.split([5, 1, 1, 5], dim=1):
    parts.append(network.logits(piece, cache=cache))
    cache.advance(piece.shape[1])
print(f"cache on = off: largest difference {(torch.cat(parts, dim=1) - whole).abs().max():.0e}, {cache.bytes:,} bytes")
