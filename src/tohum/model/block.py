"""One transformer block: (B, T, D) -> (B, T, D); attention mixes positions, feed-forward mixes coordinates.

    x ----+--------------------------------------+--> + --> x      pre:  x + f(norm(x))     GPT-2, Llama
          |                                      |    ^            post: x + norm(f(x))     EXAONE 4
          +--> norm --> attention --> post norm --> dropout        both: x + norm(f(norm(x)))   Gemma 2

and the same again with the feed-forward layer. A norm that the spec does not ask for is an Identity.
"""

from torch import Tensor, nn

from tohum.attention.layer import Attention, CacheView
from tohum.attention.masks import Mask
from tohum.dropout import Dropout
from tohum.embedding.rotary import Rotation
from tohum.model.config import AttentionSpec, LayerSpec, ModelConfig
from tohum.model.feed_forward import build_feed_forward
from tohum.model.norm import RMSNorm, RMSNormAcrossHeads, build_norm


class Block(nn.Module):
    """x + attention, then + feed-forward, with norms before, after or on both sides."""

    def __init__(self, config: ModelConfig, spec: LayerSpec, *, explicit: bool = False):
        super().__init__()
        before, after = spec.norm_places in ("pre", "both"), spec.norm_places in ("post", "both")
        self.attention_norm = optional_norm(config, before)
        self.attention = build_attention(config, spec, explicit)
        self.attention_post_norm = optional_norm(config, after)
        self.feed_forward_norm = optional_norm(config, before)
        self.feed_forward = build_feed_forward(config.width, spec.feed_forward)
        self.feed_forward_post_norm = optional_norm(config, after)
        self.dropout = Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, x: Tensor, rotation: Rotation | None, mask: Mask,
                past: CacheView | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        context = self.attention(self.attention_norm(x), rotation, mask, past)
        x = x + self.dropout(self.attention_post_norm(context))
        hidden = self.feed_forward(self.feed_forward_norm(x))
        return x + self.dropout(self.feed_forward_post_norm(hidden))


def optional_norm(config: ModelConfig, wanted: bool) -> nn.Module:
    """The model's norm over D, or nothing."""
    return build_norm(config.width, config.norm) if wanted else nn.Identity()


def build_attention(config: ModelConfig, spec: LayerSpec, explicit: bool) -> Attention:
    """The attention layer with its QK-norms."""
    shape = spec.attention
    norms = build_head_norm(config, shape, shape.heads), build_head_norm(config, shape, shape.kv_heads)
    return Attention(config.width, shape, head_norms=norms, dropout=config.attention_dropout, explicit=explicit)


def build_head_norm(config: ModelConfig, shape: AttentionSpec, heads: int) -> nn.Module:
    """QK-norms are RMSNorms in every model that has them: over E, or over all heads together."""
    if not shape.qk_norm:
        return nn.Identity()
    if shape.qk_norm_across_heads:
        return RMSNormAcrossHeads(heads * shape.head_width, config.norm.eps)
    return RMSNorm(shape.head_width, config.norm.eps)
