"""Model folders: what is written is read back bit for bit; what is damaged is named in one line."""

import json
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tohum.errors import CheckpointError
from tohum.loading import families
from tohum.loading.folder import (
    load_config,
    load_model,
    load_weights,
    model_sha256,
    save_model,
)
from tohum.loading.weights import WeightFiles, write_file
from tohum.model.network import Network
from tohum.model.presets import PRESETS, from_depth

TINY = sorted(name for name in PRESETS if name.startswith("tiny-"))
FAMILY = {"tiny-gpt2": "gpt2", "tiny-llama": "llama", "tiny-qwen3": "qwen3", "tiny-gemma2": "gemma2", "tiny-gemma3": "gemma3_text",
          "tiny-olmo2": "olmo2", "tiny-qwen3-moe": "qwen3_moe"}
IDS = torch.arange(100)[None]


def tiny(preset="tiny-qwen3", **changes):
    """A configuration and random weights for it, none at its initial value."""
    config = PRESETS[preset]().replace(**changes)
    network = Network(config).eval()
    torch.manual_seed(1)
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return config, network


@pytest.fixture
def folder(tmp_path) -> Path:
    config, network = tiny()
    save_model(tmp_path / "model", config, network.state_dict(), None)
    return tmp_path / "model"


def edit(path: Path, **changes):
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder: Path, change):
    """Rewrite model.safetensors after `change` edited its dictionary."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("preset", TINY)
def test_folder_gives_back_every_bit_of_every_preset(preset, tied, tmp_path):
    config, network = tiny(preset, tied=tied)
    assert save_model(tmp_path, config, network.state_dict(), None).model_type == FAMILY.get(preset, "tohum")
    loaded = load_model(tmp_path)
    assert loaded.config == config
    before, after = network.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and after[name].is_contiguous() for name in before)
    assert not loaded.network.training
    with torch.no_grad():
        assert torch.equal(loaded.network.logits(IDS), network.logits(IDS))


def test_folder_of_a_model_that_no_family_expresses_is_refused_by_transformers(tmp_path):
    config, network = tiny("tiny-arcee")
    save_model(tmp_path, config, network.state_dict(), None)
    with pytest.raises(ValueError, match="tohum"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_the_books_gpt2_without_query_biases_is_kept_in_our_own_form():
    assert families.write_config(PRESETS["gpt-config-124m"]())[0].model_type == "tohum"
    assert families.write_config(PRESETS["gpt2-124m"]())[0].model_type == "gpt2"
    assert families.write_config(from_depth(4, 4096, 256))[0].model_type == "qwen3"


def test_folder_splits_large_weights_into_shards_that_transformers_opens(tmp_path):
    config, network = tiny()
    save_model(tmp_path, config, network.state_dict(), None, shard_bytes=20_000)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(p.numel() * 4 for p in network.parameters())
    loaded = load_model(tmp_path)
    assert all(torch.equal(tensor, loaded.network.state_dict()[name]) for name, tensor in network.state_dict().items())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, network.logits(IDS), rtol=0, atol=1e-4)
    (tmp_path / shards[1]).unlink()
    with pytest.raises(CheckpointError, match=rf"{shards[1]}.*missing"):
        load_model(tmp_path)


def test_folder_holds_the_number_format_that_is_asked_for(tmp_path):
    config, network = tiny()
    save_model(tmp_path, config, network.state_dict(), None, dtype=torch.bfloat16)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_weights(tmp_path).values()} == {torch.bfloat16}
    assert load_model(tmp_path).network.head_weight.dtype == torch.float32
    assert load_model(tmp_path, dtype=torch.bfloat16).network.head_weight.dtype == torch.bfloat16


@dataclass
class FakeTokenizer:
    bos_id: int | None = None
    eos_id: int | None = 7
    pad_id: int | None = 7

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")


def test_folder_carries_the_tokenizers_special_ids(tmp_path):
    config, network = tiny("tiny-llama")
    save_model(tmp_path, config, network.state_dict(), FakeTokenizer())
    for name in ("config.json", "generation_config.json"):
        values = json.loads((tmp_path / name).read_text())
        assert (values["bos_token_id"], values["eos_token_id"], values["pad_token_id"]) == (None, 7, 7)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.generation_config.bos_token_id is None  # not Llama's own default of 1
    assert theirs.generation_config.eos_token_id == 7


def test_tied_head_stored_a_second_time_is_accepted_when_equal_and_refused_when_not(folder):
    change_tensors(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert load_model(folder).network.head is None
    change_tensors(folder, lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"):
        load_model(folder)


def test_untied_config_without_a_head_in_the_file_is_refused(folder):
    edit(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"1 tensor missing: lm_head\.weight"):
        load_model(folder)


def test_missing_unexpected_and_misshapen_tensors_are_reported_together(folder):
    def damage(tensors):
        for layer in (0, 1):
            for name in ("q", "k"):
                del tensors[f"model.layers.{layer}.self_attn.{name}_proj.weight"]
        tensors["model.layers.0.mlp.extra"] = torch.zeros(3)
        tensors["model.norm.weight"] = torch.zeros(31)

    change_tensors(folder, damage)
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    text = str(error.value)
    assert len(text.splitlines()) == 3
    assert "4 tensors missing: model.layers.0.self_attn.q_proj.weight" in text
    assert "… and 1 more" in text
    assert "1 tensor unexpected: model.layers.0.mlp.extra" in text
    assert "model.norm.weight [31] instead of [32]" in text


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_named_in_one_line(folder, kept):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a complete safetensors file") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", '{"model_type": "qwen3", "vocab', "[1]", "[" * 200_000, "\x00\x01"])
def test_damaged_config_is_named_in_one_line(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json: (not valid JSON|expected a JSON object)") as error:
        load_config(folder)
    assert "\n" not in str(error.value)


def test_folder_without_config_or_weights_says_which_file_is_missing(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        load_model(folder)


def test_pickled_weights_are_refused_and_their_code_is_not_run(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="pickles, which can run code"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["../model.safetensors", "/etc/passwd", 3, "other.bin"])
def test_an_index_that_leads_out_of_the_folder_is_refused(folder, place):
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": place}}))
    with pytest.raises(CheckpointError, match=r"index\.json: expected a 'weight_map'"):
        WeightFiles(folder)


def test_weights_of_another_shape_than_the_run_are_refused(folder):
    config = load_config(folder)
    assert load_weights(folder, config.replace(dropout=0.3)).keys() == Network(config).state_dict().keys()
    with pytest.raises(CheckpointError, match="describes another model"):
        load_weights(folder, config.replace(context=64))


def test_a_config_of_far_more_parameters_than_the_file_holds_is_refused_before_memory_is_taken(folder):
    edit(folder / "config.json", vocab_size=10**9)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: holds 26,816 numbers.*a model of 32,000,018,624"):
        load_model(folder)


def test_model_hash_is_that_of_the_content(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert model_sha256(folder) == model_sha256(tmp_path / "copy")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert model_sha256(folder) != model_sha256(tmp_path / "copy")


def test_a_model_without_tokenizer_says_so_when_it_is_asked_for(folder):
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        load_model(folder).tokenizer  # noqa: B018


def test_weights_are_readable_for_those_who_may_read_the_other_files(folder):
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_writing_reports_the_systems_refusal_as_other_writers_do(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "absent" / "model.safetensors", {"a": torch.zeros(1)})
    code = (f"import torch, errno; from pathlib import Path; from tohum.loading.weights import write_file\n"
            f"try: write_file(Path({str(tmp_path / 'w')!r}), {{'a': torch.zeros(1_000_000)}})\n"
            f"except OSError as error: raise SystemExit(error.errno)")

    def small_files_only():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run([sys.executable, "-c", code], preexec_fn=small_files_only, capture_output=True)
    assert done.returncode == 27, done.stderr  # EFBIG
