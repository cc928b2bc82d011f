"""Bad input through the command line: the exit code, one to three lines that name it, nothing left behind."""

import errno
import json
import shutil

import pytest

from tests.finetuning.commands import command
from tests.finetuning.tiny import (
    CASES,
    make_base,
    write_answers,
    write_labelled,
    write_pairs,
    write_rows,
    write_singles,
)
from tohum.finetuning.asking import share_out

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = ("--steps", 1, "--dtype", "fp32", "--set", "training.threads=1")
ENDLESS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" \
          "{% if add_generation_prompt %}assistant: {% endif %}"


@pytest.fixture
def run(monkeypatch, capsys):
    """`tohum ARGUMENTS`."""
    return lambda *arguments: command(monkeypatch, capsys, *arguments)


@pytest.fixture
def tune(run, base, tmp_path):
    """`tohum finetune STAGE BASE --data FILE --out …/out` with one step."""
    return lambda stage, data, *more: run("finetune", stage, base, "--data", data, "--out", tmp_path / "out", *QUICK,
                                          *more)


def text_file(path, text):
    path.write_text(text, "utf-8")
    return path


LABELLED = [
    ("text,label\n" + "".join(f"text {n},same\n" for n in range(9)), "one class only, 'same', in 9 rows"),
    ("text,label\na,x\nb,\nc,y\n", "rows.csv:3: no label in column 2"),
    ("text,label\na,x\nb,y\n", "would be empty"),
    ("text,label\n", "no row"),
    ("", "rows.csv"),
    ("text,label\n" + "".join(f"text {n},{n}.5\n" for n in range(40)), "not classes"),
    ("text,label\n,x\n,y\n", "no row with a text"),
]


@pytest.mark.parametrize(("text", "message"), LABELLED)
def test_a_labelled_file_that_cannot_be_learned_is_refused(text, message, tune, tmp_path):
    assert message in tune("classify", text_file(tmp_path / "rows.csv", text)).refused()
    assert not (tmp_path / "out").exists()


def test_an_empty_text_is_left_out_of_training_and_refused_as_a_question(tune, run, tmp_path):
    rows = write_labelled(tmp_path / "rows.tsv").read_text() + "\tusual\n"
    done = tune("classify", text_file(tmp_path / "rows.tsv", rows))
    assert done.code == 0, done.err
    assert "left out: 1 rows, empty text" in done.err
    assert "--text: text 1 is empty" in run("classify", tmp_path / "out", "--text", "").refused()


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_tiny_files_work_or_are_refused_with_a_remedy(rows, tune, tmp_path):
    done = tune("instruct", write_answers(tmp_path / "answers.jsonl", rows), "--set", "data.answer_tokens=2")
    assert done.code == 0, done.err
    shutil.rmtree(tmp_path / "out")
    for method, file in (("dpo", write_pairs(tmp_path / "pairs.jsonl", rows)),
                         ("kto", write_singles(tmp_path / "singles.jsonl", rows))):
        done = tune("prefer", file, "--method", method, "--set", "data.answer_tokens=2", "--force")
        assert done.code == 0, done.err
    shutil.rmtree(tmp_path / "out")
    two = text_file(tmp_path / "rows.tsv", "".join(f"text {n}\t{'ab'[n % 2]}\n" for n in range(rows)))
    done = tune("classify", two, "--text-column", 1, "--label-column", 2)
    if done.code:
        assert any(word in done.refused() for word in ("would be empty", "one class only"))
        assert not (tmp_path / "out").exists()
    else:
        assert rows == 5


TALKS = [
    ([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
      {"messages": [{"role": "user", "content": "a"}]}], "rows.jsonl:2: 'messages' has no assistant turn (user)"),
    ([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}],
     "rows.jsonl:1: 'messages', turn 2: the assistant's answer is empty"),
    ([{"messages": [{"role": "king", "content": "a"}]}], 'rows.jsonl:1: \'messages\', turn 1: role is "king"'),
    ([{"prompt": "a", "completion": ""}], "rows.jsonl:1: 'completion' is empty"),
    ([{"chosen": "a", "rejected": "b"}], "tohum finetune prefer"),
    ([{"words": "a"}], "the keys are words"),
]


