"""OpenAI's GPT-2 folders: TensorFlow's checkpoint read without TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tohum.errors import CheckpointError
from tohum.loading.folder import load_model
from tohum.loading.importing import import_model
from tohum.loading.openai import read_openai
from tohum.loading.tensor_bundle import TensorBundle, masked_crc
from tohum.model.network import Network
from tohum.model.presets import gpt2
from tohum.tokenizing.training import train

from .bundle import moved, write_bundle, write_openai

TINY = gpt2(layers=2, heads=2, width=32).replace(vocab_size=300, context=40, dropout=0.0, attention_dropout=0.0)
TENSORFLOW = os.environ.get("TOHUM_TENSORFLOW_PYTHON")  # a Python that has tensorflow, in an environment of its own


@pytest.fixture
def network():
    return moved(Network(TINY))


def test_checksums_are_those_of_leveldb():
    assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_an_openai_folder_becomes_a_model_folder(tmp_path, network):
    words = train(["the seed waits under the snow and it's 2024 " * 9], kind="bpe", vocab_size=280, pattern="gpt-2")
    stored = write_openai(tmp_path / "117M", network, words)
    assert stored["model/h1/attn/c_attn/w"].shape == (1, 32, 96)
    done = import_model(str(tmp_path / "117M"), tmp_path / "out")
    assert done.family == "gpt2"
    ours = load_model(tmp_path / "out")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in ours.network.state_dict().items())
    assert ours.tokenizer.encode("the snow's 2024") == words.encode("the snow's 2024")


def test_the_logits_are_those_of_gpt2(tmp_path, network):
    """Against transformers, whose names OpenAI's follow: h0/attn/c_attn/w is h.0.attn.c_attn.weight."""
    stored = write_openai(tmp_path, network)
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=40, n_embd=32, n_layer=2, n_head=2)).eval()
    kinds = {"w": "weight", "g": "weight", "b": "bias", "wte": "wte.weight", "wpe": "wpe.weight"}
    state = {}
    for name, tensor in stored.items():
        parts = name.removeprefix("model/").split("/")
        path = ".".join([*(f"h.{part[1:]}" if part[1:].isdigit() else part for part in parts[:-1]), kinds[parts[-1]]])
        state[f"transformer.{path}"] = tensor[0] if tensor.ndim == 3 else tensor
    theirs.load_state_dict(state | {"lm_head.weight": state["transformer.wte.weight"]})
    config, weights = read_openai(tmp_path)
    ours = Network(config).eval()
    ours.load_state_dict(weights)
    ids = torch.randint(0, 300, (2, 40))
    with torch.no_grad():
        assert (ours.logits(ids) - theirs(ids).logits).abs().max() < 1e-5


def test_numbers_of_every_type_come_back(tmp_path):
    values = {"a/half": np.arange(6, dtype=np.float16).reshape(2, 3), "a/long": np.array(7, dtype=np.int64),
              "b": np.linspace(0, 1, 5, dtype=np.float64), **{f"many/{k:03}": np.float32([k]) for k in range(100)}}
    write_bundle(tmp_path / "m", values)
    bundle = TensorBundle(tmp_path / "m")
    assert set(bundle.shapes) == set(values)
    assert all(np.array_equal(bundle.tensor(name).numpy(), value) for name, value in values.items())


@pytest.mark.parametrize(("damage", "said"), [
    (lambda index, data: (index[:-1], data), "does not end as one"),
    (lambda index, data: (index[:20] + bytes([index[20] ^ 1]) + index[21:], data), "checksum"),
    (lambda index, data: (index, data[:-100]), "does not lie inside"),
    (lambda index, data: (index[:-48] + b"\xff" * 40 + index[-8:], data), "does not end"),
])
def test_damaged_checkpoints_are_refused(tmp_path, network, damage, said):
    write_openai(tmp_path, network)
    index, data = tmp_path / "model.ckpt.index", tmp_path / "model.ckpt.data-00000-of-00001"
    for path, content in zip((index, data), damage(index.read_bytes(), data.read_bytes()), strict=True):
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        read_openai(tmp_path)


def test_other_sizes_and_missing_files_are_refused(tmp_path, network):
    write_openai(tmp_path, network)
    sizes = json.loads((tmp_path / "hparams.json").read_text())
    (tmp_path / "hparams.json").write_text(json.dumps(sizes | {"n_layer": 3}))
    with pytest.raises(CheckpointError, match="12 tensors missing"):
        read_openai(tmp_path)
    (tmp_path / "hparams.json").write_text(json.dumps(sizes | {"n_head": 5}))
    with pytest.raises(CheckpointError, match="not a multiple"):
        read_openai(tmp_path)
    (tmp_path / "hparams.json").write_text(json.dumps(sizes))
    (tmp_path / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        read_openai(tmp_path)


WRITE = """
import sys, numpy, tensorflow as tf
values = numpy.load(sys.argv[1])
graph = tf.Graph()
with graph.as_default(), tf.compat.v1.Session() as session:
    for name in values.files:
        tf.compat.v1.get_variable(name.replace("|", "/"), initializer=values[name])
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.train.Saver().save(session, sys.argv[2], write_meta_graph=False)
"""


@pytest.mark.huge
@pytest.mark.skipif(not TENSORFLOW, reason="TOHUM_TENSORFLOW_PYTHON names no Python with tensorflow")
def test_tensorflow_writes_what_our_writer_writes(tmp_path, network):
    """OpenAI's variables saved by TensorFlow itself: read to the same bits; and the same bytes as our writer's."""
    stored = write_openai(tmp_path / "ours", network)
    np.savez(tmp_path / "v.npz", **{name.replace("/", "|"): value.numpy() for name, value in stored.items()})
    subprocess.run([TENSORFLOW, "-c", WRITE, str(tmp_path / "v.npz"), str(tmp_path / "theirs" / "model.ckpt")],
                   check=True, timeout=300, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    (tmp_path / "theirs" / "hparams.json").write_bytes((tmp_path / "ours" / "hparams.json").read_bytes())
    config, weights = read_openai(tmp_path / "theirs")
    assert config == network.config
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in weights.items())
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes(), name


def test_the_reader_needs_no_tensorflow():
    code = "import sys, tohum.loading.openai; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent).returncode == 0
