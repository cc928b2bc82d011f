"""pytorch_model.bin: tensors are read, code is not run."""

import os

import pytest
import torch
from benchmarks.families import llama, perturbed

from tohum.errors import CheckpointError
from tohum.loading.folder import load_model
from tohum.loading.importing import import_model
from tohum.loading.pickled import PickledFiles
from tohum.tokenizing.training import train


@pytest.fixture
def source(tmp_path):
    """A Llama of transformers whose weights are stored as a pickle."""
    theirs = perturbed(llama(vocab_size=300))
    theirs.save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "hf" / "pytorch_model.bin")
    train(["the seed waits " * 9], kind="bpe", vocab_size=265).save(tmp_path / "hf")
    return tmp_path / "hf", theirs


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_weights_are_read_to_the_bit(tmp_path, source):
    folder, theirs = source
    import_model(str(folder), tmp_path / "out")
    found = load_model(tmp_path / "out").network
    assert torch.equal(found.head_weight, theirs.lm_head.weight)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not list((tmp_path / "out").glob("*.bin"))


def test_shards_and_the_older_format_are_read(tmp_path, source):
    folder, theirs = source
    state = list(theirs.state_dict().items())
    names = [f"pytorch_model-0000{k}-of-00002.bin" for k in (1, 2)]
    for part, name in zip((state[:5], state[5:]), names, strict=True):
        torch.save(dict(part), folder / name, _use_new_zipfile_serialization=False)
    (folder / "pytorch_model.bin").unlink()
    where = {key: names[0 if number < 5 else 1] for number, (key, _) in enumerate(state)}
    import json

    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    stored = PickledFiles(folder)
    assert all(torch.equal(stored.tensor(key), value) for key, value in state)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "../x.bin"}}))
    with pytest.raises(CheckpointError, match="weight_map"):
        PickledFiles(folder)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, source, new):
    folder, _ = source
    torch.save({"a": RunsCode(tmp_path / "ran")}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=r"system.*refused"):
        import_model(str(folder), tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"\x80\x02rubbish", b"rubbish" * 100])
def test_damaged_pickles_are_refused(source, content):
    folder, _ = source
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match="pytorch_model"):
        PickledFiles(folder)


def test_something_else_than_tensors_is_refused(source):
    folder, _ = source
    torch.save({"a": torch.zeros(2), "b": 3}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="expected tensors by name"):
        PickledFiles(folder)
