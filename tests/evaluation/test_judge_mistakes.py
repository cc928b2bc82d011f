"""`tohum judge` and mistakes: what is wrong is named, nothing is overwritten, the key is never shown."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from tohum.errors import ConfigError, DataError, FailedError

from .judge_runs import answers, arguments, run
from .judge_server import NAME, JudgeServer


def test_judge_names_an_endpoint_that_nobody_answers(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    result = run(str(answers(tmp_path)), "--endpoint", f"http://127.0.0.1:{port}", "--model", NAME)
    assert isinstance(result.exception, ConfigError)
    assert f"http://127.0.0.1:{port}/v1/chat/completions cannot be reached: Connection refused" in str(result.exception)
    assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == [tmp_path / "answers.jsonl"]


@pytest.mark.parametrize(("endpoint", "more", "seen"), [
    ("/elsewhere/v2", (), r"/elsewhere/v2/chat/completions: 404 Not Found: Not Found"),
    ("/v1", ("--model", "no-such"), "404 Not Found: model 'no-such' not found"),
])
def test_judge_names_a_wrong_url_or_model(server, tmp_path, endpoint, more, seen):
    base = server.url.removesuffix("/v1") + endpoint
    result = run(str(answers(tmp_path)), "--endpoint", base, "--model", NAME, *more)
    assert isinstance(result.exception, ConfigError)
    assert seen in str(result.exception)
    assert server.asked.total() == 0


def test_judge_shows_what_answers_without_being_a_judge(server, tmp_path):
    server.always = "html"
    result = run(*arguments(answers(tmp_path), server))
    assert "answers, but not with a chat completion: <!doctype html><title>Welcome</title>" in str(result.exception)


def test_judge_sends_the_key_and_never_shows_it(judge_model, tmp_path, monkeypatch):
    path, secret = answers(tmp_path), "sk-secret-1234567890"
    with JudgeServer(judge_model, key=secret) as server:
        result = run(*arguments(path, server))
        assert isinstance(result.exception, ConfigError)
        assert "401 Unauthorized" in str(result.exception)
        assert "--api-key-env" in str(result.exception)
        monkeypatch.setenv("JUDGE_KEY", secret + "x")
        result = run(*arguments(path, server, "--api-key-env", "JUDGE_KEY"))
        assert "wrong key: Bearer ***" in str(result.exception)
        assert "secret" not in str(result.exception) + repr(result.exception) + result.output
        monkeypatch.setenv("JUDGE_KEY", secret)
        result = run(*arguments(path, server, "--api-key-env", "JUDGE_KEY", "--json"))
        assert result.exit_code == 0
        assert "secret" not in result.output + Path(json.loads(result.stdout)["out"]).read_text()
    for value, seen in ((None, "is not set"), ("two words", "holds characters that no key has")):
        monkeypatch.delenv("JUDGE_KEY") if value is None else monkeypatch.setenv("JUDGE_KEY", value)
        result = run(*arguments(path, server, "--api-key-env", "JUDGE_KEY"))
        assert f"--api-key-env JUDGE_KEY: that environment variable {seen}" in str(result.exception)


def test_judge_follows_no_redirect(server, tmp_path):
    server.always = "moved"
    result = run(*arguments(answers(tmp_path), server))
    assert isinstance(result.exception, ConfigError)
    assert "which has moved to http://127.0.0.1:9/elsewhere: 302" in str(result.exception)


@pytest.mark.parametrize(("content", "seen"), [
    ("", "answers.jsonl: no rows; expected one JSON object per line, with the keys prompt, expected, answer"),
    ('{"prompt": "a", "expected": "b", "answer": "c"}\n\nnot json\n', "answers.jsonl:3: not valid JSON"),
    ('{"prompt": "a", "expected": "b"}\n', "answers.jsonl:1: no 'answer'; the keys that are there: prompt, expected"),
    ("[1, 2]\n", "answers.jsonl:1: a JSON list; expected an object"),
])
def test_judge_names_file_and_line_of_bad_answers(server, tmp_path, content, seen):
    path = tmp_path / "answers.jsonl"
    path.write_text(content, "utf-8")
    result = run(*arguments(path, server))
    assert isinstance(result.exception, DataError)
    assert seen in str(result.exception)
    assert server.asked.total() == 0


def test_judge_appends_to_no_file_of_somebody_else(server, tmp_path):
    path = answers(tmp_path)
    before = path.read_bytes()
    result = run(*arguments(path, server, "--out", str(path)))
    assert isinstance(result.exception, ConfigError)
    assert f"{path}:1: not a judgement" in str(result.exception)
    note = tmp_path / "note.txt"
    note.write_text("one line without an end", "utf-8")
    assert "note.txt:1: not a judgement" in str(run(*arguments(path, server, "--out", str(note))).exception)
    assert (path.read_bytes(), note.read_text()) == (before, "one line without an end")
    assert server.asked.total() == 0


def test_judge_fails_when_nothing_was_scored(server, tmp_path):
    server.always = "malformed"
    result = run(*arguments(answers(tmp_path, 3), server, "--retries", "0"))
    assert isinstance(result.exception, FailedError)
    assert "none of 3 answers was scored; no score in the reply: 'I like it a lot.'" in str(result.exception)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_judge_says_that_the_disk_is_full(server, tmp_path, monkeypatch):
    path, out = answers(tmp_path), tmp_path / "full"
    out.symlink_to("/dev/full")
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"")  # reading it would never end
    result = run(*arguments(path, server, "--out", str(out)))
    assert isinstance(result.exception, FailedError)
    assert "the disk is full" in str(result.exception)
