"""OpenAI's original GPT-2 files -> ModelConfig and parameters.

    checkpoint  model.ckpt.index  model.ckpt.data-00000-of-00001      written by TensorFlow
    hparams.json  encoder.json  vocab.bpe                             sizes; the tokenizer

(github.com/openai/gpt-2, src/model.py and download_model.py.) Matrices are those of a convolution of width one,
(1, in, out); query, key and value are one of them. The head is tied.
"""

from math import prod
from pathlib import Path

from torch import Tensor

from tohum.errors import CheckpointError
from tohum.loading.empty import check_size, empty_network
from tohum.loading.keys import Keys, read_json
from tohum.loading.names import FUSED, FUSED_TRANSPOSED, SAME, TRANSPOSED, Rule, Table, Transform, read_parameters, same
from tohum.loading.tensor_bundle import TensorBundle
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec

HPARAMS, PREFIX = "hparams.json", "model.ckpt"
NORM_EPS = 1e-5  # fixed in model.py
QKV = tuple(f"blocks.{{}}.attention.{part}" for part in ("query", "key", "value"))


def convolution(inner: Transform) -> Transform:
    """A matrix behind a first dimension of one."""
    return Transform(read=lambda stored, shapes: inner.read(stored[0], shapes),
                     write=lambda ours: inner.write(ours)[None],
                     shape=lambda shapes: (1, *inner.shape(shapes)))


def linear(theirs: str, ours: tuple[str, ...]) -> list[Rule]:
    """Matrix and bias of a layer."""
    matrix, bias = (TRANSPOSED, SAME) if len(ours) == 1 else (FUSED_TRANSPOSED, FUSED)
    return [Rule(f"model/h{{}}/{theirs}/w", tuple(f"{name}.weight" for name in ours), convolution(matrix)),
            Rule(f"model/h{{}}/{theirs}/b", tuple(f"{name}.bias" for name in ours), bias)]


def norm(theirs: str, ours: str) -> list[Rule]:
    """Factor and bias of a norm."""
    return [same(f"model/{theirs}/g", f"{ours}.weight"), same(f"model/{theirs}/b", f"{ours}.bias")]


TABLE = Table(token="model/wte", head="", ignored=("global_step",), rules=(
    same("model/wte", "embedding.token.weight"), same("model/wpe", "embedding.position.weight"),
    *norm("h{}/ln_1", "blocks.{}.attention_norm"), *norm("h{}/ln_2", "blocks.{}.feed_forward_norm"),
    *linear("attn/c_attn", QKV), *linear("attn/c_proj", ("blocks.{}.attention.output",)),
    *linear("mlp/c_fc", ("blocks.{}.feed_forward.up",)), *linear("mlp/c_proj", ("blocks.{}.feed_forward.down",)),
    *norm("ln_f", "final_norm")))


def is_openai(folder: Path) -> bool:
    """Whether a folder is of this kind."""
    return (folder / HPARAMS).is_file() and not (folder / "config.json").is_file()


def read_openai(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and parameters. Raises CheckpointError."""
    config = read_config(Keys(read_json(folder / HPARAMS), str(folder / HPARAMS)))
    prefix = folder / PREFIX
    if not prefix.with_name(f"{PREFIX}.index").is_file():
        raise CheckpointError(f"{prefix}.index: no such file; OpenAI's folders hold it beside {HPARAMS}")
    stored = TensorBundle(prefix)
    check_size(stored.where, config, sum(prod(shape) for shape in stored.shapes.values()))
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_network(config).state_dict().items()}
    return config, dict(read_parameters(TABLE, stored, len(config.layers), shapes))


def read_config(keys: Keys) -> ModelConfig:
    """hparams.json -> ModelConfig."""
    width, heads, layers = keys.integer("n_embd"), keys.integer("n_head"), keys.layers("n_layer", 0)
    if heads < 1 or width % heads:
        raise CheckpointError(f"{keys.where}: n_embd = {width} is not a multiple of n_head = {heads}")
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_width=width // heads, bias=True, output_bias=True)
    hidden = FeedForwardSpec(kind="gelu_tanh", width=4 * width, bias=True)
    config = ModelConfig(vocab_size=keys.integer("n_vocab"), width=width, context=keys.integer("n_ctx"),
                         layers=(LayerSpec(attention=attention, feed_forward=hidden),) * layers,
                         norm=NormSpec(kind="layer", eps=NORM_EPS, bias=True), learned_positions=True)
    keys.finish()
    return config
