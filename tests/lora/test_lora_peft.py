"""Acceptance: LoRA against peft, in float32: forward, gradients, merge, files in both directions."""

import json
import warnings

import pytest
import torch
from benchmarks.families import CASES, perturbed, some_ids
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

from tohum.errors import CheckpointError, ConfigError
from tohum.finetuning.adapter_folder import load_adapted, places, token_module
from tohum.loading.folder import load_model, read_family
from tohum.loading.weights import write_file
from tohum.lora.adapter import add_lora, attach, current, detach, lora_layers
from tohum.lora.config import LoraConfig
from tohum.lora.merge import merge
from tohum.lora.store import Stored, read_adapter, write_adapter

FAMILIES = ("gpt2", "llama-grouped-tied", "llama-biases-geglu", "mistral-window", "smollm3", "qwen2", "qwen3", "gemma2", "gemma3",
            "olmo2")
KINDS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
pytestmark = pytest.mark.filterwarnings("ignore")


def base(case, folder):
    """A perturbed model of transformers, saved; and ours of the same weights."""
    theirs = perturbed(CASES[case]()).float()
    theirs.save_pretrained(folder)
    ours = load_model(folder)
    return theirs, ours.network, read_family(folder)[0].table


def adapted(theirs, targets, kind="lora", **more):
    """peft's adapter with random B (and lengths), so that it says something."""
    fused = any("c_attn" in name for name in targets)
    config = PeftConfig(r=4, lora_alpha=12, target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out=fused,
                        **KINDS[kind], **more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(theirs, config)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
        if "magnitude" in name:
            parameter.data *= 1 + 0.2 * torch.rand(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", FAMILIES)
def test_an_adapter_of_peft_gives_the_same_logits_gradients_and_merged_weights(case, kind, tmp_path):
    theirs, network, table = base(case, tmp_path / "base")
    places_here = places(network, table)
    model = adapted(theirs, [place.theirs for place in places_here], kind)
    model.save_pretrained(tmp_path / "adapter")
    attach(network, read_adapter(tmp_path / "adapter", places_here, token_module(table)).adapter)
    ids = some_ids()
    expected = model(ids).logits
    plain = load_model(tmp_path / "base").network.logits(ids)
    assert (expected - plain).abs().max() > 0.1  # the adapter changes what the model says
    torch.testing.assert_close(network.logits(ids), expected, rtol=0, atol=1e-5 * max(1, float(expected.abs().max())))

    for output in (network.logits(ids), expected):
        output.square().mean().backward()
    wanted = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for place in places_here:
        if len(place.ours) == 1:
            layer = network.get_submodule(place.ours[0])
            stem = f"base_model.model.{place.theirs}"
            for grad, key in ((layer.lora_a.grad, f"{stem}.lora_A.default.weight"),
                              (layer.lora_b.grad, f"{stem}.lora_B.default.weight")):
                torch.testing.assert_close(grad, wanted[key], rtol=1e-4, atol=1e-5)

    drift = merge(network)
    assert drift.layers > 0
    merged = model.merge_and_unload()
    torch.testing.assert_close(network.logits(ids), merged(ids).logits, rtol=0,
                               atol=2e-5 * max(1, float(expected.abs().max())))
    assert not lora_layers(network)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", FAMILIES)
@torch.no_grad()
def test_an_adapter_of_ours_opens_in_peft_with_the_same_logits(case, kind, tmp_path):
    theirs, network, table = base(case, tmp_path / "base")
    spots = places(network, table)
    if kind == "dora" and any(len(place.ours) > 1 for place in spots):
        pytest.skip("this family stores several linears as one, for which PEFT has no DoRA of ours")
    config = LoraConfig(rank=3, alpha=9, kind=kind)
    add_lora(network, config, torch.Generator().manual_seed(0))
    for number, layer in enumerate(lora_layers(network).values()):
        layer.lora_b.normal_(generator=torch.Generator().manual_seed(number)).mul_(0.2)
        if layer.lora_m is not None:
            layer.lora_m.mul_(1.1)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", Stored(adapter=current(network, config), base=str(tmp_path / "base"),
                                               task="CAUSAL_LM"), spots, token_module(table), write_file)
    ids = some_ids()
    ours = network.logits(ids)
    opened = PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    torch.testing.assert_close(opened(ids).logits, ours, rtol=0, atol=1e-5 * max(1, float(ours.abs().max())))
    again = load_adapted(tmp_path / "adapter")[0].network
    torch.testing.assert_close(again.logits(ids), ours, rtol=0, atol=1e-5 * max(1, float(ours.abs().max())))


