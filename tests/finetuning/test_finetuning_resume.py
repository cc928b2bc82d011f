"""A run that was stopped, or killed, and continued is the run that was not: weights, optimizer, metrics, test."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.finetuning.commands import command
from tests.finetuning.tiny import CASES, metrics, same_bits, weights, write_answers, write_labelled, write_singles
from tohum.errors import CheckpointError, ConfigError, StoppedError
from tohum.training import checkpoint, loop
from tohum.training.journal import read_lines
from tohum.training.stopping import StopRequests

# Two passes a step or more, dropout where it is allowed, figures of every second step, a cut in the middle of them.
COURSE = {"training__steps": 9, "training__micro_tokens": 60, "training__eval_every": 4, "training__save_every": 4,
          "training__sample_every": 3, "training__report_every": 2}
EVERYWHERE = COURSE | {"lora__dropout": 0.2}
RUNS = {"classify": EVERYWHERE, "classify-all": COURSE, "classify-last-block": COURSE, "classify-head": COURSE,
        "instruct": EVERYWHERE, "instruct-bytes": EVERYWHERE, "instruct-all": COURSE, "dpo": COURSE, "simpo": COURSE, "kto": COURSE}
FIGURES = ("steps", "tokens", "train_loss", "val_loss", "best_step", "trainable_parameters")


def stopping_after(patch, steps, passes):
    """Every process asks to stop when so many steps are done; `passes` gets the number of passes of each."""
    step = loop.optimizer_step

    def counted(parts, number, **more):
        passes.append(len(list(parts.batches.step(number))))
        return step(parts, number, **more)

    patch.setattr(loop, "optimizer_step", counted)
    patch.setattr(StopRequests, "pending", property(lambda _: len(passes) >= steps))


def assert_same_run(whole, broken, results):
    assert same_bits(whole, broken)
    assert metrics(whole) == metrics(broken)
    assert [results[0][name] for name in FIGURES] == [results[1][name] for name in FIGURES]
    for name in ("loss", "accuracy", "macro_f1", "margin", "token_f1", "temperature"):
        assert results[0]["test"].get(name) == results[1]["test"].get(name)


@pytest.mark.parametrize("name", RUNS)
def test_a_finetuning_run_stopped_and_continued_gives_the_same_bits(name, dropping, files, tmp_path, monkeypatch):
    whole, broken, passes = tmp_path / "whole", tmp_path / "broken", []
    results = [CASES[name].fit(dropping, files, whole, **RUNS[name])]
    with monkeypatch.context() as patch:
        stopping_after(patch, 5, passes)
        with pytest.raises(StoppedError, match=r"checkpoint of step 5 saved.*\nrun again with --resume") as stopped:
            CASES[name].fit(dropping, files, broken, **RUNS[name])
    assert stopped.value.exit_code == 75
    assert name == "classify-head" or min(passes) >= 2
    results.append(CASES[name].fit(dropping, files, broken, resume=True, **RUNS[name]))
    assert_same_run(whole, broken, results)
    assert not (broken / "cache").exists()


@pytest.mark.parametrize("name", ["classify", "instruct", "dpo"])
def test_a_run_killed_between_its_last_checkpoint_and_its_result_finds_the_result_again(name, base, files, tmp_path):
    first = CASES[name].fit(base, files, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    again = CASES[name].fit(base, files, tmp_path / "run", resume=True)
    for result in (first, again):  # what depends on the process, of which this is one for both
        for key in ("seconds", "peak_memory_bytes", "predicted_peak_memory_bytes"):
            del result[key]
    assert again == first


@pytest.mark.parametrize("name", RUNS)
def test_the_same_seed_gives_the_same_bits_and_evaluating_or_sampling_changes_nothing(name, dropping, files, tmp_path):
    changes = RUNS[name] | {"training__steps": 3, "training__report_every": 1}
    CASES[name].fit(dropping, files, tmp_path / "a", **changes)
    seen = changes | {"training__eval_every": 1, "training__sample_every": 1, "training__save_every": 1}
    CASES[name].fit(dropping, files, tmp_path / "b", **seen)
    assert same_bits(tmp_path / "a", tmp_path / "b")
    steps = [[line for line in metrics(tmp_path / run) if line["kind"] in ("step", "figures")] for run in "ab"]
    assert steps[0] == steps[1]


def test_another_seed_gives_another_run(dropping, files, tmp_path):
    for seed in (1, 2):
        CASES["classify"].fit(dropping, files, tmp_path / str(seed), training__steps=1, training__seed=seed)
    assert not same_bits(tmp_path / "1", tmp_path / "2")


def labelled(base, files, out, *more):
    return ("finetune", "classify", base, "--data", files / "labelled.tsv", "--out", out, "--steps", 12,
            "--set", "training.threads=1", "--set", "training.save_every=7", "--set", "lora.dropout=0.1",
            "--set", "training.micro_tokens=128", "--set", "training.eval_every=10", "--set",
            "training.batch_rows=4", "--dtype", "fp32", *more)


@pytest.mark.slow
def test_a_command_killed_and_given_again_with_resume_gives_the_same_bits(dropping, files, tmp_path, monkeypatch,
                                                                           capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    long = ("--steps", 150)
    assert command(monkeypatch, capsys, *labelled(dropping, files, whole, *long)).code == 0
    process = subprocess.Popen([sys.executable, "-m", "tohum", *map(str, labelled(dropping, files, broken, *long))],
                               stderr=subprocess.DEVNULL)
    while not (broken / "metrics.jsonl").is_file() or len(read_lines(broken / "metrics.jsonl")) < 40:
        time.sleep(0.02)
        assert process.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < checkpoint.steps(broken)[-1] < 150
    done = command(monkeypatch, capsys, *labelled(dropping, files, broken, *long, "--resume", "--json"))
    assert done.code == 0, done.err
    assert same_bits(whole, broken)
    assert metrics(whole) == metrics(broken)
    assert json.loads(done.out)["steps"] == 150


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_leaves_with_its_code(number, code, base, files, tmp_path):
    out = tmp_path / "run"
    arguments = map(str, labelled(base, files, out, "--steps", 100_000))
    process = subprocess.Popen([sys.executable, "-m", "tohum", *arguments], stderr=subprocess.PIPE, text=True)
    while not checkpoint.steps(out):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "run again with --resume" in said
    assert "Traceback" not in said
    assert checkpoint.steps(out)[-1] == max(line["step"] for line in read_lines(out / "metrics.jsonl"))


def test_max_hours_saves_and_leaves_with_75_and_can_be_given_anew(base, files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    stopped = command(monkeypatch, capsys, *labelled(base, files, out, "--max-hours", 1e-7))
    assert "max_hours reached" in stopped.refused(75)
    assert command(monkeypatch, capsys, *labelled(base, files, out, "--max-hours", 1, "--resume")).code == 0


def test_resume_starts_when_there_is_nothing_and_repeats_the_result_of_a_finished_run(base, files, tmp_path,
                                                                                      monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    arguments = labelled(base, files, tmp_path / "run", "--resume", "--json")
    first = command(monkeypatch, capsys, *arguments)
    assert first.code == 0, first.err
    kept = weights(tmp_path / "run")
    again = command(monkeypatch, capsys, *arguments)
    assert json.loads(again.out) == json.loads(first.out)
    assert "training" not in again.err
    assert weights(tmp_path / "run").keys() == kept.keys()


def test_resume_with_other_options_names_them_and_with_none_takes_those_of_the_run(base, files, tmp_path, monkeypatch,
                                                                                   capsys):
    arguments = labelled(base, files, tmp_path / "run", "--json")
    first = command(monkeypatch, capsys, *arguments)
    said = command(monkeypatch, capsys, *arguments, "--resume", "--lora-rank", 4, "--seed", 3).refused()
    assert "lora.rank was not given, now 4" in said
    assert "training.seed was 1337, now 3" in said
    bare = command(monkeypatch, capsys, "finetune", "classify", base, "--data", files / "labelled.tsv", "--out",
                   tmp_path / "run", "--resume", "--json")
    assert bare.code == 0, bare.err
    assert json.loads(bare.out) == json.loads(first.out)
    other = command(monkeypatch, capsys, "finetune", "classify", base, "--data", files / "pairs.jsonl", "--out",
                    tmp_path / "run", "--resume").refused()
    assert f"data.file was {files / 'labelled.tsv'}, now {files / 'pairs.jsonl'}" in other
    assert "exists already; give --resume" in command(monkeypatch, capsys, *arguments).refused()


@pytest.mark.parametrize(("name", "write"), [
    ("classify", write_labelled), ("instruct", write_answers), ("kto", write_singles)])
def test_resume_on_other_data_is_refused(name, write, base, files, tmp_path):
    file = tmp_path / CASES[name].data
    write(file)
    CASES[name].fit(base, tmp_path, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    if name == "kto":
        write(file, flipped=True)  # the same answers, with the other marks
    else:
        write(file, 33)
    with pytest.raises(CheckpointError, match=r"made with another data fingerprint: [0-9a-f]{64}, now [0-9a-f]{64}"):
        CASES[name].fit(base, tmp_path, tmp_path / "run", resume=True)


def test_a_folder_that_is_no_run_is_not_taken_for_one(base, files, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no run"):
        CASES["classify"].fit(base, files, tmp_path, resume=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
