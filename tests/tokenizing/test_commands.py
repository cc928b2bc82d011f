"""`tohum tokenizer`: every verb, its JSON, and what it says to mistakes."""

import gzip
import json
import sys

import pytest
from click.testing import CliRunner

from tohum.cli.main import cli, main
from tohum.documents.source import open_sources
from tohum.tokenizing.sampling import EvenSample


@pytest.fixture
def tohum():
    def run(*arguments, stdin=None):
        return CliRunner().invoke(cli, list(map(str, arguments)), input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("Ağaç tohumdan büyür.\r\nA tree grows from a seed.\r\n".encode() * 50)
    return path


def test_train_encode_decode_inspect_compare(tohum, text, tmp_path):
    out = tmp_path / "tok"
    made = json.loads(tohum("tokenizer", "train", text, "--vocab-size", "280", "--out", out, "--json").stdout)
    assert {"kind", "vocab_size", "bytes_per_token", "seconds", "out"} <= made.keys()
    assert made["vocab_size"] == 280
    ids = json.loads(tohum("tokenizer", "encode", "--tokenizer", out, "--text", "ağaç", "--json").stdout)["ids"]
    shown = tohum("tokenizer", "decode", "--tokenizer", out, *ids, "--json")
    assert json.loads(shown.stdout)["text"] == "ağaç"
    assert json.loads(tohum("tokenizer", "decode", "--tokenizer", out, "--json", stdin=str(ids)[1:-1]).stdout) == {"text": "ağaç"}
    assert "bytes per token" in tohum("tokenizer", "inspect", "--tokenizer", out, "--text", "A seed").stdout
    rows = json.loads(tohum("tokenizer", "compare", out, "--text", text, "--json").stdout)["rows"]
    assert rows[0]["exact"]
    assert rows[0]["unused"] > 0


def fails(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["tohum", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "said"), [
    (("train", "missing.txt", "--out", "o"), "missing.txt: no such file"),
    (("decode", "--tokenizer", "tok", "12", "x3"), "'x3' is no token id"),
    (("encode", "--tokenizer", "nothing"), "nothing: no such file or folder"),
    (("train", "python-docs", "--kind", "bep", "--out", "o"), "'bep' is not one of")])
def test_mistakes_are_told_in_a_line_with_exit_code_2(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, error = fails(monkeypatch, capsys, "tokenizer", *arguments)
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) <= 3


def test_nothing_is_replaced_without_force(monkeypatch, capsys, tohum, text, tmp_path):
    tohum("tokenizer", "train", text, "--kind", "char", "--out", tmp_path / "tok")
    code, error = fails(monkeypatch, capsys, "tokenizer", "train", text, "--kind", "char", "--out", tmp_path / "tok")
    assert code == 2
    assert "give --force to replace it" in error
    assert tohum("tokenizer", "train", text, "--kind", "char", "--out", tmp_path / "tok", "--force").exit_code == 0


def test_a_sample_is_even_and_not_larger_than_asked(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("".join(f"line {number:06d}\n" for number in range(100_000)), "utf-8")  # 1.2 MB
    sample = EvenSample(open_sources([str(path)]), 200_000)
    taken = list(sample)
    assert 150_000 < sum(map(len, taken)) <= 200_000
    numbers = [int(piece.splitlines()[1].split()[1]) for piece in taken]
    assert min(numbers) < 10_000
    assert max(numbers) > 85_000
    assert list(sample) == taken
    packed = tmp_path / "packed.jsonl.gz"
    with gzip.open(packed, "wt") as file:
        file.writelines(json.dumps({"text": f"document {number} {'x' * 200}"}) + "\n" for number in range(5000))
    from_packed = list(EvenSample(open_sources([str(packed)]), 100_000))
    assert int(from_packed[-1].split()[1]) > 4_900
    assert "".join(EvenSample(open_sources([str(path)]), 10**9)) == path.read_text("utf-8")


def test_bytes_that_are_no_text_on_standard_input_are_told(tohum, text, tmp_path, monkeypatch, capsys):
    tohum("tokenizer", "train", text, "--kind", "char", "--out", tmp_path / "tok")
    found = CliRunner().invoke(cli, ["tokenizer", "encode", "--tokenizer", str(tmp_path / "tok")], input=b"a\xff")
    assert "byte 1 (0xFF) is no UTF-8" in str(found.exception)
