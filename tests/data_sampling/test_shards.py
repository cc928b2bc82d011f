"""Data folders that are opened, read and verified: what is damaged is named."""

import json
from pathlib import Path

import pytest

from tohum.data_sampling.index import read_index
from tohum.data_sampling.shards import DataFolder
from tohum.data_sampling.verify import verify
from tohum.errors import DataError
from tohum.files import write_json
from tohum.tokenizing.training import train

from .conftest import BOOK, lines


def damage(data: DataFolder, name: str, at: int = -1) -> None:
    content = bytearray((data.path / name).read_bytes())
    content[at] ^= 4
    (data.path / name).write_bytes(content)


def test_verify_finds_nothing_in_what_was_just_written(make):
    assert verify(make({"a.txt": BOOK, "b.txt": lines(1, 30)}, split="line").path)["problems"] == []


def test_verify_names_the_file_of_every_flipped_bit(make):
    data = make({"a.txt": lines(1, 60)}, split="line", shard_tokens=200)
    for path in sorted(path for path in data.path.rglob("*") if path.is_file()):
        name = str(path.relative_to(data.path))
        before = path.read_bytes()
        damage(data, name)
        result = verify(data.path)
        assert not result["ok"]
        assert [problem for problem in result["problems"] if name in problem], (name, result)
        path.write_bytes(before)
    assert verify(data.path)["ok"]


def test_verify_names_missing_and_shortened_files(make):
    data = make({"a.txt": lines(1, 60)}, split="line", shard_tokens=200)
    (data.path / "shard_00001.bin").unlink()
    (data.path / "shard_00002.bin").write_bytes(b"\0\0")
    problems = sorted(verify(data.path)["problems"])
    assert [Path(problem.split(":")[0]).name for problem in problems] == ["shard_00001.bin", "shard_00002.bin"]
    assert "missing" in problems[0]
    assert "2 bytes; the index says 400" in problems[1]


def rewritten(data: DataFolder, **changes: object) -> None:
    value = json.loads((data.path / "index.json").read_text()) | changes
    write_json(data.path / "index.json", value)


def test_open_refuses_folders_that_are_not_what_they_say(make, tmp_path):
    def opened(spoil) -> None:
        data = make({"a.txt": BOOK}, force=True)
        spoil(data)
        DataFolder.open(data.path)

    for spoil, message in [
        (lambda data: rewritten(data, format_version=9), r"index\.json: format version 9; this tohum reads version 1"),
        (lambda data: rewritten(data, format="other"), "not the index of a data folder"),
        (lambda data: rewritten(data, period=7), "does not match its own hash"),
        (lambda data: (data.path / "index.json").write_text("{"), r"index\.json: damaged"),
        (lambda data: (data.path / "shard_00000.bin").unlink(), r"shard_00000\.bin: missing"),
        (lambda data: (data.path / "shard_00000.bin").write_bytes(b"12"), r"shard_00000\.bin: 2 bytes; the index says"),
        (lambda data: (data.path / "documents_00000_val.bin").unlink(), r"documents_00000_val\.bin: missing"),
        (lambda data: train([BOOK], kind="char", vocab_size=None).save(data.path / "tokenizer"),
         r"tokenizer\.json: not the tokenizer that this data was prepared with"),
    ]:
        with pytest.raises(DataError, match=message) as error:
            opened(spoil)
        assert len(str(error.value).splitlines()) <= 3
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        DataFolder.open(tmp_path / "nowhere")
    (tmp_path / "plain").mkdir()
    with pytest.raises(DataError, match=r"plain: not a data folder \(no index\.json in it\)"):
        read_index(tmp_path / "plain")


def test_texts_stop_where_told(make):
    data = make({"a.txt": lines(1, 40)}, split="line")
    whole = list(data.texts("train"))
    assert "".join(data.texts("train", at_most_tokens=30)) == "".join(whole)[:len("".join(data.texts("train", at_most_tokens=30)))]
    assert len("".join(data.texts("train", at_most_tokens=30))) <= 30
    assert sorted(whole + list(data.texts("val"))) == sorted(lines(1, 40).splitlines())
