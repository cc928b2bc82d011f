"""`tohum evaluate`: texts and data folders, the JSON object, and the messages for mistakes."""

import json
import math
import random

import pytest
import torch
from click.testing import CliRunner, Result

from tohum.cli.main import cli
from tohum.data_sampling.loader import evaluation_batches, text_batches
from tohum.data_sampling.shards import DataFolder
from tohum.documents.document import Document
from tohum.errors import TohumError
from tohum.evaluation import text as text_module
from tohum.evaluation.perplexity import evaluate
from tohum.evaluation.text import text_ids
from tohum.loading.folder import load_model, model_sha256, save_model
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network
from tohum.tokenizing.training import train

WORDS = ["the", "seed", "grows", "under", "küçük", "ağaç", "🌱", "and", "one,", "two,", "three!"]


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer, a model with random weights, a text and a data folder."""
    folder = tmp_path_factory.mktemp("evaluate")
    tokenizer = train([words(500, 0)], kind="bpe", vocab_size=280)
    attention = AttentionSpec(heads=2, kv_heads=1, head_width=16, rope_base=10_000.0, qk_norm=True)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    config = ModelConfig(vocab_size=tokenizer.vocab_size, width=32, context=24, layers=(layer, layer),
                         norm=NormSpec(kind="rms", eps=1e-6))
    torch.manual_seed(1)
    save_model(folder / "model", config, Network(config).state_dict(), tokenizer)
    (folder / "book.txt").write_text(words(300, 1), "utf-8")
    (folder / "more.jsonl").write_text("".join(json.dumps({"text": words(20, n)}) + "\n" for n in range(30)), "utf-8")
    tokenizer.save(folder / "tokenizer")
    run("data", "prepare", str(folder / "more.jsonl"), "--tokenizer", str(folder / "tokenizer"), "--out",
        str(folder / "data"))
    return folder


def run(*arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, list(arguments), input=stdin)
    if result.exception and not isinstance(result.exception, TohumError | SystemExit):
        raise result.exception
    return result


def measured(*arguments: str, stdin: str | None = None) -> dict:
    result = run("evaluate", *arguments, "--json", "--device", "cpu", stdin=stdin)
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def test_evaluate_of_a_text_equals_the_library(folder):
    found = measured(str(folder / "model"), "--text", str(folder / "book.txt"))
    model = load_model(folder / "model")
    ids = model.tokenizer.document_ids(words(300, 1))
    wanted = evaluate(model.network, text_batches(ids, max_length=24, rows=5), model.tokenizer.byte_lengths)
    assert found["loss"] == pytest.approx(wanted.loss, rel=1e-6)
    assert (found["tokens"], found["bytes"]) == (len(ids) - 1, wanted.bytes)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits_per_byte"] == pytest.approx(found["loss"] * found["tokens"] / math.log(2) / found["bytes"])
    assert found["model_sha256"] == model_sha256(folder / "model")
    first = len(model.tokenizer.token_bytes(ids[0]))
    assert found["bytes"] == len(words(300, 1).encode()) - first  # the first token is not predicted


def test_evaluate_does_not_depend_on_the_rows_per_pass_but_on_the_window(folder):
    arguments = [str(folder / "model"), "--text", str(folder / "book.txt")]
    whole, rows, short = measured(*arguments), measured(*arguments, "--batch-rows", "1"), measured(*arguments, "--max-length", "5")
    assert rows["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert short["tokens"] == whole["tokens"]
    assert abs(short["loss"] - whole["loss"]) > 1e-4


def test_evaluate_of_a_data_folder_is_its_validation_split(folder):
    found = measured(str(folder / "model"), "--data", str(folder / "data"))
    model, data = load_model(folder / "model"), DataFolder.open(folder / "data")
    wanted = evaluate(model.network, evaluation_batches(data, split="val", max_length=24, rows=16),
                      model.tokenizer.byte_lengths)
    assert found["loss"] == pytest.approx(wanted.loss, rel=1e-6)
    assert found["tokens"] < data.val_tokens


def test_evaluate_reads_records_and_stdin(folder):
    records = measured(str(folder / "model"), "--text", str(folder / "more.jsonl"))
    tokenizer = load_model(folder / "model").tokenizer
    assert records["tokens"] == sum(len(tokenizer.document_ids(words(20, n))) for n in range(30)) - 1
    from_stdin = measured(str(folder / "model"), "--text", "-", stdin=words(300, 1))
    assert from_stdin["loss"] == measured(str(folder / "model"), "--text", str(folder / "book.txt"))["loss"]


def test_evaluate_shows_the_hash_beside_the_score(folder):
    shown = run("evaluate", str(folder / "model"), "--text", str(folder / "book.txt"))
    assert "bits per byte  " in shown.stdout
    assert f"sha256 {model_sha256(folder / 'model')}" in shown.stdout


def test_text_ids_of_a_document_in_pieces_have_one_end(folder, monkeypatch):
    tokenizer = load_model(folder / "model").tokenizer
    pieces = [Document("one two ", "a", continues=True), Document("three", "a"), Document("four", "b")]
    ids = text_ids(pieces, tokenizer).tolist()
    assert ids == [*tokenizer.encode("one two "), *tokenizer.document_ids("three"), *tokenizer.document_ids("four")]
    monkeypatch.setattr(text_module, "STRETCH_CHARACTERS", 50)
    long = text_ids([Document(words(100, 3), "c")], tokenizer)
    assert tokenizer.decode(long.tolist()) == words(100, 3)
    assert text_ids([], tokenizer).tolist() == []


@pytest.mark.parametrize(("arguments", "seen"), [
    ((), "evaluate needs a text: give either --text SOURCE or --data DIR"),
    (("--text", "a", "--data", "b"), "either --text SOURCE or --data DIR"),
    (("--text", "BOOK", "--max-length", "25"), "--max-length 25: the model's context is 24 tokens"),
    (("--text", "missing.txt"), "missing.txt: no such file"),
])
def test_evaluate_names_the_mistake(folder, arguments, seen):
    given = [str(folder / "book.txt") if argument == "BOOK" else argument for argument in arguments]
    result = run("evaluate", str(folder / "model"), *given)
    assert isinstance(result.exception, TohumError)
    assert seen in str(result.exception)


def test_evaluate_refuses_data_of_another_tokenizer(folder, tmp_path):
    train(["quite another text, with other pairs"], kind="bpe", vocab_size=262).save(tmp_path / "tokenizer")
    run("data", "prepare", str(folder / "more.jsonl"), "--tokenizer", str(tmp_path / "tokenizer"), "--out",
        str(tmp_path / "data"))
    result = run("evaluate", str(folder / "model"), "--data", str(tmp_path / "data"))
    assert "prepared with tokenizer" in str(result.exception)
