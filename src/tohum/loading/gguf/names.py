"""llama.cpp's names of tensors, and how some of them hold several of our parameters."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from tohum.loading.llama2c import halves_from_neighbours
from tohum.loading.names import SAME, Rule, Shape, Table, Transform, same
from tohum.model.config import ModelConfig

KINDS = ("weight", "bias")
TURNED = (("attn_q", "attention.query"), ("attn_k", "attention.key"))  # matrices that rotary positions follow
ATTENTION = (("attn_v", "attention.value"), ("attn_output", "attention.output"))
NORMS = (("attn_norm", "attention_norm"), ("ffn_norm", "feed_forward_norm"))
POST_NORMS = (("post_attention_norm", "attention_post_norm"), ("post_ffw_norm", "feed_forward_post_norm"))
QK_NORMS = (("attn_q_norm", "attention.query_norm"), ("attn_k_norm", "attention.key_norm"))
GATED = (("ffn_gate", "feed_forward.gate"), ("ffn_up", "feed_forward.up"), ("ffn_down", "feed_forward.down"))
EXPERTS = (("ffn_gate_exps", "gate"), ("ffn_up_exps", "up"), ("ffn_down_exps", "down"))

# One matrix per expert, stacked: (experts, out, in).
STACKED = Transform(read=lambda stored, shapes: list(stored.unbind(0)), write=lambda ours: torch.stack(list(ours)),
                    shape=lambda shapes: (len(shapes), *shapes[0]))


def plain(parts: Iterable[tuple[str, str]]) -> list[Rule]:
    """Tensors of every layer that are stored as they are, with their biases."""
    return [same(f"blk.{{}}.{theirs}.{kind}", f"blocks.{{}}.{ours}.{kind}") for theirs, ours in parts for kind in KINDS]


def neighbours(head_width: int) -> list[Rule]:
    """Query and key whose rows stand in the order of neighbouring rotary pairs, as files of a Llama have them."""
    turned = halves(head_width)
    return [Rule(f"blk.{{}}.{theirs}.{kind}", (f"blocks.{{}}.{ours}.{kind}",), turned)
            for theirs, ours in TURNED for kind in KINDS]


def experts(config: ModelConfig) -> list[Rule]:
    """A router, and the matrices of all experts of a layer in one tensor."""
    spec = next((layer.feed_forward.experts for layer in config.layers if layer.feed_forward.experts), None)
    if spec is None:
        return []
    return [same("blk.{}.ffn_gate_inp.weight", "blocks.{}.feed_forward.router.weight"),
            *(Rule(f"blk.{{}}.{theirs}.weight", tuple(f"blocks.{{}}.feed_forward.experts.{number}.{part}.weight"
                                                      for number in range(spec.count)), STACKED)
              for theirs, part in EXPERTS)]


def table(rules: Iterable[Rule]) -> Table:
    """A whole table: these layers between token table and head."""
    return Table(token="token_embd.weight", head="output.weight",
                 rules=(same("token_embd.weight", "embedding.token.weight"), *rules,
                        *(same(f"output_norm.{kind}", f"final_norm.{kind}") for kind in KINDS),
                        same("output.weight", "head.weight")))


def halves(head_width: int) -> Transform:
    """Rows of neighbouring rotary pairs <-> rows in the order of halves (see embedding/rotary.py)."""
    def read(stored: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        rows = stored.view(1, len(stored), -1)  # a bias is a matrix of one column
        return [halves_from_neighbours(rows, head_width).view(stored.shape)]

    def write(ours: Sequence[Tensor]) -> Tensor:
        rows = ours[0].view(-1, 2, head_width // 2, *ours[0].shape[1:])
        return rows.transpose(1, 2).reshape(ours[0].shape)

    return Transform(read=read, write=write, shape=SAME.shape)