@pytest.mark.parametrize(("rows", "message"), TALKS)
def test_conversations_that_cannot_be_learned_are_refused_with_their_line(rows, message, tune, tmp_path):
    assert message in tune("instruct", write_rows(tmp_path / "rows.jsonl", rows)).refused()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("more", "message"), [
    (("--max-length", 8), "nothing is left to train on; 25 dropped: longer than 8 tokens"),
    (("--max-length", 8, "--overlong", "truncate"), "no token of an answer within the length"),
    (("--max-length", 12, "--overlong", "error"), "tokens, but the length is 12"),
    (("--max-length", 4000), "the model's context is 128 tokens"),
    (("--template", "chatmml"), "template 'chatmml' is neither a style nor a file; did you mean 'chatml'?"),
    (("--lora-rank", 4, "--train", "all"), "training.train=all trains weights of the model itself and lora.rank=4"),
    (("--train", "head"), "this model's output head is its token table"),
    (("--dtype", "fp16"), "--dtype fp16 needs loss scaling"),
    (("--epochs", 1), "epochs and steps exclude each other"),
    (("--set", "lora.targets=['qery']"), "'qery' matches no linear of this model; did you mean 'query'"),
    (("--set", "lora.rnak=4"), "unknown key 'lora.rnak'; did you mean 'lora.rank'"),
    (("--set", "data.fractions=[0.5,0.1,0.1]"), "expected three shares that add up to 1"),
])
def test_options_that_cannot_be_honoured_are_refused(more, message, tune, files, tmp_path):
    assert message in tune("instruct", files / "answers.jsonl", *more).refused()
    assert not (tmp_path / "out").exists()


def test_a_template_without_an_end_of_turn_is_refused(tune, files, tmp_path):
    template = text_file(tmp_path / "endless.jinja", ENDLESS)
    said = tune("instruct", files / "answers.jsonl", "--template", template).refused()
    assert "not with an end of turn: the model would never stop" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("file", "more", "message"), [
    ("singles.jsonl", (), "--method dpo compares two answers to one prompt, but the file holds single answers"),
    ("singles.jsonl", ("--method", "orpo"), "use --method kto, or a file with chosen and rejected"),
    ("answers.jsonl", (), "expected prompt, chosen, rejected"),
    ("pairs.jsonl", ("--train", "all"), "which only an adapter leaves as it is"),
    ("pairs.jsonl", ("--set", "lora.dropout=0.1"), "preference losses compare two passes"),
    ("pairs.jsonl", ("--method", "ppo"), "'ppo' is not one of"),
])
def test_preferences_that_cannot_be_learned_are_refused(file, more, message, tune, files, tmp_path):
    assert message in tune("prefer", files / file, *more).refused()
    assert not (tmp_path / "out").exists()


def test_what_is_no_model_or_no_file_is_refused(run, base, files, tmp_path):
    arguments = ("--data", files / "answers.jsonl", "--out", tmp_path / "out", *QUICK)
    assert "no such folder" in run("finetune", "instruct", tmp_path / "nowhere", *arguments).refused()
    assert "holds neither config.json" in run("finetune", "instruct", files, *arguments).refused()
    gone = run("finetune", "instruct", base, "--data", tmp_path / "gone.jsonl", "--out", tmp_path / "out").refused()
    assert "gone.jsonl: no such file" in gone
    assert not (tmp_path / "out").exists()


