"""Every family as GGUF: what is written reads back to the same configuration and the same bits."""

import pytest
import torch
from benchmarks.families import CASES, READ_ONLY, perturbed

from tohum.errors import ConfigError
from tohum.gguf import read_gguf
from tohum.loading.folder import load_model
from tohum.loading.gguf.architectures import architecture_for, read_gguf_model
from tohum.loading.gguf.head import shortest
from tohum.loading.gguf.write import write_gguf
from tohum.model.presets import from_depth

WRITTEN = {"gpt2": "gpt2", "llama-multi-head": "llama", "llama-grouped-tied": "llama", "llama-grouped-untied": "llama",
           "llama-3-scaling": "llama", "llama-wide-heads": "llama", "mistral-no-window": "llama", "smollm3": "smollm3",
           "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma3", "gemma3-long": "gemma3",
           "olmo2": "olmo2", "mixtral": "llama", "qwen3-moe": "qwen3moe", "phi3": "llama"}
# What llama.cpp computes otherwise: windows, scales, activations, caps, biases and layers that it has no key for.
REFUSED = ["gpt2-untied-narrow", "llama-biases-geglu", "mistral-window", "mixtral-window", "smollm3-windows",
           "qwen2-windows-tied", "qwen3-windows", "qwen3-tied-eps", "gemma2-no-caps", "olmo2-tied",
           "qwen3-moe-dense-layers", "phi3-window"]


def model_of(name, folder):
    """A tiny model of transformers', read by us."""
    perturbed((CASES | READ_ONLY)[name]()).save_pretrained(folder)
    return load_model(folder)


def test_every_case_is_named_here():
    assert {*WRITTEN, *REFUSED} == {*CASES, *READ_ONLY}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_reads_back_to_the_same_bits(tmp_path, name):
    ours = model_of(name, tmp_path / "hf")
    write_gguf(tmp_path / "m.gguf", ours.config, ours.network.state_dict(), dtype="fp32", name=name, vocabulary={})
    assert read_gguf(tmp_path / "m.gguf").values["general.architecture"] == WRITTEN[name]
    config, weights = read_gguf_model(tmp_path / "m.gguf")
    assert config == ours.config.replace(dropout=0.0, attention_dropout=0.0)
    expected = ours.network.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="export it with --to hf"):
        architecture_for(model_of(name, tmp_path / "hf").config)


def test_our_own_default_is_a_qwen3_to_llama_cpp():
    assert architecture_for(from_depth(2, 500, 64))[0].name == "qwen3"


@pytest.mark.parametrize("value", [1e-5, 1e-6, 10_000.0, 0.0625, 1 / 3, 500_000.0])
def test_numbers_come_back_as_they_were_typed(value):
    stored = torch.tensor(value, dtype=torch.float32).item()
    found = shortest(stored)
    assert torch.tensor(found, dtype=torch.float32).item() == stored
    assert len(repr(found)) <= len(repr(stored))
