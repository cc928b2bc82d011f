"""LoRA over a base of bytes: the figures of the same base written out, which is never kept."""

import gc
import weakref

import pytest
import torch
from benchmarks.families import CASES, perturbed, some_ids

from tohum.finetuning.adapter_folder import AdapterFiles, Base, load_adapted
from tohum.generation.mode import evaluating
from tohum.loading.folder import load_model
from tohum.lora.adapter import add_lora, linears, lora_layers
from tohum.lora.config import LoraConfig
from tohum.lora.layer import LoraOverBytes
from tohum.lora.merge import merge
from tohum.model import int8
from tohum.model.int8 import Int8Linear, to_bytes

FAMILIES = ("gpt2", "llama-grouped-tied", "llama-biases-geglu", "qwen3-moe")


@pytest.fixture(params=FAMILIES)
def folder(request, tmp_path):
    perturbed(CASES[request.param]()).float().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def written_out_base(folder):
    """The float network whose weights are what the bytes say."""
    network = load_model(folder).network
    for linear in linears(network).values():
        linear.weight.data = Int8Linear.of(linear.weight, None).weight
    return network


def with_lora(network, kind="lora"):
    add_lora(network, LoraConfig(rank=3, kind=kind), torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for layer in lora_layers(network).values():
        layer.lora_b.data = torch.randn(layer.lora_b.shape, generator=generator) * 0.1
    return network


def test_a_model_is_read_with_its_linears_as_bytes_and_all_else_as_it_was(folder):
    plain, packed = (load_model(folder, int8=int8) for int8 in (False, True))
    others = dict(plain.network.named_parameters())
    for name, linear in linears(packed.network).items():
        assert isinstance(linear, Int8Linear)
        values, factors = to_bytes(others.pop(f"{name}.weight"))
        assert torch.equal(linear.values, values)
        assert torch.equal(linear.factors, factors)
        bias = others.pop(f"{name}.bias", None)
        assert (linear.bias is None) == (bias is None)
        assert bias is None or torch.equal(linear.bias, bias)
    left = dict(packed.network.named_parameters())
    assert others.keys() == left.keys()
    assert all(torch.equal(value, left[name]) for name, value in others.items())


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_logits_and_gradients_are_those_of_the_base_written_out(folder, kind):
    ids, found = some_ids(), []
    for network in (with_lora(written_out_base(folder), kind), with_lora(load_model(folder, int8=True).network, kind)):
        logits = network.logits(ids)
        logits.square().mean().backward()
        found.append((logits, {name: p.grad for name, p in network.named_parameters() if ".lora_" in name}))
    (expected, wanted), (ours, grads) = found
    assert torch.equal(ours, expected)
    assert wanted.keys() == grads.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=1e-7 * max(1, float(grad.abs().max())))


def test_no_matrix_written_out_is_kept_for_the_backward_pass(tmp_path, monkeypatch):
    perturbed(CASES["llama-grouped-tied"]()).float().save_pretrained(tmp_path / "base")
    network = with_lora(load_model(tmp_path / "base", int8=True).network)
    made, make = [], int8.written_out

    def noted(*given):
        weight = make(*given)
        made.append(weakref.ref(weight))
        return weight

    monkeypatch.setattr(int8, "written_out", noted)
    logits = network.logits(some_ids())
    gc.collect()
    assert len(made) == len(linears(network))
    assert not any(weight() is not None for weight in made)
    logits.sum().backward()
    assert len(made) > len(linears(network))  # made again


def test_an_adapter_trained_over_bytes_is_one_of_the_base_itself(tmp_path):
    perturbed(CASES["gpt2"]()).float().save_pretrained(tmp_path / "base")
    network, config = load_model(tmp_path / "base", int8=True).network, LoraConfig(rank=3)
    with_lora(network)
    files = AdapterFiles(base=Base.of(tmp_path / "base"), lora=config, tokenizer=NoTokenizer())
    (tmp_path / "adapter").mkdir()
    files.save(tmp_path / "adapter", network)
    opened = load_adapted(tmp_path / "adapter")[0].network
    wanted = lora_layers(network)
    for name, layer in lora_layers(opened).items():
        update = wanted[name].lora_b @ wanted[name].lora_a * wanted[name].scale
        torch.testing.assert_close(layer.lora_b @ layer.lora_a * layer.scale, update)
        assert type(layer) is not LoraOverBytes
    exact, rough = opened.logits(some_ids()), network.logits(some_ids())
    assert 0 < (exact - rough).abs().mean() < 0.05 * exact.abs().mean()


class NoTokenizer:
    """Random weights have none."""

    bos_id = eos_id = pad_id = None

    def save(self, folder):
        """Nothing."""


def test_few_vectors_without_gradients_pass_through_the_bytes(tmp_path):
    perturbed(CASES["llama-grouped-tied"]()).float().save_pretrained(tmp_path / "base")
    network, ids = with_lora(load_model(tmp_path / "base", int8=True).network), some_ids()[:1, :8]
    exact = network.logits(ids)
    with evaluating(network), torch.no_grad():
        rough = network.logits(ids)
    assert (exact - rough).abs().max() < 0.03 * exact.abs().max()


def test_a_base_of_bytes_takes_no_update(tmp_path):
    perturbed(CASES["gpt2"]()).float().save_pretrained(tmp_path / "base")
    with pytest.raises(TypeError, match="merge into the model"):
        merge(with_lora(load_model(tmp_path / "base", int8=True).network))
