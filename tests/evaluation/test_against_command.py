"""`tohum evaluate TUNED --against BASE` with tiny models: one that learned, one that forgot, one that is the same."""

import json
import random
import shutil
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner, Result

from tests.exporting.conftest import CHATML
from tohum.cli.main import cli
from tohum.errors import TohumError
from tohum.evaluation.answer_file import AnswerRow, write_answers
from tohum.evaluation.card_text import card_text
from tohum.evaluation.compare import Trial, compare_models
from tohum.evaluation.general_text import general_documents
from tohum.evaluation.respond import manner_of, prompt_ids
from tohum.finetuning.adapter_folder import AdapterFiles, Base
from tohum.loading.folder import load_model, save_model
from tohum.lora.adapter import add_lora
from tohum.lora.config import LoraConfig
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "lemon": "yellow"}
QUESTIONS = [AnswerRow(prompt=f"{thing} is", expected=colour) for thing, colour in COLOURS.items()]
TEXT = " ".join(random.Random(0).choices([*COLOURS, *COLOURS.values(), "is", "and", "the"], k=1500))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """base: random weights. tuned: the same, trained on the answers alone. twin: a copy of base."""
    folder = tmp_path_factory.mktemp("against")
    words = train([TEXT], kind="bpe", vocab_size=300)
    attention = AttentionSpec(heads=2, kv_heads=1, head_width=16, rope_base=10_000.0)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    config = ModelConfig(vocab_size=words.vocab_size, width=32, context=48, layers=(layer, layer),
                         norm=NormSpec(kind="rms", eps=1e-6))
    torch.manual_seed(1)
    network = Network(config)
    fit(network, words, [(TEXT[start : start + 150], "") for start in range(0, 3000, 150)], steps=60)
    save_model(folder / "base", config, network.state_dict(), words)
    shutil.copytree(folder / "base", folder / "twin")
    fit(network, words, [(row.prompt, " " + row.expected) for row in QUESTIONS], steps=60)
    save_model(folder / "tuned", config, network.state_dict(), words)
    (folder / "book.txt").write_text(TEXT[4000:], "utf-8")
    write_answers(folder / "prompts.jsonl", QUESTIONS)
    return folder


