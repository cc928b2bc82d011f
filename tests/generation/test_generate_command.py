"""`tohum generate`: what goes to stdout, the JSON object, and the messages for mistakes."""

import json
import re
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner, Result

from tohum.cli.main import cli
from tohum.errors import TohumError


def generate(model, *arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["generate", str(model), "--device", "cpu", *arguments], input=stdin)


def answer(model, *arguments: str, stdin: bytes | None = None) -> dict:
    result = generate(model, "--json", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def message(result: Result) -> str:
    """The user's error lines of a command that failed."""
    assert isinstance(result.exception, TohumError), result
    return str(result.exception)


def test_generate_prints_only_the_new_text_on_stdout(model):
    found = answer(model, "--prompt", "the seed", "--max-tokens", "12")
    shown = generate(model, "--prompt", "the seed", "--max-tokens", "12")
    assert shown.stdout == found["text"] + "\n"
    assert len(found["token_ids"]) <= 12
    assert re.search(r"\d+ tokens in [\d.]+ s \([\d,]+ per second\), seed 1337, ended by (length|stop)", shown.stderr)


def test_generate_json_holds_what_the_contract_names(model):
    found = answer(model, "--prompt", "the", "--max-tokens", "5", "--temperature", "0")
    assert set(found) == {"text", "token_ids", "finish_reason", "prompt_tokens", "tokens_per_second"}
    assert found["finish_reason"] in ("stop", "length")
    assert found["prompt_tokens"] == 3
    assert found["tokens_per_second"] > 0


def test_generate_lists_all_samples_of_all_prompts(model):
    found = answer(model, "--prompt", "the", "--prompt", "One", "--n", "2", "--max-tokens", "15")
    assert [sample["prompt"] for sample in found["samples"]] == ["the", "the", "One", "One"]
    assert found["text"] == found["samples"][0]["text"] == answer(model, "--prompt", "the", "--max-tokens", "15")["text"]
    assert found["samples"][0]["text"] != found["samples"][1]["text"]
    assert found["samples"][2]["text"] == answer(model, "--prompt", "One", "--max-tokens", "15")["text"]
    shown = generate(model, "--prompt", "the", "--prompt", "One", "--n", "2", "--max-tokens", "15")
    assert shown.stdout == "".join(sample["text"] + "\n" for sample in found["samples"])
    assert "-- text 3 of 4: 'One'" in shown.stderr


def test_generate_reads_the_prompt_from_stdin_without_its_last_line_end(model):
    wanted = answer(model, "--prompt", "one\ntwo ş", "--max-tokens", "8")
    assert answer(model, "--prompt", "-", "--max-tokens", "8", stdin="one\ntwo ş\n".encode())["token_ids"] == wanted["token_ids"]
    assert answer(model, "--prompt", "-", "--max-tokens", "8", stdin="one\ntwo ş\r\n".encode())["token_ids"] == wanted["token_ids"]


def test_generate_without_a_prompt_begins_a_document(model):
    assert answer(model, "--max-tokens", "6")["prompt_tokens"] == 1


def test_generate_gives_the_same_text_for_the_same_seed_only(model):
    texts = [answer(model, "--prompt", "the", "--seed", seed, "--temperature", "1.2")["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_generate_ends_before_a_stop_string(model):
    whole = answer(model, "--prompt", "the", "--max-tokens", "30", "--seed", "5")["text"]
    stop = whole[6:8]
    found = answer(model, "--prompt", "the", "--max-tokens", "30", "--seed", "5", "--stop", stop, "--stop", "@@@@")
    assert found["text"] == whole[: whole.index(stop)]
    assert found["finish_reason"] == "stop"


def test_generate_says_when_a_prompt_is_longer_than_the_context(model):
    result = generate(model, "--prompt", "three " * 40, "--max-tokens", "3")
    assert result.exit_code == 0
    assert "but the model's context is 24; its last 12 were read" in result.stderr


def test_generate_streams_into_a_pipe_as_bytes_of_utf8(model):
    command = [sys.executable, "-m", "tohum", "generate", str(model), "--prompt", "Küçük", "--max-tokens", "40"]
    done = subprocess.run(command, capture_output=True, check=True)
    wanted = answer(model, "--prompt", "Küçük", "--max-tokens", "40")["text"]
    assert done.stdout.decode("utf-8") == wanted + "\n"


@pytest.mark.parametrize(("arguments", "seen"), [
    (("--temperature", "-1"), r"temperature = -1\.0: input should be greater than or equal to 0"),
    (("--top-p", "1.5"), r"top_p = 1\.5: input should be less than or equal to 1"),
    (("--top-k", "0"), r"top_k = 0: input should be greater than 0"),
    (("--min-p", "2"), r"min_p = 2\.0"),
    (("--repetition-penalty", "0"), r"repetition_penalty = 0\.0"),
    (("--stop", ""), r"stop string is empty"),
    (("--prompt", "-", "--prompt", "-"), r"--prompt - is given twice"),
    (("--prompt", "a\udcffb"), r"--prompt: not UTF-8 text: surrogates not allowed at byte 1"),
])
def test_generate_names_the_mistake(model, arguments, seen):
    assert re.search(seen, message(generate(model, *arguments)))


def test_generate_names_bytes_on_stdin_that_are_no_text(model):
    assert "stdin: not UTF-8 text: invalid start byte at byte 2" in message(generate(model, "--prompt", "-", stdin=b"ab\xff"))


def test_generate_names_a_folder_that_is_no_model(model, tmp_path):
    assert f"{tmp_path}" in message(generate(tmp_path, "--prompt", "x"))
    assert "no such folder" in message(generate(tmp_path / "nothing", "--prompt", "x"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_generate_refuses_a_device_that_is_not_there(model):
    result = CliRunner().invoke(cli, ["generate", str(model), "--prompt", "x", "--device", "cuda"])
    assert "torch sees no CUDA device" in message(result)
