"""Interrupted and resumed = never interrupted, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tohum.config import write_toml
from tohum.errors import StoppedError
from tohum.pretraining.verify import verify_resume
from tohum.training import checkpoint
from tohum.training.journal import read_lines
from tohum.training.stopping import StopRequests

from .conftest import tiny


def same_bits(one, other, name="last/model.safetensors"):
    a, b = load_file(one / name), load_file(other / name)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def stop_after(monkeypatch, steps):
    """The process is told to stop when the journal has this many steps."""
    done = {"count": 0}
    monkeypatch.setattr(StopRequests, "pending", property(lambda self: done["count"] >= steps))
    real = checkpoint.save

    def count(*args, **kwargs):
        return real(*args, **kwargs)

    from tohum.training import loop

    step = loop.optimizer_step

    def counted(*args, **kwargs):
        done["count"] += 1
        return step(*args, **kwargs)

    monkeypatch.setattr(loop, "optimizer_step", counted)
    monkeypatch.setattr(checkpoint, "save", count)


@pytest.mark.parametrize("changes", [
    {"model__dropout": 0.2}, {"optimizer__kind": "adamw"}, {"data__packing": "isolated"},
    {"training__steps": 120, "training__eval_every": 50, "training__save_every": 50}])  # into the third epoch
def test_stopping_and_resuming_gives_the_weights_and_curve_of_an_unbroken_run(fit, tmp_path, changes, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole, **changes)
    with monkeypatch.context() as patch:
        stop_after(patch, 5 if "training__steps" not in changes else 93)
        with pytest.raises(StoppedError, match="run again with --resume") as stopped:
            fit(broken, **changes)
        assert stopped.value.exit_code == 75
    fit(broken, resume=True, **changes)
    assert same_bits(whole, broken)
    assert same_bits(whole, broken, "last/training/optimizer.safetensors")
    curves = [[line["loss"] for line in read_lines(run / "metrics.jsonl") if line["kind"] == "step"]
              for run in (whole, broken)]
    assert curves[0] == curves[1]


def test_a_kill_while_saving_leaves_the_checkpoint_before_it(fit, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole)

    class Killed(BaseException):
        pass

    real, calls = checkpoint.write_json, []

    def die(path, value):
        calls.append(path)
        if len(calls) == 3 and path.name == "state.json":  # preflight, step 2, then in the middle of step 3's
            raise Killed
        real(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", die)
        patch.setattr("tohum.files.shutil.rmtree", lambda *a, **k: None)  # a killed process cleans up nothing
        with pytest.raises(Killed):
            fit(broken)
    assert checkpoint.steps(broken) == [2]
    assert list((broken / "checkpoints").glob(".*draft"))
    fit(broken, resume=True)
    assert same_bits(whole, broken)
    assert not list((broken / "checkpoints").glob(".*draft"))


def command(tmp_path, data, out, **changes):
    write_toml(tmp_path / "recipe.toml", tiny(data, **changes))
    return [sys.executable, "-m", "tohum", "pretrain", "--config", str(tmp_path / "recipe.toml"), "--out", str(out)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_a_checkpoint_and_leave_with_their_code(tmp_path, data, number, code):
    out = tmp_path / "run"
    process = subprocess.Popen(command(tmp_path, data, out, training__steps=100_000, training__eval_every=0),
                               stderr=subprocess.PIPE, text=True)
    while not checkpoint.steps(out):
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "run again with --resume" in said
    assert "Traceback" not in said
    last = max(line["step"] for line in read_lines(out / "metrics.jsonl"))
    assert checkpoint.steps(out)[-1] == last


@pytest.mark.slow
def test_max_hours_saves_and_leaves_with_75(tmp_path, data):
    out = tmp_path / "run"
    done = subprocess.run([*command(tmp_path, data, out, training__steps=1_000_000), "--max-hours", "0.0005"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 75, done.stderr
    assert checkpoint.steps(out)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(fit, tmp_path, dtype):
    fit(tmp_path / "run", training__steps=60, training__dtype=dtype, model__dropout=0.1, training__save_every=7)
    found = verify_resume(tmp_path / "run", steps=200, kills=3, seed=1, say=lambda _: None, folder=tmp_path)
    assert found.identical
    assert found.kills >= 2


@pytest.mark.slow
def test_a_compiled_run_repeats_bit_for_bit_on_two_threads(fit, tmp_path):
    """Fused kernels would add the rows of the token table's gradient as threads come by."""
    changes = {"training__compile": True, "training__threads": 2, "training__steps": 30, "training__eval_every": 0,
               "training__batch_tokens": 512, "training__micro_batch": 8, "data__max_length": 32, "model__dropout": 0.1}
    for name in ("one", "other"):
        fit(tmp_path / name, **changes)
    assert same_bits(tmp_path / "one", tmp_path / "other")


ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tohum"]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp64", 1e-9), ("fp32", 1e-5)])
def test_one_process_and_two_agree(tmp_path, data, dtype, tolerance):
    """In loss; in float64 in gradient norm and weights too."""
    common = command(tmp_path, data, tmp_path / "one", training__steps=20, training__dtype=dtype,
                     training__save_every=20, training__eval_every=0)
    subprocess.run(common, check=True, capture_output=True, env=ONE_THREAD)
    done = subprocess.run([*TWO_PROCESSES, *common[3:-1], str(tmp_path / "two")], capture_output=True, text=True,
                          env=ONE_THREAD)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [[line for line in read_lines(tmp_path / run / "metrics.jsonl") if line["kind"] == "step"]
             for run in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 20
    for one, two in zip(*lines, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=tolerance)
        assert dtype == "fp32" or two["grad_norm"] == pytest.approx(one["grad_norm"], abs=1e-9)
    a, b = (load_file(tmp_path / run / "last" / "model.safetensors") for run in ("one", "two"))
    assert dtype == "fp32" or max(float((a[key] - b[key]).abs().max()) for key in a) < 1e-9


@pytest.mark.slow
def test_two_processes_share_one_budget(tmp_path, data):
    """One plan, though each has a clock of its own: with two, one process would wait for the other for ever."""
    common = command(tmp_path, data, tmp_path / "run", training__steps=None, training__budget=20.0)
    done = subprocess.run([*TWO_PROCESSES, *common[3:]], capture_output=True, text=True, env=ONE_THREAD, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    planned, lines = json.loads((tmp_path / "run" / "plan.json").read_text("utf-8")), read_lines(
        tmp_path / "run" / "metrics.jsonl")
    assert planned["steps"] > 50
    assert [line["step"] for line in lines if line["kind"] == "step"][-1] > 50