def fit(network: Network, words: Tokenizer, pairs: list[tuple[str, str]], *, steps: int) -> None:
    """Some steps of Adam on prompts with their answers and an end; what pads a row is no target."""
    rows = [[*words.encode(prompt + answer), words.eos_id][:48] for prompt, answer in pairs]
    longest = max(map(len, rows))
    inputs = torch.tensor([row[:-1] + [0] * (longest - len(row)) for row in rows])
    targets = torch.tensor([row[1:] + [-100] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.logits(inputs).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, TohumError | SystemExit):
        raise result.exception
    return result


def measured(*arguments: str) -> dict:
    result = run(*arguments, "--json", "--device", "cpu")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def test_against_shows_what_was_gained_and_what_was_forgotten(folder):
    found = measured(folder / "tuned", "--against", folder / "base", "--text", folder / "book.txt", "--prompts",
                     folder / "prompts.jsonl", "--max-tokens", "12")
    card = found["against"]
    assert card["gains"]["exact_match"]["after"] == 1
    assert card["gains"]["token_f1"]["verdict"] == "better"
    assert card["gains"]["token_f1"]["difference"]["low"] > 0
    assert card["forgetting"]
    assert card["nothing_changed"] is None
    assert card["general"]["rise"]["low"] > 0.02
    alone = measured(folder / "tuned", "--text", folder / "book.txt")
    numbers = {key: value for key, value in alone.items() if key != "model_sha256"}
    assert {key: found[key] for key in numbers} == pytest.approx(numbers, rel=1e-6)
    assert found["model_sha256"] == alone["model_sha256"]
    other = measured(folder / "base", "--text", folder / "book.txt")
    assert card["general"]["before"]["bits_per_byte"] == pytest.approx(other["bits_per_byte"], rel=1e-6)
    assert (card["base_sha256"], card["tuned_sha256"]) == (other["model_sha256"], alone["model_sha256"])


def test_against_a_copy_says_that_nothing_changed(folder):
    shown = run(folder / "twin", "--against", folder / "base", "--text", folder / "book.txt", "--prompts",
                folder / "prompts.jsonl", "--max-tokens", "4", "--device", "cpu")
    assert shown.exit_code == 0
    assert "NOTHING CHANGED: both have the same weights" in shown.stdout
    assert "FORGETTING" not in shown.stdout
    assert "6 questions, 100% answered alike" in shown.stdout


def test_against_measures_a_fixed_part_of_python_docs_unless_told(folder, monkeypatch):
    documents = general_documents()
    assert documents == general_documents()
    assert 30_000 < sum(len(document.text) for document in documents) < 70_000
    assert max(len(document.text) for document in documents) == 1000
    monkeypatch.setattr("tohum.evaluation.general_text.general_documents", lambda: documents[:6])
    found = measured(folder / "tuned", "--against", folder / "base")["against"]
    assert "python-docs" in found["general"]["text"]
    assert found["gains"] == {}
    assert found["questions"] == 0
    size = sum(len(document.text.encode()) for document in documents[:6])
    assert size - 10 < found["general"]["after"]["bytes"] <= size


def test_compare_models_is_what_the_command_shows(folder):
    base, tuned = load_model(folder / "base"), load_model(folder / "tuned")
    found = compare_models(base, tuned, trial=Trial(questions=QUESTIONS, text="", windows=None, max_tokens=12))
    shown = run(folder / "tuned", "--against", folder / "base", "--text", folder / "book.txt", "--prompts",
                folder / "prompts.jsonl", "--max-tokens", "12", "--device", "cpu").stdout
    rows = [line for line in card_text(found).splitlines() if "token F1" in line or "chrF" in line]
    assert [row.split()[1:8] for row in rows] == [line.split()[1:8] for line in shown.splitlines()
                                                  if "token F1" in line or "chrF" in line]
    assert found.general is None


def test_a_model_with_a_template_is_asked_and_its_base_like_it(folder, tmp_path):
    shutil.copytree(folder / "tuned", tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text(CHATML, "utf-8")
    chat, base = load_model(tmp_path / "chat"), load_model(folder / "base")
    manner = manner_of(chat)
    ids = prompt_ids(chat, manner, "sky is")
    assert chat.tokenizer.decode(ids) == "<|im_start|>user\nsky is<|im_end|>\n<|im_start|>assistant\n"
    assert prompt_ids(chat, manner, [{"role": "user", "content": "sky is"}]) == ids
    assert prompt_ids(base, manner_of(base, manner), "sky is") == ids
    assert prompt_ids(base, manner_of(base), "sky is") == base.tokenizer.prompt_ids("sky is")
    ends = replace(manner, ends=Ends(ids=frozenset({7})))
    assert manner_of(base, ends).ends.ids == base.stop_ids | {7}
    assert manner_of(base, replace(ends, tokenizer_sha256="another")).ends.ids == base.stop_ids
    with pytest.raises(TohumError, match="has no chat template, but a prompt is a list of messages"):
        prompt_ids(base, manner_of(base), [{"role": "user", "content": "sky is"}])


def test_against_asks_the_base_as_it_asks_the_tuned_model(folder, tmp_path):
    """Without the template of its tuned twin, the base would continue the prompt, and answer otherwise."""
    shutil.copytree(folder / "twin", tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text(CHATML, "utf-8")
    found = measured(tmp_path / "chat", "--against", folder / "base", "--text", folder / "book.txt", "--prompts",
                     folder / "prompts.jsonl", "--max-tokens", "8")
    assert found["against"]["identical_fraction"] == 1


def test_against_takes_adapters_on_either_side(folder, tmp_path):
    """One that learned nothing yet: its own files, but to the last bit the text of its base."""
    base, lora = Base.of(folder / "base"), LoraConfig(rank=2)
    loaded = load_model(folder / "base")
    add_lora(loaded.network, lora, torch.Generator().manual_seed(0))
    AdapterFiles(base=base, lora=lora, tokenizer=loaded.tokenizer).save(tmp_path, loaded.network)
    text = ("--text", folder / "book.txt")
    found = measured(tmp_path, "--against", folder / "base", *text)["against"]
    assert found["tuned_sha256"] != found["base_sha256"]
    assert found["nothing_changed"] == "the general text costs both the same, to the last bit"
    assert measured(folder / "tuned", "--against", tmp_path, *text)["against"]["forgetting"]


def test_against_compares_models_of_different_tokenizers_by_bytes(folder, tmp_path):
    other = train([TEXT[:500]], kind="bpe", vocab_size=270)
    config = load_model(folder / "base").config.replace(vocab_size=other.vocab_size, context=30)
    torch.manual_seed(2)
    save_model(tmp_path / "other", config, Network(config).state_dict(), other)
    found = measured(folder / "base", "--against", tmp_path / "other", "--text", folder / "book.txt")
    assert found["max_length"] == 30  # the shorter context
    assert found["against"]["general"]["rise"]["high"] < 0
    assert found["against"]["general"]["before"]["tokens"] != found["against"]["general"]["after"]["tokens"]


@pytest.mark.parametrize(("arguments", "seen"), [
    (("--prompts", "prompts.jsonl"), "name it with --against BASE"),
    (("--against", "nothing"), "nothing: no such folder"),
    (("--against", "base", "--prompts", "book.txt"), "book.txt:1: not valid JSON"),
    (("--against", "base", "--max-length", "49"), "--max-length 49: the model's context is 48 tokens"),
    (("--against", "base", "--text", "none.txt"), "none.txt: no such file"),
])
def test_against_names_the_mistake(folder, arguments, seen, monkeypatch):
    monkeypatch.chdir(folder)
    text = () if "--text" in arguments else ("--text", "book.txt")
    result = run("tuned", *arguments, *text)
    assert isinstance(result.exception, TohumError)
    assert seen in str(result.exception)
