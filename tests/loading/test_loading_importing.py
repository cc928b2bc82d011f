"""`tohum import`: other formats become model folders; what cannot be read is refused in one line."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tohum.cli.main import cli
from tohum.errors import CheckpointError, ConfigError
from tohum.loading.folder import load_model
from tohum.loading.importing import import_model
from tohum.tokenizing.training import train


def run(*arguments):
    """The verb's result; errors come out as raised."""
    return CliRunner().invoke(cli, ["import", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)


@pytest.fixture
def tokenizer():
    return train(["the seed becomes a tree", "a tree bears seeds"] * 20, kind="bpe", vocab_size=270)


@pytest.fixture
def folder(tmp_path, tokenizer):
    """A Hugging Face folder as transformers writes it, in bfloat16, with generation settings of its own."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=300, num_key_value_heads=2, **sizes)).to(torch.bfloat16)
    model.generation_config.eos_token_id = [5, 6]
    model.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    (tmp_path / "theirs" / "chat_template.jinja").write_text("{{ messages }}")
    return tmp_path / "theirs"


def test_import_of_a_hugging_face_folder_keeps_numbers_settings_and_tokenizer(folder, tmp_path, tokenizer):
    result = run(folder, "--out", tmp_path / "ours", "--json")
    done = json.loads(result.stdout)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert done["family"] == "llama"
    assert done["parameters"] == theirs.num_parameters()
    assert done["out"] == str(tmp_path / "ours")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert again.dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), theirs.parameters(), strict=True))
    assert again.generation_config.eos_token_id == [5, 6]
    assert (tmp_path / "ours" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert load_model(tmp_path / "ours").tokenizer.encode("the tree") == tokenizer.encode("the tree")


def test_import_of_a_llama2c_file_takes_its_tokenizer_from_the_option(shared_data, tmp_path):
    models = shared_data / "models"
    result = run(models / "stories260K.bin", "--tokenizer", models / "stories260K_tok512.bin",
                 "--out", tmp_path / "stories", "--json")
    assert json.loads(result.stdout) | {"out": ""} == {
        "family": "llama", "parameters": 260_032, "layers": 5, "width": 64, "context": 512, "out": ""}
    loaded = load_model(tmp_path / "stories")
    assert loaded.tokenizer.prompt_ids("Once")[0] == 1
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "stories").eval()
    ids = torch.tensor([loaded.tokenizer.prompt_ids("Once upon a time, there was a little girl")])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, loaded.network.logits(ids), rtol=0, atol=1e-4)


def test_import_overwrites_nothing_without_force_and_everything_with_it(folder, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="ours exists already"):
        import_model(str(folder), tmp_path / "ours")
    assert (tmp_path / "ours" / "notes.txt").read_text() == "mine"
    import_model(str(folder), tmp_path / "ours", force=True)
    assert not (tmp_path / "ours" / "notes.txt").exists()


def test_import_that_fails_leaves_what_was_there(folder, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("mine")
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        import_model(str(folder), tmp_path / "ours", force=True)
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == ["notes.txt"]


@pytest.mark.parametrize(("source", "message"), [
    ("absent", "no such file or folder; expected a Hugging Face folder"),
    ("model.gguf", "not a whole GGUF file"),
    ("model.pt", "not a kind of file that is imported"),
    ("model.bin", "too short for the header"),
])
def test_import_refuses_what_it_cannot_read_in_one_line(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model.gguf", "model.pt", "model.bin"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises((ConfigError, CheckpointError), match=message) as error:
        import_model(source, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_import_asks_for_a_tokenizer_where_the_source_has_none(folder, tmp_path, shared_data):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"theirs: has no tokenizer\.json; give the tokenizer with --tokenizer"):
        import_model(str(folder), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"a llama2\.c file has no tokenizer inside"):
        import_model(str(shared_data / "models" / "stories260K.bin"), tmp_path / "out")


def test_import_refuses_a_tokenizer_with_more_entries_than_the_table(folder, tmp_path):
    large = train(["".join(map(chr, range(start, start + 40))) for start in range(0x4E00, 0x5600, 40)],
                  kind="char")
    large.save(tmp_path / "large")
    with pytest.raises(CheckpointError, match=rf"a tokenizer of {large.vocab_size:,} entries.*has 300 rows"):
        import_model(str(folder), tmp_path / "out", tokenizer=tmp_path / "large")


def test_the_commands_and_the_python_of_the_docs_page_work(shared_data, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "07-loading.md").read_text()
    command = next(line for line in page.splitlines() if line.startswith("tohum import stories260K.bin"))
    monkeypatch.chdir(tmp_path)
    for name, source in (("stories260K.bin", "stories260K.bin"), ("tok512.bin", "stories260K_tok512.bin")):
        (tmp_path / name).symlink_to(shared_data / "models" / source)
    run(*shlex.split(command)[2:])
    three_lines, parts = [block.split("```")[0] for block in page.split("## In Python")[1].split("```python\n")[1:]]
    exec(three_lines, {})
    assert "there was a little girl named Lily" in capsys.readouterr().out
    names = {}
    exec(parts, names)
    assert names["model"].tokenizer.decode(names["ids"]).strip() == "Once upon a time"


def test_what_a_file_says_gets_no_control_over_the_terminal(tmp_path):
    """The name of a tensor type, a key or a template may hold escape sequences."""
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "\\u001b[2Jgone\\u0085\\u000b"}')
    done = subprocess.run([sys.executable, "-m", "tohum", "import", str(tmp_path / "hf"), "--out", str(tmp_path / "o")],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "gone" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
