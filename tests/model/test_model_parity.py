"""The tiny presets of other families equal transformers' own models: each option against its origin.

GPT-2, Llama and Qwen3 are compared through the loading tables (tests/loading); here are the families that use soft
caps, windows, norms after, layers without rotary positions, GeGLU and ReLU squared.
"""

import pytest
import torch

from tohum.model.network import Network
from tohum.model.presets import PRESETS

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # importing transformers takes seconds

NAMES = {"embedding.token": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head",
         "attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm",
         "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj",
         "attention.value": "self_attn.v_proj", "attention.output": "self_attn.o_proj", "feed_forward.gate": "mlp.gate_proj",
         "feed_forward.up": "mlp.up_proj", "feed_forward.down": "mlp.down_proj"}
PRE = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
POST = {"attention_post_norm": "post_attention_layernorm", "feed_forward_post_norm": "post_feedforward_layernorm"}
BOTH = POST | {"attention_norm": "input_layernorm", "feed_forward_norm": "pre_feedforward_layernorm"}

SHAPE = {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
         "num_key_value_heads": 2, "max_position_embeddings": 128, "attn_implementation": "eager",
         "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}


def gemma2():
    config = transformers.Gemma2Config(
        **SHAPE, intermediate_size=64, query_pre_attn_scalar=16, sliding_window=16, rms_norm_eps=1e-6,
        layer_types=["sliding_attention", "full_attention"], attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
    return transformers.Gemma2ForCausalLM(config), BOTH


def exaone4():
    config = transformers.Exaone4Config(
        **SHAPE, intermediate_size=64, sliding_window=16, layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, rms_norm_eps=1e-5, tie_word_embeddings=False)
    return transformers.Exaone4ForCausalLM(config), POST


def arcee():
    config = transformers.ArceeConfig(**SHAPE, intermediate_size=128, rms_norm_eps=1e-5, tie_word_embeddings=False)
    return transformers.ArceeForCausalLM(config), PRE


def convert(network, theirs, norm_names, norm_shift):
    """Fill our parameters from theirs by name; Gemma stores w of 1 + w."""
    state, table, taken = theirs.state_dict(), NAMES | norm_names, set()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            stem, kind = name.rsplit(".", 1)
            prefix, rest = "", stem
            if stem.startswith("blocks."):
                _, number, rest = stem.split(".", 2)
                prefix = f"model.layers.{number}."
            source = f"{prefix}{table[rest]}.{kind}"
            parameter.copy_(state[source] + (norm_shift if "norm" in name else 0))
            taken.add(source)
    assert set(state) - taken <= {"lm_head.weight"}  # tied


@pytest.mark.parametrize(("preset", "make", "norm_shift"), [
    ("tiny-gemma2", gemma2, 1.0), ("tiny-exaone4", exaone4, 0.0), ("tiny-arcee", arcee, 0.0)])
def test_preset_equals_the_model_of_transformers(preset, make, norm_shift):
    torch.manual_seed(0)
    theirs, norm_names = make()
    theirs.eval()
    for parameter in theirs.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    network = Network(PRESETS[preset]()).eval()
    convert(network, theirs, norm_names, norm_shift)
    ids = torch.randint(256, (2, 110))
    with torch.no_grad():
        ours, wanted = network.logits(ids), theirs(ids).logits
    assert wanted.std() > 0.5
    for position in (0, 100, 109):
        torch.testing.assert_close(ours[:, position], wanted[:, position], rtol=1e-4, atol=1e-5)
