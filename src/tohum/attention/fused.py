"""Fused attention: the context vectors of reference.py without ever writing the (T, S) weights to memory.

FlashAttention (arXiv:2205.14135) keeps a running maximum and sum while it walks over the keys; torch has it
as scaled_dot_product_attention on CPU and GPU. It knows no soft-cap: capped layers use reference.py.
"""

import torch.nn.functional as F
from torch import Tensor

from tohum.attention.masks import Mask
from tohum.attention.narrow import NarrowAttention, suits
from tohum.attention.reference import ScoreRule, share_heads


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask, rule: ScoreRule,
           dropout: float = 0.0) -> Tensor:
    """query (B, H, T, E), key and value (B, G, S, E) -> context (B, H, T, E). `rule` has no soft-cap."""
    if suits(query, key, value, mask, dropout):
        return NarrowAttention.apply(query, key, value, mask.visible, rule.scale)
    if mask.visible is not None and query.device.type == "cuda":  # its kernel for masks knows no grouped heads
        key, value = share_heads(key, query.shape[1]), share_heads(value, query.shape[1])
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask.visible, dropout_p=dropout,
        is_causal=mask.causal and mask.visible is None, scale=rule.scale,
        enable_gqa=query.shape[1] != key.shape[1])
