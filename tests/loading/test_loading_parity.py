"""Acceptance: tiny random models, every parameter perturbed, float32, both directions, against transformers."""

import json

import pytest
import torch
from benchmarks.families import CASES, LLAMA3_ROPE, PLACES, READ_ONLY, TOKENS, gpt2, llama, perturbed, some_ids
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tohum.loading.folder import load_config, load_model, save_model
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth


def assert_close(ours, theirs, atol):
    """At the positions named in the acceptance; logits must be of a size at which the tolerance says something."""
    assert theirs[:, PLACES].abs().mean() > 0.3
    for place in PLACES:
        torch.testing.assert_close(ours[:, place], theirs[:, place], rtol=0, atol=atol)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_loading_gives_the_logits_of_transformers_in_both_directions_and_keeps_every_bit(case, tmp_path):
    theirs = perturbed(CASES[case]())
    ids = some_ids()
    expected = theirs(ids).logits
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert_close(loaded.network.logits(ids), expected, atol=1e-5)

    family = save_model(tmp_path / "ours", loaded.config, loaded.network.state_dict(), None)
    assert family.model_type == theirs.config.model_type
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert before.keys() == after.keys()
    shifted = case.startswith("gemma")  # 1 + w is computed, and rounds in the last place
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-6 if shifted and "norm" in name else 0)

    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert type(again) is type(theirs)
    torch.testing.assert_close(again(ids).logits, expected, rtol=0, atol=1e-5 if shifted else 0)


@pytest.mark.parametrize("case", READ_ONLY)
@torch.no_grad()
def test_families_that_others_can_express_are_saved_as_those(case, tmp_path):
    theirs = perturbed(READ_ONLY[case]())
    ids = some_ids()
    expected = theirs(ids).logits
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert_close(loaded.network.logits(ids), expected, atol=1e-5)
    save_model(tmp_path / "ours", loaded.config, loaded.network.state_dict(), None)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert_close(again(ids).logits, expected, atol=1e-5)


@pytest.mark.parametrize("preset", ["tiny-gpt2", "tiny-llama", "tiny-qwen3"])
@torch.no_grad()
def test_saving_a_model_of_ours_gives_transformers_the_same_logits(preset, tmp_path):
    config = PRESETS[preset]().replace(context=TOKENS)
    network = Network(config)
    initialise(network, torch.Generator().manual_seed(0))
    perturbed(network)
    save_model(tmp_path, config, network.state_dict(), None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = some_ids(config.vocab_size)
    assert_close(network.logits(ids), theirs(ids).logits, atol=1e-5)


@torch.no_grad()
def test_saving_the_default_model_opens_in_transformers_without_any_argument(tmp_path):
    config = from_depth(2, 300, TOKENS)
    network = Network(config)
    initialise(network, torch.Generator().manual_seed(0))
    perturbed(network)
    save_model(tmp_path, config, network.state_dict(), None)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = some_ids(300)
    assert (network.logits(ids) - theirs(ids).logits).abs().max() < 1e-4
    assert theirs.dtype == torch.float32


@torch.no_grad()
def test_loading_reads_rotary_keys_of_transformers_4(tmp_path):
    theirs = perturbed(llama(rope_parameters=LLAMA3_ROPE))
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    scaling = dict(values.pop("rope_parameters"))
    values |= {"rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling, "torch_dtype": "float32"}
    path.write_text(json.dumps(values))
    assert load_config(tmp_path).layers[0].attention.rope_scaling.original_context == 32
    ids = some_ids()
    assert_close(load_model(tmp_path).network.logits(ids), theirs(ids).logits, atol=1e-5)


@torch.no_grad()
def test_loading_takes_gpt2_files_without_the_prefix_and_with_the_old_masks(tmp_path):
    from safetensors.torch import save_file

    theirs = perturbed(gpt2())
    theirs.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor.clone() for name, tensor in stored.items()}
    old |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 4, 4) for layer in range(2)}
    save_file(old, tmp_path / "model.safetensors")
    ids = some_ids()
    assert_close(load_model(tmp_path).network.logits(ids), theirs(ids).logits, atol=1e-5)
