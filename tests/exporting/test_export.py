"""Exports: written, read back by the foreign library, certified; what does not agree is not kept."""

import json
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from tohum.cli.main import cli
from tohum.errors import CheckpointError, ConfigError, FailedError
from tohum.exporting import readers
from tohum.exporting.export import export_model
from tohum.gguf import read_gguf
from tohum.loading.folder import load_model
from tohum.loading.importing import import_model
from tohum.tokenizing.gguf_fields import SAMPLE
from tohum.tokenizing.training import train

from .conftest import make_folder

llama_cpp = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp (xllamacpp) is not installed")


def our_reader(monkeypatch):
    """As on a machine without llama.cpp."""
    monkeypatch.setattr(readers, "find_spec", lambda name: None)


@pytest.mark.parametrize(("dtype", "difference"), [("fp32", 1e-4), ("bf16", 0.5), ("fp16", 0.05)])
def test_a_folder_that_transformers_opens(tmp_path, folder, dtype, difference):
    done = export_model(folder, to="hf", out=tmp_path / "out", dtype=dtype)
    assert done.certificate.holds
    assert done.certificate.max_logit_difference < difference
    assert done.certificate.reader.startswith("transformers")
    assert done.certificate.greedy_tokens == 128
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert str(model.dtype) == {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}[dtype]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    messages = [{"role": "user", "content": "Grüße!"}]
    assert "Grüße!<|im_end|>" in tokenizer.apply_chat_template(messages, tokenize=False)
    stored = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert stored["token_ids_equal"] is True
    assert stored["max_logit_difference"] == done.certificate.max_logit_difference


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "q8_0"])
def test_a_gguf_file_that_we_read_again(tmp_path, folder, dtype, monkeypatch):
    our_reader(monkeypatch)
    done = export_model(folder, to="gguf", out=tmp_path / "m.gguf", dtype=dtype)
    assert done.certificate.holds
    assert done.certificate.reader == "tohum"
    head = read_gguf(tmp_path / "m.gguf")
    kinds = {tensor.type_name for name, tensor in head.tensors.items() if len(tensor.shape) == 2}
    assert kinds == {{"fp32": "F32", "fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}[dtype]}
    assert {tensor.type_name for tensor in head.tensors.values() if len(tensor.shape) == 1} == {"F32"}
    assert head.values["tokenizer.ggml.pre"] == "qwen2"
    assert "im_start" in head.values["tokenizer.chat_template"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.Modelfile", "m.certificate.json", "m.gguf"]
    import_model(str(tmp_path / "m.gguf"), tmp_path / "again")
    again, first = load_model(tmp_path / "again"), load_model(folder)
    assert again.tokenizer.encode(SAMPLE) == first.tokenizer.encode(SAMPLE)
    if dtype == "fp32":
        assert all(torch.equal(a, b) for a, b in zip(again.network.state_dict().values(),
                                                     first.network.state_dict().values(), strict=True))


@llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "q8_0"])
def test_a_gguf_file_that_llama_cpp_reads(tmp_path, folder, dtype):
    found = export_model(folder, to="gguf", out=tmp_path / "m.gguf", dtype=dtype).certificate
    assert found.holds
    assert found.reader.startswith("llama.cpp")
    assert found.token_ids_equal
    assert found.max_logit_difference < {"fp32": 1e-3, "q8_0": 0.5 * found.allowed_difference}[dtype]


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_a_copy_that_is_not_the_model_is_removed(tmp_path, folder, to, monkeypatch):
    """One matrix of the copy is another one."""
    our_reader(monkeypatch)
    from tohum.exporting import export

    name = "blocks.1.attention.value.weight"
    real = export.write_folder if to == "hf" else export.write_file

    def damaged(draft, loaded, *rest):
        loaded.network.get_parameter(name).data.mul_(0.7)
        return real(draft, loaded, *rest)

    monkeypatch.setattr(export, real.__name__, damaged)
    out = tmp_path / ("m.gguf" if to == "gguf" else "out")
    with pytest.raises(FailedError, match="certificate does not hold") as caught:
        export_model(folder, to=to, out=out, dtype="fp32")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_other_token_ids_are_noticed(tmp_path, folder, monkeypatch):
    our_reader(monkeypatch)
    from tohum.exporting import export

    real = export.gguf_fields

    def other_cut(*arguments):
        return real(*arguments) | {"tokenizer.ggml.pre": "gpt-2"}

    monkeypatch.setattr(export, "gguf_fields", other_cut)
    with pytest.raises(FailedError, match="token ids NOT equal"):
        export_model(folder, to="gguf", out=tmp_path / "m.gguf", dtype="fp32")


def test_what_cannot_be_exported_is_said_before_anything_is_written(tmp_path, folder, words, monkeypatch):
    with pytest.raises(ConfigError, match="q8_0 is a format of GGUF"):
        export_model(folder, to="hf", out=tmp_path / "out", dtype="q8_0")
    letters = train(["the seed waits"], kind="char", vocab_size=None)
    make_folder(tmp_path / "letters", letters, letters.vocab_size)
    with pytest.raises(ConfigError, match="no tokenizer of kind 'char'"):
        export_model(tmp_path / "letters", to="gguf", out=tmp_path / "m.gguf", dtype=None)
    make_folder(tmp_path / "bare", None, 300)
    with pytest.raises(CheckpointError, match="must have one inside"):
        export_model(tmp_path / "bare", to="gguf", out=tmp_path / "m.gguf", dtype=None)
    with monkeypatch.context() as patch:
        patch.setattr("tohum.exporting.export.load_model", lambda folder: pytest.fail("work was done"))
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="choose another --out"):
            export_model(folder, to="hf", out=tmp_path / "file" / "out", dtype=None)
        (tmp_path / "file").unlink()
    export_model(tmp_path / "bare", to="hf", out=tmp_path / "bare-out", dtype=None)
    with pytest.raises(ConfigError, match="exists already"):
        export_model(folder, to="hf", out=tmp_path / "bare-out", dtype=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "bare-out", "letters"]


