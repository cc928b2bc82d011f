"""What a run leaves behind: adapters that peft opens, classifiers that transformers opens, merged models, stops."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.finetuning.commands import command
from tests.finetuning.tiny import CASES, make_base, metrics, step_lines, write_answers, write_labelled
from tohum.classification.predict import load_predictor
from tohum.data_sampling.windows import IGNORED
from tohum.errors import CheckpointError
from tohum.evaluation.respond import manner_of, respond
from tohum.finetuning.adapter_folder import load_adapted
from tohum.finetuning.base import open_base
from tohum.handle import load_at
from tohum.instruction.prepare import prepare
from tohum.loading.folder import load_model
from tohum.lora.adapter import adapters_off, detach

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = torch.arange(40).reshape(2, 20) * 7 % 300


def close(ours, theirs):
    ours, theirs = ours.detach(), theirs.detach()
    assert float(theirs.abs().max()) > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(theirs.abs().max())))


def a_base(request, name):
    return request.getfixturevalue(name)


@pytest.mark.parametrize("where", ["base", "dropping"])
@pytest.mark.parametrize("name", ["classify", "instruct", "dpo", "orpo", "simpo", "kto"])
def test_the_first_step_reaches_every_adapter_and_nothing_else(name, where, request, files, tmp_path, monkeypatch):
    opened = []

    def kept(*arguments, **more):
        opened.append(open_base(*arguments, **more))
        return opened[0]

    monkeypatch.setattr("tohum.finetuning.stage.open_base", kept)
    base = a_base(request, where)
    CASES[name].fit(base, files, tmp_path / "run", training__steps=1)
    network = opened[0].network
    grown = {key: value for key, value in network.named_parameters() if key.endswith("lora_b")}
    assert len(grown) == (14 if where == "base" else 12)
    assert all(float(value.detach().abs().max()) > 0 for value in grown.values())
    own = load_model(base).network.state_dict()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in own.items())


@pytest.mark.parametrize("where", ["base", "dropping", "untied"])
def test_peft_opens_an_assistant_and_merging_gives_the_same_logits(where, request, files, tmp_path, monkeypatch, capsys):
    base = a_base(request, where)
    CASES["instruct"].fit(base, files, tmp_path / "run")
    adapted, _ = load_adapted(tmp_path / "run" / "best")
    ours = adapted.network.eval().logits(IDS)
    assert float((ours - load_model(base).network.logits(IDS)).abs().max()) > 0.1
    close(ours, AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run" / "best").eval()(IDS).logits)
    merged = command(monkeypatch, capsys, "merge", tmp_path / "run", "--out", tmp_path / "merged", "--json")
    assert merged.code == 0, merged.err
    assert json.loads(merged.out)["greedy_agreement"] == 1
    close(load_model(tmp_path / "merged").network.logits(IDS), ours)
    close(AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(IDS).logits, ours)
    assert (tmp_path / "merged" / "chat_template.jinja").is_file()
    close(load_at(tmp_path / "run", "cpu", "fp32").network.logits(IDS), ours)


@pytest.mark.parametrize("where", ["base", "untied"])
def test_peft_opens_a_classifier_and_merging_gives_the_same_scores(where, request, files, tmp_path, monkeypatch, capsys):
    CASES["classify"].fit(a_base(request, where), files, tmp_path / "run", optimizer__lr=0.05)
    lengths = torch.tensor([20, 20])
    ours = load_predictor(tmp_path / "run", device=torch.device("cpu")).classifier(IDS, lengths)
    frame = AutoModelForSequenceClassification.from_pretrained(a_base(request, where), num_labels=2)
    frame.config.pad_token_id = 311
    close(PeftModel.from_pretrained(frame, tmp_path / "run" / "best").eval()(IDS).logits, ours)
    merged = command(monkeypatch, capsys, "merge", tmp_path / "run", "--out", tmp_path / "merged", "--json")
    assert merged.code == 0, merged.err
    close(load_predictor(tmp_path / "merged", device=torch.device("cpu")).classifier(IDS, lengths), ours)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    assert theirs.config.id2label == {0: "rare", 1: "usual"}
    close(theirs(IDS).logits, ours)


@pytest.mark.parametrize("where", ["base", "untied", "dropping"])
@pytest.mark.parametrize("name", ["classify-all", "classify-last-block", "classify-head"])
def test_transformers_opens_a_classifier_whose_own_weights_were_trained(name, where, request, files, tmp_path):
    CASES[name].fit(a_base(request, where), files, tmp_path / "run")
    ours = load_predictor(tmp_path / "run", device=torch.device("cpu")).classifier(IDS, torch.tensor([20, 20]))
    close(AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "best").eval()(IDS).logits, ours)
    names = set(load_file(tmp_path / "run" / "best" / "training" / "optimizer.safetensors"))
    assert any("score.weight" in each for each in names)
    assert any("blocks.0." in each for each in names) is (name == "classify-all")


def test_trained_rows_of_the_token_table_come_with_an_adapter_of_peft(base, tmp_path):
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(
        r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", trainable_token_indices=[3, 310]))
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    theirs.save_pretrained(tmp_path / "adapter")
    ids = torch.tensor([[3, 8, 310, 3, 9, 310]])
    close(load_adapted(tmp_path / "adapter", base=base)[0].network.logits(ids), theirs.eval()(ids).logits)


def test_new_tokens_are_no_part_of_the_reference_and_leave_with_their_adapter(base, files, tmp_path):
    CASES["dpo"].fit(base, files, tmp_path / "run", lora__new_tokens=("<wise>",), training__eval_every=1)
    first = next(line for line in metrics(tmp_path / "run") if line["kind"] == "evaluation")
    assert first["loss"] == float(-F.logsigmoid(torch.zeros(())))
    network, plain = load_adapted(tmp_path / "run" / "last")[0].network, load_model(base).network.logits(IDS)
    moved = network.logits(IDS)
    assert float((moved[..., :312] - plain).detach().abs().max()) > 0.1
    new = torch.tensor([[312, 5, 312]])
    assert network.config.vocab_size == 313
    with adapters_off(network):
        assert torch.equal(network.logits(IDS)[..., :312], plain)
        before = network.logits(new)
    assert float((network.logits(new) - before).detach().abs().max()) > 1e-3
    detach(network)
    assert torch.equal(network.logits(IDS)[..., :312], plain)
    assert torch.equal(network.logits(new), before)


def test_an_adapter_tuned_further_stands_on_a_merged_base_also_where_another_run_was(base, files, tmp_path):
    CASES["instruct"].fit(base, files, tmp_path / "one")
    CASES["instruct"].fit(base, files, tmp_path / "two", training__seed=5)
    for first in ("one", "two"):
        CASES["dpo"].fit(tmp_path / first, files, tmp_path / "polite", force=True)
        under = load_model(tmp_path / "polite" / "base").network
        close(under.logits(IDS), load_at(tmp_path / first, "cpu", "fp32").network.logits(IDS))
    lines = [line for line in metrics(tmp_path / "polite") if line["kind"] == "evaluation"]
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-7)


def test_every_turn_of_the_assistant_teaches_its_end_though_padding_is_the_same_token(base, files, tmp_path):
    case = CASES["instruct"]
    opened = open_base(base, tmp_path, continued=False, dtype=torch.float32, device=torch.device("cpu"))
    assert opened.tokenizer.pad_id == opened.tokenizer.eos_id
    rows = prepare(case.recipe(base, files), opened, lambda _: None)
    sides = (rows.train, rows.validation, rows.test)
    turns = sum(line.count('"assistant"') for line in (files / "answers.jsonl").read_text().splitlines())
    assert sum(int((side.targets == opened.tokenizer.eos_id).sum()) for side in sides) == turns == 40
    assert all((side.targets != IGNORED).any() for side in sides)


SPELLED = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %} #stop#{% endif %}\n" \
          "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"


@pytest.mark.parametrize("end", ["", " #stop#"])  # a token, by the base's own template, and a text of several
def test_an_overfitted_assistant_ends_its_answers(end, base, tmp_path):
    write_answers(tmp_path / "answers.jsonl", 10)
    (spelled := tmp_path / "spelled.jinja").write_text(SPELLED)
    CASES["instruct-all"].fit(base, tmp_path, tmp_path / "run", training__steps=80, training__batch_rows=10,
                              data__fractions=(1.0, 0.0, 0.0), **({"data__template": str(spelled)} if end else {}))
    loaded = load_at(tmp_path / "run", "cpu", "fp32")
    assert loaded.ends.texts == ((end.strip(),) if end else ())
    prompts = [json.loads(line)["messages"][:1] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    answers = respond(loaded, prompts, manner=manner_of(loaded), max_tokens=60)
    assert sum(answer.finish_reason == "stop" for answer in answers) >= 0.95 * len(answers)
    expected = [json.loads(line)["messages"][1]["content"] for line in
                (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert sum(a.text.strip() == e for a, e in zip(answers, expected, strict=True)) >= 8


@pytest.mark.parametrize("where", ["base", "dropping"])
@pytest.mark.parametrize(("name", "at_first"), [("dpo", float(-F.logsigmoid(torch.zeros(())))), ("kto", 0.5)])
def test_preference_losses_begin_where_nothing_has_moved(name, at_first, where, request, files, tmp_path):
    CASES[name].fit(a_base(request, where), files, tmp_path / "run")
    first = next(line for line in metrics(tmp_path / "run") if line["kind"] == "evaluation")
    assert first["step"] == 0
    assert first["loss"] == at_first
    assert (first["margin"], first["accuracy"]) == (0, 0)
    assert step_lines(tmp_path / "run")[0]["loss"] == pytest.approx(at_first, abs=1e-7)
    figures = [line for line in metrics(tmp_path / "run") if line["kind"] == "figures"]
    assert [line["step"] for line in figures] == [1, 2, 3, 4, 5]
    assert abs(figures[-1]["margin"]) > 0.01


def test_margins_that_stay_flat_are_told(base, files, tmp_path):
    said = []
    CASES["dpo"].fit(base, files, tmp_path / "run", say=said.append, optimizer__lr=1e-12)
    assert [line for line in said if "the reward margin on the test pairs is still 0" in line]
    CASES["dpo"].fit(base, files, tmp_path / "other", say=(fine := []).append)
    assert not [line for line in fine if "margin" in line]


def test_patience_ends_a_run_and_the_best_weights_are_tested(base, tmp_path):
    write_labelled(tmp_path / "labelled.tsv")
    result = CASES["classify"].fit(base, tmp_path, tmp_path / "run", training__steps=60, training__eval_every=1,
                                   training__patience=3, optimizer__lr=0.3, training__keep_last=1)
    assert result["steps"] == result["best_step"] + 3 < 60
    assert result["checkpoint"] == str((tmp_path / "run" / "best").resolve())
    lines = [line for line in metrics(tmp_path / "run") if line["kind"] == "evaluation"]
    assert result["val_loss"] == min(line["loss"] for line in lines)
    for name in ("config.toml", "env.json", "plan.json", "result.json", "metrics.jsonl"):
        assert (tmp_path / "run" / name).is_file()


def test_the_balance_of_classes_reaches_the_loss(base, files, tmp_path):
    losses = {}
    for balance in ("weights", "none"):
        CASES["classify"].fit(base, files, tmp_path / balance, data__balance=balance, training__steps=1)
        losses[balance] = step_lines(tmp_path / balance)[0]["loss"]
    assert losses["weights"] != losses["none"]
    assert {"macro_f1", "per_class", "majority_baseline"} <= json.loads(
        (tmp_path / "weights" / "result.json").read_text())["test"].keys()


def test_an_adapter_of_another_base_is_refused(base, files, tmp_path):
    CASES["instruct"].fit(base, files, tmp_path / "run")
    other = make_base(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match=r"was trained on weights [0-9a-f]{12}, but .*other holds others"):
        load_adapted(tmp_path / "run" / "best", base=other)