def test_an_adapter_whose_base_is_another_or_gone_is_refused_everywhere(run, files, tmp_path):
    base = make_base(tmp_path / "own")
    CASES["instruct"].fit(base, files, tmp_path / "run")
    shutil.rmtree(base)
    arguments = (("generate", tmp_path / "run", "--prompt", "x"), ("merge", tmp_path / "run", "--out", tmp_path / "m"),
                 ("finetune", "prefer", tmp_path / "run", "--data", files / "pairs.jsonl", "--out", tmp_path / "out"))
    for one in arguments:
        assert f"its base is {base}, which is not here" in run(*one).refused()
    make_base(base, seed=1)
    for one in arguments:
        assert "was trained on weights" in run(*one).refused()
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "out").exists()


def test_a_base_of_bytes_is_frozen_and_no_adapter_is_merged_into_it(run, base, files, tmp_path):
    CASES["instruct"].fit(base, files, tmp_path / "run")
    arguments = ("finetune", "instruct", tmp_path / "run", "--data", files / "answers.jsonl", "--out", tmp_path / "out",
                 "--set", "lora.base_format=int8")
    assert f"merge it first: tohum merge {tmp_path / 'run'}" in run(*arguments, *QUICK).refused()
    assert "would freeze as bytes" in run(*arguments, "--train", "all").refused()
    assert not (tmp_path / "out").exists()


def test_a_classifier_does_not_chat_and_a_language_model_does_not_classify(run, base, files, tmp_path):
    for name in ("classify", "classify-all"):
        CASES[name].fit(base, files, tmp_path / name)
        for arguments in (("generate", tmp_path / name, "--prompt", "x"), ("chat", tmp_path / name),
                          ("evaluate", tmp_path / name, "--text", files / "answers.jsonl")):
            assert "is a classifier; it answers with classes, not with text" in run(*arguments).refused()
        again = run("finetune", "instruct", tmp_path / name, "--data", files / "answers.jsonl", "--out",
                    tmp_path / "out", *QUICK)
        assert "is a classifier" in again.refused()
    CASES["instruct"].fit(base, files, tmp_path / "instruct")
    for model in (base, tmp_path / "instruct"):
        assert "is a language model, not a classifier" in run("classify", model, "--text", "x").refused()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["classify", "classify-all", "instruct-all"])
def test_a_full_disk_is_told_before_step_0_and_nothing_is_left(name, run, base, files, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    for place in ("tohum.finetuning.adapter_folder.write_file", "tohum.loading.classifier.write_weights",
                  "tohum.loading.folder.write_weights"):
        monkeypatch.setattr(place, full)
    case = CASES[name]
    more = ("--train", case.changes["training.train"]) if case.changes else ()
    said = run("finetune", case.kind, base, "--data", files / case.data, "--out", tmp_path / "out", *QUICK, *more)
    assert "the disk is full" in said.refused(1)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_command_leaves_the_run_that_was_there(tune, files, tmp_path):
    first = tune("classify", files / "labelled.tsv", "--json")
    assert first.code == 0, first.err
    assert "one class only" in tune("classify", text_file(tmp_path / "rows.csv", LABELLED[0][0]), "--force").refused()
    assert json.loads((tmp_path / "out" / "result.json").read_text())["test"] == json.loads(first.out)["test"]


def test_texts_that_are_too_long_on_a_small_side_do_not_end_the_run(tune, tmp_path):
    """Validation and test go without."""
    rows = [{"prompt": f"Say {number}?", "completion": "tree " * 2} for number in range(12)]
    sides = share_out(rows, lambda row: [{"role": "user", "content": row["prompt"]}], (0.8, 0.1, 0.1), 1337)
    for row in sides["validation"] + sides["test"]:
        row["completion"] = "tree " * 200
    for stage, answers in (("instruct", rows), ("prefer", [
            {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "stone"} for row in rows])):
        done = tune(stage, write_rows(tmp_path / "rows.jsonl", answers), "--set", "data.answer_tokens=2",
                    "--set", "data.fractions=[0.8,0.1,0.1]", "--force")
        assert done.code == 0, done.err
        for side in ("validation", "test"):
            assert f"note: the run goes without {side} rows: " in done.err
