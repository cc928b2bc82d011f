"""The `tohum data` commands as a user calls them."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tohum.cli.data import Progress, parse_weights
from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.prepare import prepare
from tohum.errors import ConfigError
from tohum.tokenizing.tokenizer import Tokenizer

MAIN = "import sys; from tohum.cli.main import main; main()"


def tohum(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", MAIN, "data", *map(str, arguments)], input=stdin,
                          capture_output=True, check=False, timeout=60)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def folder(tmp_path: Path, characters: Tokenizer) -> Path:
    characters.save(tmp_path / "tok")
    (tmp_path / "masal.txt").write_text("Bir varmış, bir yokmuş.\nEvvel zaman içinde,\n" * 20, "utf-8")
    prepare([str(tmp_path / "masal.txt")], characters, tmp_path / "data", PrepareConfig())
    return tmp_path


def test_prepare_prints_one_json_object_with_the_keys_of_the_contract(folder):
    done = tohum("prepare", folder / "masal.txt", "--tokenizer", folder / "tok", "--out", folder / "new", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert set(result) >= {"documents", "train_tokens", "val_tokens", "fingerprint", "sources"}
    assert not result["reused"]


def test_prepare_says_when_it_reuses_and_what_stops_it(folder):
    call = ("prepare", folder / "masal.txt", "--tokenizer", folder / "tok", "--out", folder / "data")
    assert "found again, nothing to do" in tohum(*call).stdout
    done = tohum(*call, "--val-fraction", "0.2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "val_fraction 0.1, now 0.2" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert "prepared in" in tohum(*call, "--val-fraction", "0.2", "--force").stdout


def test_prepare_reads_stdin_and_mixes_sources(folder):
    done = tohum("prepare", "-", folder / "masal.txt", "--tokenizer", folder / "tok", "--out", folder / "two", "--weights",
                 "stdin=3,masal=1", "--json", stdin="ışık ılık süt iç\n".encode() * 50)
    result = json.loads(done.stdout)
    assert [(source["name"], source["share"]) for source in result["sources"]] == [("stdin", 0.75), ("masal", 0.25)]


def test_prepare_does_not_import_torch(folder):
    code = MAIN.replace("main()", "\ntry: main()\nfinally: print('torch' in sys.modules, file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code, "data", "prepare", folder / "masal.txt", "--tokenizer", folder / "tok",
                           "--out", folder / "new"], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"


def test_inspect_shows_inputs_targets_and_document_boundaries(folder):
    text = tohum("inspect", folder / "data", "--max-length", 8).stdout
    assert "  inputs   ‖ B i r ␣ v a r m\n  targets  i r ␣ v a r m ı ş"[:40] in text
    assert "B i r → ␣" in text
    assert "masal" in text
    report = json.loads(tohum("inspect", folder / "data", "--json").stdout)
    assert {"ok", "problems", "sources", "windows"} <= set(report)
    assert report["ok"]
    window = report["windows"][0]
    assert window["inputs"][1:] == window["targets"][:-1]


def test_inspect_marks_where_documents_begin_and_what_may_surprise(folder, tmp_path):
    (tmp_path / "lines.txt").write_text("".join(f"{n}. satır\n" for n in range(30)), "utf-8")
    tohum("prepare", tmp_path / "lines.txt", "--tokenizer", folder / "tok", "--out", tmp_path / "lines", "--split", "line",
          "--val-fraction", "0")
    report = json.loads(tohum("inspect", tmp_path / "lines", "--json", "--max-length", 24).stdout)
    assert report["problems"] == ["no validation tokens: training cannot say how well it does on unseen text"]
    assert not report["ok"]
    first = report["windows"][0]
    assert first["documents_begin_at"][:3] == [0, 9, 18]
    assert first["inputs"][8] == "‹eos›"
    assert "‹eos› ‖ 1 ." in tohum("inspect", tmp_path / "lines", "--max-length", 24).stdout


def test_verify_succeeds_and_finds_a_flipped_bit(folder):
    done = tohum("verify", folder / "data", "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"], json.loads(done.stdout)["problems"]) == (0, True, [])
    shard = folder / "data" / "shard_00000.bin"
    content = bytearray(shard.read_bytes())
    content[random.Random(1).randrange(len(content))] ^= 1
    shard.write_bytes(content)
    done = tohum("verify", folder / "data", "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["ok"], len(result["problems"])) == (1, False, 1)
    assert f"{shard}: content changed since it was written" in result["problems"][0]
    assert tohum("verify", folder / "data").returncode == 1


@pytest.mark.parametrize(("arguments", "message"), [
    (("verify", "nowhere"), "nowhere: no such data folder"),
    (("inspect", "nowhere"), "nowhere: no such data folder"),
    (("prepare", "nowhere.txt", "--tokenizer", "{tok}", "--out", "x"), "nowhere.txt: no such file or folder"),
    (("prepare", "{text}", "--tokenizer", "{tok}", "--out", "x", "--weights", "a"), "--weights a: 'a' is not NAME=NUMBER"),
    (("prepare", "{text}", "--tokenizer", "{tok}", "--out", "x", "--val-fraction", "2"), "val_fraction = 2.0"),
    (("prepare", "{text}", "--tokenizer", "{tok}", "--out", "/proc/x"), "/proc"),
])
def test_mistakes_are_answered_in_at_most_three_lines(folder, arguments, message):
    filled = [argument.format(tok=folder / "tok", text=folder / "masal.txt") for argument in arguments]
    done = tohum(*filled)
    assert message in done.stderr
    assert done.returncode in (1, 2)
    assert 1 <= len(done.stderr.splitlines()) <= 3
    assert "Traceback" not in done.stderr


def test_weights_are_parsed_and_refused():
    assert parse_weights("a=2, b/c=0.5") == {"a": 2.0, "b/c": 0.5}
    for text in ("a", "=1", "a=x", "a=1,,b=2"):
        with pytest.raises(ConfigError, match="is not NAME=NUMBER"):
            parse_weights(text)


def test_progress_off_a_terminal_prints_a_line_with_the_time_left_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 15.0, 16.0, 30.0])
    monkeypatch.setattr("tohum.cli.data.time.monotonic", lambda: next(clock))
    with Progress() as progress:
        for done in (10, 25, 30, 80):
            progress.update("encoding", done, 100)
    assert capsys.readouterr().err.splitlines() == ["encoding: 25%, about 42 s left", "encoding: 80%, about 7 s left"]
