"""Foreign configurations: every key is understood, known to be harmless, or refused by name."""

import json

import pytest
from transformers import GPT2Config, LlamaConfig, Qwen3Config

from tohum.errors import CheckpointError
from tohum.loading import families

CONFIGS = {"gpt2": GPT2Config, "llama": LlamaConfig, "qwen3": Qwen3Config}


def values_of(family):
    """The whole config.json that transformers would write, defaults included."""
    config = CONFIGS[family]()
    return json.loads(config.to_json_string(use_diff=False)) | {"model_type": family}


@pytest.mark.parametrize("family", CONFIGS)
def test_the_whole_default_config_of_transformers_is_understood(family):
    found, config = families.read_config(values_of(family), "config.json")
    assert found.model_type == family
    theirs = CONFIGS[family]()
    assert (config.vocab_size, config.width, len(config.layers)) == (
        theirs.vocab_size, theirs.hidden_size, theirs.num_hidden_layers)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_config_without_any_size_has_the_defaults_of_transformers(family):
    bare = families.read_config({"model_type": family}, "config.json")[1]
    assert bare == families.read_config(values_of(family), "config.json")[1]


@pytest.mark.parametrize(("family", "key", "value"), [
    ("gpt2", "activation_function", "gelu"),
    ("gpt2", "activation_function", "relu"),
    ("gpt2", "scale_attn_by_inverse_layer_idx", True),
    ("gpt2", "add_cross_attention", True),
    ("gpt2", "n_head", "12"),
    ("gpt2", "n_embd", -768),
    ("gpt2", "n_layer", 10**12),
    ("llama", "hidden_act", "relu"),
    ("llama", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}),
    ("llama", "rope_parameters", {"rope_type": "default", "rope_theta": 1e4, "mscale": 0.7}),
    ("llama", "rope_scaling", {"type": "linear", "factor": 2.0}),
    ("llama", "rope_scaling", {"rope_type": "dynamic", "factor": 2.0}),
    ("llama", "rope_parameters", "fast"),
    ("llama", "partial_rotary_factor", 0.5),
    ("llama", "quantization_config", {"quant_method": "gptq", "bits": 4}),
    ("llama", "num_key_value_heads", 5),
    ("llama", "rms_norm_eps", 0),
    ("llama", "attention_bias", 1),
    ("llama", "num_local_experts", 8),
    ("llama", "sliding_window", 4096),
    ("llama", "head_dim", 10**30),
    ("llama", "max_position_embeddings", 10**15),
    ("qwen3", "layer_types", ["full_attention"]),
    ("qwen3", "layer_types", ["sliding_attention"] * 32),
    ("qwen3", "layer_types", ["linear_attention"] * 32),
    ("qwen3", "use_sliding_window", "yes"),
    ("qwen3", "final_logit_softcapping", 30.0),
])
def test_what_the_network_does_not_do_is_refused_by_name(family, key, value):
    values = values_of(family) | {key: value}
    names = {"n_embd": "width", "num_key_value_heads": "kv_heads", "rms_norm_eps": "eps",
             "head_dim": "numbers are damaged", "max_position_embeddings": "numbers are damaged"}
    with pytest.raises(CheckpointError, match=rf"config\.json.*{names.get(key, key)}") as error:
        families.read_config(values, "config.json")
    assert len(str(error.value).splitlines()) <= 3


def test_rotary_settings_that_contradict_each_other_are_refused():
    values = values_of("llama") | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                                    "high_freq_factor": 4.0,
                                                    "original_max_position_embeddings": 2048}}
    with pytest.raises(CheckpointError, match="rope_scaling and rope_parameters contradict each other"):
        families.read_config(values, "config.json")


@pytest.mark.parametrize("model_type", [None, "mamba", ["llama"], 3])
def test_an_unknown_family_is_refused_with_the_known_ones(model_type):
    with pytest.raises(CheckpointError, match="gpt2, llama, qwen3"):
        families.read_config({"model_type": model_type}, "config.json")
