"""Acceptance: tiny random models, every parameter perturbed, float32, both directions, against transformers."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from tohum.loading.folder import load_config, load_model, save_model
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth

TOKENS = 160  # past the original context of the scaled rotary models (32), and past position 100
PLACES = [0, 100, TOKENS - 1]
SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": TOKENS}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 4.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}


def made(model_type, **changes):
    """A tiny model of transformers' own."""
    config = AutoConfig.for_model(model_type, **changes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def gpt2(**changes):
    sizes = {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": TOKENS}
    return made("gpt2", **(sizes | {"bos_token_id": 1, "eos_token_id": 1} | changes))


def like_llama(model_type, **changes):
    """Any family that shares the names of Llama's sizes."""
    ids = {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    return made(model_type, **(SIZES | ids | {"num_key_value_heads": 2} | changes))


def llama(**changes):
    return like_llama("llama", **changes)


def qwen3(**changes):
    return like_llama("qwen3", head_dim=16, **changes)


def gemma2(**changes):
    return like_llama("gemma2", head_dim=8, query_pre_attn_scalar=16, sliding_window=24, **changes)


def gemma3(**changes):
    return like_llama("gemma3_text", head_dim=8, query_pre_attn_scalar=16, sliding_window=24, num_hidden_layers=4,
                      sliding_window_pattern=3, **changes)


def qwen3_moe(**changes):
    return like_llama("qwen3_moe", head_dim=16, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24,
                      num_hidden_layers=3, **changes)


WINDOWS = {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}
LONG_GEMMA = {"sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
              "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0}}
CASES = {
    "gpt2": lambda: gpt2(),
    "gpt2-untied-narrow": lambda: gpt2(tie_word_embeddings=False, n_inner=40, scale_attn_weights=False),
    "llama-multi-head": lambda: llama(num_key_value_heads=4),
    "llama-grouped-tied": lambda: llama(tie_word_embeddings=True),
    "llama-grouped-untied": lambda: llama(tie_word_embeddings=False),
    "llama-3-scaling": lambda: llama(rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    "llama-biases-geglu": lambda: llama(attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh"),
    "llama-wide-heads": lambda: llama(head_dim=12),
    "mistral-window": lambda: like_llama("mistral", sliding_window=24),
    "smollm3": lambda: like_llama("smollm3", num_hidden_layers=4),
    "smollm3-windows": lambda: like_llama("smollm3", num_hidden_layers=4, no_rope_layers=[1, 0, 1, 0],
                                          use_sliding_window=True, sliding_window=24, attention_bias=True),
    "qwen2": lambda: like_llama("qwen2"),
    "qwen2-windows-tied": lambda: like_llama("qwen2", tie_word_embeddings=True, **WINDOWS),
    "qwen3": lambda: qwen3(),
    "qwen3-tied-eps": lambda: qwen3(tie_word_embeddings=True, rms_norm_eps=1e-3, attention_bias=True),
    "qwen3-windows": lambda: qwen3(**WINDOWS),
    "gemma2": lambda: gemma2(),
    "gemma2-no-caps": lambda: gemma2(attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma3": lambda: gemma3(),
    "gemma3-long": lambda: gemma3(rope_parameters=LONG_GEMMA),
    "olmo2": lambda: like_llama("olmo2"),
    "olmo2-tied": lambda: like_llama("olmo2", num_key_value_heads=4, tie_word_embeddings=True),
    "mixtral": lambda: like_llama("mixtral", num_local_experts=4, num_experts_per_tok=2),
    "mixtral-window": lambda: like_llama("mixtral", num_local_experts=4, num_experts_per_tok=3, sliding_window=24),
    "qwen3-moe": lambda: qwen3_moe(norm_topk_prob=True),
    "qwen3-moe-dense-layers": lambda: qwen3_moe(mlp_only_layers=[1], norm_topk_prob=False),
}
READ_ONLY = {"phi3": lambda: like_llama("phi3"), "phi3-window": lambda: like_llama("phi3", sliding_window=24),
             "mistral-no-window": lambda: like_llama("mistral", sliding_window=None)}


def perturbed(model):
    """Evaluation mode, float32, no parameter left at the one or zero that it starts from."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def some_ids(vocab_size=97, tokens=TOKENS):
    return torch.randint(0, vocab_size, (2, tokens), generator=torch.Generator().manual_seed(7))


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
