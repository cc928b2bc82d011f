"""Fused attention: the same context vectors as reference.py without ever writing the (T, S) weights to memory.

FlashAttention (arXiv:2205.14135) keeps a running maximum and sum while it walks over the keys; torch offers it as
scaled_dot_product_attention on CPU and GPU. It knows no soft-cap: capped layers are built with reference.py.
"""

import torch.nn.functional as F
from torch import Tensor

from tohum.attention.masks import Mask
from tohum.attention.reference import ScoreRule


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask, rule: ScoreRule,
           dropout: float = 0.0) -> Tensor:
    """query (B, H, T, E), key and value (B, G, S, E) -> context (B, H, T, E). `rule` has no soft-cap."""
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask.visible, dropout_p=dropout, is_causal=mask.causal, scale=rule.scale,
        enable_gqa=query.shape[1] != key.shape[1])
