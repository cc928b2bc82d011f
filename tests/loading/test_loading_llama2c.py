"""llama2.c files: a published model continues as published; a file written here comes back bit for bit."""

import struct

import numpy as np
import pytest
import torch

from tohum.errors import CheckpointError
from tohum.loading.empty import empty_network, take_over
from tohum.loading.llama2c import read_llama2c
from tohum.model.network import Network
from tohum.model.presets import PRESETS
from tohum.tokenizing.tokenizer import Tokenizer

STORY = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
         "she saw a big, red ball. She wanted to play with it, but it was too high.")


@torch.no_grad()
def greedy(network, ids, tokens):
    """The likeliest token again and again, the whole text read each time."""
    for _ in range(tokens):
        ids = [*ids, int(network.logits(torch.tensor([ids]))[0, -1].argmax())]
    return ids


def test_stories260k_continues_greedily_as_published(shared_data):
    config, weights = read_llama2c(shared_data / "models" / "stories260K.bin")
    assert (config.width, len(config.layers), config.layers[0].attention.kv_heads) == (64, 5, 4)
    tokenizer = Tokenizer.load(shared_data / "models" / "stories260K_tok512.bin")
    assert tokenizer.bos_id == 1
    ids = greedy(take_over(empty_network(config), weights, "cpu"), [tokenizer.bos_id], 200)
    assert tokenizer.decode(ids[1:]).strip().startswith(STORY)


def neighbours_from_halves(matrix, head_width):
    """The file's order of rows, written the slow way: row by row."""
    half = head_width // 2
    order = [start + pair + side * half for start in range(0, len(matrix), head_width)
             for pair in range(half) for side in (0, 1)]
    return matrix[order]


def write_llama2c(path, config, weights):
    """The format as run.c reads it, version 0."""
    layer, layers = config.layers[0], range(len(config.layers))
    attention = layer.attention
    vocabulary = config.vocab_size if config.tied else -config.vocab_size
    parts = [weights["embedding.token.weight"]]
    for name in ("attention_norm", "attention.query", "attention.key", "attention.value", "attention.output",
                 "feed_forward_norm", "feed_forward.gate", "feed_forward.down", "feed_forward.up"):
        for number in layers:
            part = weights[f"blocks.{number}.{name}.weight"]
            turned = name in ("attention.query", "attention.key")
            parts.append(neighbours_from_halves(part, attention.head_width) if turned else part)
    parts += [weights["final_norm.weight"], torch.full((config.context * attention.head_width,), 9.0)]
    if not config.tied:
        parts.append(weights["head.weight"])
    header = struct.pack("<7i", config.width, layer.feed_forward.width, len(config.layers), attention.heads,
                         attention.kv_heads, vocabulary, config.context)
    path.write_bytes(header + b"".join(part.numpy().astype("<f4").tobytes() for part in parts))


def tiny(tied):
    torch.manual_seed(0)
    config = PRESETS["tiny-llama"]().replace(tied=tied)
    layers = [layer.replace(attention=layer.attention.replace(rope_base=10_000.0, rope_scaling=None))
              for layer in config.layers]
    config = config.replace(layers=tuple(layers))
    return config, {name: torch.randn_like(value) for name, value in Network(config).state_dict().items()}


@pytest.mark.parametrize("tied", [True, False])
def test_llama2c_file_comes_back_bit_for_bit(tied, tmp_path):
    config, weights = tiny(tied)
    write_llama2c(tmp_path / "model.bin", config, weights)
    found, read = read_llama2c(tmp_path / "model.bin")
    assert found == config
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


@pytest.mark.parametrize(("change", "message"), [
    (lambda content: content[:20], "too short for the header"),
    (lambda content: content[:-4], "its header describes a file of"),
    (lambda content: content + b"more", "its header describes a file of"),
    (lambda content: struct.pack("<7i", 2**30, 2**30, 9999, 2, 2, 2**30, 2**30) + content[28:], "describes a file of"),
    (lambda content: struct.pack("<7i", 32, 64, 2, 5, 2, 256, 128) + content[28:], "not a llama2.c file"),
    (lambda content: struct.pack("<7i", 32, 64, -2, 4, 2, 256, 128) + content[28:], "not a llama2.c file"),
    (lambda content: struct.pack("<Ii", 0x616B3432, 2) + content[8:], "format version 2"),
    (lambda content: np.random.default_rng(0).bytes(5000), "not a llama2.c file"),
])
def test_llama2c_file_that_does_not_fit_its_header_is_refused_before_it_is_read(change, message, tmp_path):
    config, weights = tiny(True)
    path = tmp_path / "model.bin"
    write_llama2c(path, config, weights)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"model\.bin: .*{message}") as error:
        read_llama2c(path)
    assert "\n" not in str(error.value)