def test_a_part_of_the_linears_can_be_chosen_and_others_get_no_gradient(tmp_path):
    _, network, _ = base("llama-grouped-tied", tmp_path / "base")
    add_lora(network, LoraConfig(rank=2, targets=("query", "blocks.1.feed_forward.*")), torch.Generator())
    assert set(lora_layers(network)) == {"blocks.0.attention.query", "blocks.1.attention.query",
                                         "blocks.1.feed_forward.gate", "blocks.1.feed_forward.up",
                                         "blocks.1.feed_forward.down"}
    network.logits(some_ids()).sum().backward()
    assert all(p.grad is None for name, p in network.named_parameters() if ".lora_" not in name)
    assert all(p.grad is not None for name, p in network.named_parameters() if ".lora_" in name)


def test_a_target_that_matches_nothing_is_refused_with_the_nearest_name(tmp_path):
    _, network, _ = base("llama-grouped-tied", tmp_path / "base")
    with pytest.raises(ConfigError, match=r"'qery' matches no linear of this model; did you mean 'query'"):
        add_lora(network, LoraConfig(targets=("qery",)), torch.Generator())


def test_adapters_are_switched_on_one_base_without_touching_it(tmp_path):
    _, network, table = base("llama-grouped-tied", tmp_path / "base")
    spots, ids = places(network, table), some_ids()
    plain = network.logits(ids)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    answers = {}
    for number, targets in enumerate((["q_proj"], ["down_proj", "o_proj"])):
        model = adapted(CASES["llama-grouped-tied"](), targets)
        model.save_pretrained(tmp_path / str(number))
        answers[number] = read_adapter(tmp_path / str(number), spots, token_module(table)).adapter
    attach(network, answers[0])
    first = network.logits(ids)
    attach(network, answers[1])
    second = network.logits(ids)
    assert not torch.equal(first, second)
    attach(network, answers[0])
    assert torch.equal(network.logits(ids), first)
    detach(network)
    assert torch.equal(network.logits(ids), plain)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items() if "lora" not in name)


def test_merging_twice_is_merging_once_and_adapter_and_merged_agree(tmp_path):
    _, network, _ = base("llama-grouped-tied", tmp_path / "base")
    add_lora(network, LoraConfig(rank=2), torch.Generator().manual_seed(0))
    for layer in lora_layers(network).values():
        layer.lora_b.data.normal_(std=0.1)
    ids = some_ids()
    before = network.logits(ids)
    assert merge(network).layers == 14
    after = network.logits(ids)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5 * float(before.abs().max()))
    assert merge(network).layers == 0
    assert torch.equal(network.logits(ids), after)


def test_the_adapter_of_another_base_is_refused(tmp_path):
    theirs, network, table = base("llama-grouped-tied", tmp_path / "base")
    adapted(theirs, ["q_proj"]).save_pretrained(tmp_path / "adapter")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    wide = {name: torch.cat([value, value]) if "lora_B" in name else value for name, value in tensors.items()}
    from safetensors.torch import save_file
    save_file(wide, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="it was trained on another base"):
        read_adapter(tmp_path / "adapter", places(network, table), token_module(table))


def test_an_adapter_that_asks_for_more_is_refused(tmp_path):
    theirs, network, table = base("llama-grouped-tied", tmp_path / "base")
    adapted(theirs, ["q_proj"], bias="all").save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="asks for bias = 'all', which this LoRA does not do"):
        read_adapter(tmp_path / "adapter", places(network, table), token_module(table))


@pytest.mark.parametrize(("key", "value", "words"), [
    ("r", 0, "rank"), ("r", "many", "r = many"), ("lora_alpha", None, "lora_alpha = None"),
    ("alpha_pattern", [1], "alpha_pattern"), ("lora_dropout", 2.0, "dropout"), ("use_dora", True, "has lengths missing"),
    ("trainable_token_indices", [1], "fit nowhere|token rows|rows for"), ("init_lora_weights", "pissa", "changes the base")])
def test_a_damaged_or_foreign_adapter_config_is_refused_in_words(key, value, words, tmp_path):
    theirs, network, table = base("llama-grouped-tied", tmp_path / "base")
    adapted(theirs, ["q_proj"]).save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    if key == "trainable_token_indices":  # rows for a token far behind the table
        file = tmp_path / "adapter" / "adapter_model.safetensors"
        tensors = load_file(file)
        tensors[f"base_model.model.{token_module(table)}.token_adapter.trainable_tokens_delta"] = torch.zeros(
            1, network.config.width)
        write_file(file, tensors)
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: [10**9]}))
    with pytest.raises((CheckpointError, ConfigError), match=words):
        attach(network, read_adapter(tmp_path / "adapter", places(network, table), token_module(table)).adapter)
