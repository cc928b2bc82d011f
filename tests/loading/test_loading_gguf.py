"""Acceptance: GGUF files of tiny random models, written by llama.cpp's library -> the logits of transformers."""

import numpy as np
import pytest
import torch
from benchmarks.families import LLAMA3_ROPE, like_llama, perturbed, some_ids
from gguf import GGMLQuantizationType as Types
from gguf import GGUFWriter
from gguf.quants import dequantize, quantize

from tohum.errors import CheckpointError
from tohum.gguf import read_gguf
from tohum.loading.folder import load_model
from tohum.loading.gguf.architectures import read_gguf_model
from tohum.loading.gguf.tensors import GGUFTensors
from tohum.loading.importing import import_model
from tohum.model.network import Network
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
ENDS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight"}
WIDE = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 300}  # rows of whole blocks of 32


def neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to query and key of a Llama."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(path, theirs, architecture, kind=Types.F32, tokenizer=None, **more):
    """A GGUF file as llama.cpp's converter writes it."""
    config, state = theirs.config, theirs.state_dict()
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    for key, value in more.items():
        writer.add_key_value(f"{architecture}.{key}", *value)
    if tokenizer is not None:
        add_tokenizer(writer, tokenizer)
    for name, tensor in state.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if name in ENDS:
            stored = ENDS[name]
        else:
            _, _, number, part = name.split(".", 3)
            part, suffix = part.rsplit(".", 1)
            stored = f"blk.{number}.{NAMES[part]}.{suffix}"
            if architecture == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
                values = neighbours(values, config.num_attention_heads if "q_" in part else config.num_key_value_heads)
        if values.ndim == 1 or kind == Types.F32:
            writer.add_tensor(stored, values.astype(np.float32))
        else:
            writer.add_tensor(stored, quantize(values, kind), raw_dtype=kind)
            state[name].copy_(torch.from_numpy(dequantize(quantize(tensor.numpy(), kind), kind)))  # what it now means
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer, tokenizer):
    """A byte-level BPE of ours."""
    import json

    model = json.loads(tokenizer.engine.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pattern)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token == tokenizer.special.eos else 1 for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_chat_template("{{ messages }}")


CASES = {
    "llama": lambda: (like_llama("llama", **WIDE), "llama"),
    "llama-tied": lambda: (like_llama("llama", tie_word_embeddings=True, **WIDE), "llama"),
    "llama-biases": lambda: (like_llama("llama", attention_bias=True, **WIDE), "llama"),
    "qwen2": lambda: (like_llama("qwen2", **WIDE), "qwen2"),
    "qwen3": lambda: (like_llama("qwen3", head_dim=32, tie_word_embeddings=True, **WIDE), "qwen3"),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_file_gives_the_logits_of_the_model_that_it_was_made_of(case, tmp_path):
    theirs, architecture = CASES[case]()
    write(tmp_path / "m.gguf", perturbed(theirs), architecture)
    check(tmp_path / "m.gguf", theirs)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
@torch.no_grad()
def test_quantised_numbers_mean_what_the_library_says(kind, tmp_path):
    theirs = perturbed(like_llama("llama", **WIDE))
    write(tmp_path / "m.gguf", theirs, "llama", Types[kind])
    check(tmp_path / "m.gguf", theirs)


def check(path, theirs):
    config, weights = read_gguf_model(path)
    ours = Network(config)
    ours.load_state_dict(weights)
    ids = some_ids(300)
    expected = theirs(ids).logits
    assert expected.abs().mean() > 0.3
    torch.testing.assert_close(ours.eval().logits(ids), expected, rtol=0, atol=5e-5)


@torch.no_grad()
def test_slices_of_rows_give_the_whole_tensor(tmp_path, monkeypatch):
    write(tmp_path / "m.gguf", perturbed(like_llama("llama", **WIDE)), "llama", Types.Q8_0)
    whole = GGUFTensors(read_gguf(tmp_path / "m.gguf"), torch.float32)
    expected = {name: whole.tensor(name) for name in whole.shapes}
    monkeypatch.setattr("tohum.loading.gguf.tensors.SLICE_NUMBERS", 7 * 64)
    assert all(torch.equal(whole.tensor(name), tensor) for name, tensor in expected.items())


@torch.no_grad()
def test_stretched_positions_are_recognised_by_their_factors(tmp_path):
    rope = LLAMA3_ROPE | {"factor": 8.0, "original_max_position_embeddings": 8192}
    theirs = perturbed(like_llama("llama", rope_parameters=rope, max_position_embeddings=16384, **WIDE))
    plain = 1.0 / 500_000.0 ** (torch.arange(0, 16, 2).float() / 16)
    factors = plain / theirs.model.rotary_emb.inv_freq
    theirs.register_buffer("rope_freqs", factors)
    original = theirs.state_dict()
    ENDS["rope_freqs"] = "rope_freqs.weight"
    try:
        assert "rope_freqs" in original
        write(tmp_path / "m.gguf", theirs, "llama")
    finally:
        del ENDS["rope_freqs"]
    config, _ = read_gguf_model(tmp_path / "m.gguf")
    assert config.layers[0].attention.rope_scaling.factor == 8.0
    check(tmp_path / "m.gguf", theirs)


def test_import_makes_a_folder_with_the_tokenizer_and_template_of_the_file(tmp_path):
    words = ["the seed becomes a tree in 2024", "a tree bears seeds ığüş"] * 20
    tokenizer = train(words, kind="bpe", vocab_size=285)
    theirs = perturbed(like_llama("qwen3", head_dim=32, tie_word_embeddings=True, **WIDE))
    write(tmp_path / "m.gguf", theirs, "qwen3", tokenizer=tokenizer)
    done = import_model(str(tmp_path / "m.gguf"), tmp_path / "ours")
    assert done.family == "qwen3"
    loaded = load_model(tmp_path / "ours")
    text = "the tree, 2024: ığüş <|endoftext|> 🌱"
    assert loaded.tokenizer.encode(text) == tokenizer.encode(text) == Tokenizer.load(tmp_path / "m.gguf").encode(text)
    assert loaded.tokenizer.eos_id == tokenizer.eos_id
    assert loaded.tokenizer.extra["chat_template"] == "{{ messages }}"
    ids = some_ids(300)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network.logits(ids), theirs(ids).logits, rtol=0, atol=5e-5)


@pytest.mark.parametrize(("change", "said"), [
    ({"rope.scaling.type": ("yarn", 8)}, "rope.scaling.type = 'yarn' is not something this network does"),
    ({"expert_count": (8, 4)}, "chosen = 0"),
    ({"attention.clamp_kqv": (3.0, 6)}, "asks for attention.clamp_kqv = 3.0"),
])
def test_what_the_network_does_not_do_is_refused_by_name(change, said, tmp_path):
    from gguf import GGUFValueType

    more = {key: (value, GGUFValueType(kind)) for key, (value, kind) in change.items()}
    write(tmp_path / "m.gguf", like_llama("llama", **WIDE), "llama", **more)
    with pytest.raises(CheckpointError) as caught:
        read_gguf_model(tmp_path / "m.gguf")
    assert said in str(caught.value)


def test_unknown_architectures_are_named(tmp_path):
    theirs = like_llama("llama", **WIDE)
    write(tmp_path / "m.gguf", theirs, "mamba")
    with pytest.raises(CheckpointError, match="architecture 'mamba' is not one that can be loaded"):
        read_gguf_model(tmp_path / "m.gguf")