def test_a_copy_that_lost_its_tokenizer_is_noticed(tmp_path, folder, monkeypatch):
    our_reader(monkeypatch)
    monkeypatch.setattr(readers.ByNetwork, "token_ids", lambda self, text: None)
    with pytest.raises(FailedError, match="token ids NOT equal"):
        export_model(folder, to="hf", out=tmp_path / "out", dtype="fp32")
    assert list(tmp_path.iterdir()) == []


def test_a_modelfile_of_another_export_is_not_written_over(tmp_path, folder):
    (tmp_path / "m.Modelfile").write_text("FROM elsewhere")
    with pytest.raises(ConfigError, match="exists already"):
        export_model(folder, to="gguf", out=tmp_path / "m.gguf", dtype="fp32")
    assert (tmp_path / "m.Modelfile").read_text() == "FROM elsewhere"


@pytest.mark.parametrize("name", ["out", "m.v1.gguf"])
def test_an_older_export_stays_until_the_new_one_holds(tmp_path, folder, name, monkeypatch):
    our_reader(monkeypatch)
    from tohum.exporting import export

    to, out = "gguf" if name.endswith("gguf") else "hf", tmp_path / name
    export_model(folder, to=to, out=out, dtype="fp32")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert not [path for path in before if path.name.startswith(".")]
    if to == "gguf":
        assert sorted(path.name for path in before) == ["m.v1.Modelfile", "m.v1.certificate.json", "m.v1.gguf"]
    with monkeypatch.context() as patch:
        patch.setattr(export, "certify", lambda *arguments: (_ for _ in ()).throw(FailedError("no")))
        with pytest.raises(FailedError, match="no"):
            export_model(folder, to=to, out=out, dtype="fp16", force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert export_model(folder, to=to, out=out, dtype="fp16", force=True).dtype == "fp16"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(before)


def test_the_stored_format_is_kept_unless_told(tmp_path, words):
    folder = make_folder(tmp_path / "m", words, words.vocab_size, dtype=torch.bfloat16)
    assert export_model(folder, to="hf", out=tmp_path / "out", dtype=None).dtype == "bf16"


def test_the_command_prints_one_object(tmp_path, folder, monkeypatch):
    our_reader(monkeypatch)
    done = CliRunner().invoke(cli, ["export", str(folder), "--to", "gguf", "--dtype", "fp16", "--out",
                                    str(tmp_path / "here"), "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["out"] == str((tmp_path / "here").resolve())
    assert found["holds"] is True
    assert found["greedy_agreement"] == 1.0
    assert found["max_logit_difference"] < 0.05
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "Modelfile", "certificate.json", "model-fp16.gguf"]


@pytest.mark.slow
def test_the_commands_of_the_docs_page_work(tmp_path, folder, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "15-exporting.md").read_text("utf-8")
    commands = [line for line in page.splitlines() if line.startswith("tohum export")]
    assert len(commands) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(folder)
    for line in commands:
        done = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0
        assert "token ids equal" in done.stdout
    assert (tmp_path / "exports" / "first.Modelfile").is_file()
    assert (tmp_path / "exports" / "first" / "model.safetensors").is_file()
