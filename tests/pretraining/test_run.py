"""A pre-training run from end to end: files, determinism, lengths, refusals."""

import errno
import json
import math
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tohum.config import resolve
from tohum.errors import CheckpointError, ConfigError, NonFiniteError
from tohum.pretraining.config import PretrainRecipe
from tohum.pretraining.run import Request, pretrain
from tohum.training import checkpoint
from tohum.training.journal import read_lines


def losses(run):
    return [line["loss"] for line in read_lines(run / "metrics.jsonl") if line["kind"] == "step"]


def weights(run):
    return load_file(run / "last" / "model.safetensors")


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_writes_everything_the_contract_names_and_learns(fit, tmp_path):
    out = tmp_path / "run"
    result = fit(out, training__steps=40, training__sample_every=20, training__prompts=("the ",))
    assert {"steps", "tokens", "seconds", "tokens_per_second", "train_loss", "val_loss", "val_bits_per_byte",
            "peak_memory_bytes", "checkpoint"} <= result.keys()
    for name in ("config.toml", "env.json", "metrics.jsonl", "samples.jsonl", "plan.json", "result.json",
                 "best", "last", "last/config.json", "last/tokenizer.json", "last/training/state.json"):
        assert (out / name).exists(), name
    curve = losses(out)
    assert curve[-1] < curve[0] - 0.5
    assert result["steps"] == 40
    assert result["val_bits_per_byte"] == pytest.approx(result["val_loss"] / math.log(2), rel=0.05)
    assert [line["step"] for line in read_lines(out / "samples.jsonl")] == [20, 40]
    assert not list(out.rglob(".*draft"))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_runs_do_every_step_and_end_with_a_checkpoint(fit, tmp_path, steps):
    result = fit(tmp_path / "run", training__steps=steps)
    assert result["steps"] == steps == len(losses(tmp_path / "run"))
    assert checkpoint.steps(tmp_path / "run")[-1] == steps


def test_same_seed_gives_the_same_bits_and_evaluation_or_sampling_changes_nothing(fit, tmp_path):
    fit(tmp_path / "a", model__dropout=0.2)
    fit(tmp_path / "b", model__dropout=0.2, training__eval_every=1, training__sample_every=1)
    fit(tmp_path / "c", model__dropout=0.2, training__seed=1)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert same_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_the_stored_recipe_reproduces_its_curve_bit_for_bit(fit, tmp_path):
    fit(tmp_path / "a", model__dropout=0.1)
    recipe = resolve(PretrainRecipe, file=tmp_path / "a" / "config.toml")
    pretrain(Request(recipe=recipe, out=tmp_path / "b"))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert same_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize("packing", ["concatenated", "isolated"])
def test_the_loss_of_a_step_does_not_depend_on_how_it_is_split(fit, tmp_path, packing):
    common = {"training__dtype": "fp64", "data__packing": packing}
    fit(tmp_path / "whole", training__micro_batch=4, **common)
    fit(tmp_path / "split", training__micro_batch=1, **common)
    assert losses(tmp_path / "split") == pytest.approx(losses(tmp_path / "whole"), rel=1e-12)


def test_training_opens_no_socket(fit, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    fit(tmp_path / "run")


def test_a_non_finite_loss_stops_before_the_update_and_keeps_the_checkpoint(fit, tmp_path, monkeypatch):
    from tohum.training import objective

    real, calls = objective.cross_entropy_sum, []

    def spoiled(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs) * (math.nan if len(calls) == 8 else 1.0)  # two micro-batches: in step 4

    monkeypatch.setattr(objective, "cross_entropy_sum", spoiled)
    with pytest.raises(NonFiniteError, match=r"step 4: loss nan.*weights were left unchanged") as stopped:
        fit(tmp_path / "run", training__save_every=1, training__eval_every=0)
    assert stopped.value.exit_code == 1
    assert checkpoint.steps(tmp_path / "run")[-1] == 3
    for tensor in load_file(checkpoint_folder(tmp_path / "run") / "model.safetensors").values():
        assert torch.isfinite(tensor).all()


def checkpoint_folder(run):
    return run / "checkpoints" / f"step-{checkpoint.steps(run)[-1]:08d}"


def test_patience_ends_a_run_that_stops_gaining_and_best_is_kept(fit, tmp_path):
    result = fit(tmp_path / "run", training__steps=60, training__eval_every=1, training__patience=2,
                 optimizer__lr=0.5, optimizer__embedding_lr=0.5, schedule__kind="constant", training__keep_last=1)
    assert result["steps"] < 60
    assert result["steps"] == result["best_step"] + 2
    assert (tmp_path / "run" / "best").resolve().name == f"step-{result['best_step']:08d}"
    assert len(checkpoint.steps(tmp_path / "run")) == 2


def test_tokens_become_steps_rounded_up(fit, tmp_path):
    assert fit(tmp_path / "run", training__steps=None, training__tokens="130")["steps"] == 3


def test_an_existing_folder_is_refused_without_resume_or_force(fit, tmp_path):
    fit(tmp_path / "run", training__steps=1)
    with pytest.raises(ConfigError, match=r"run exists already; give --resume"):
        fit(tmp_path / "run", training__steps=1)
    assert fit(tmp_path / "run", training__steps=2, force=True)["steps"] == 2


def test_resuming_a_finished_run_gives_its_result_again(fit, tmp_path):
    first = fit(tmp_path / "run")
    assert fit(tmp_path / "run", resume=True) == json.loads(json.dumps(first))


def test_a_run_killed_between_its_last_checkpoint_and_its_result_finds_the_result_again(fit, tmp_path):
    first = fit(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    again = fit(tmp_path / "run", resume=True)
    assert again["val_loss"] == first["val_loss"]
    assert again["model_sha256"] == first["model_sha256"]


def test_a_run_that_patience_ended_is_validated_on_the_whole_text(fit, tmp_path):
    fit(tmp_path / "run", training__steps=60, training__eval_every=1, training__eval_rows=1, training__patience=1,
        optimizer__lr=0.5, optimizer__embedding_lr=0.5, schedule__kind="constant")
    last = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "evaluation"][-1]
    assert last["whole"]


def test_text_prepared_without_validation_trains_and_has_no_validation_figures(tmp_path, data):
    from tohum.data_sampling.config import PrepareConfig
    from tohum.data_sampling.prepare import prepare
    from tohum.tokenizing.tokenizer import Tokenizer

    from .conftest import make_text, tiny

    prepare([str(make_text(tmp_path / "text"))], Tokenizer.load(data / "tokenizer"), tmp_path / "data",
            PrepareConfig(val_fraction=0))
    result = pretrain(Request(recipe=tiny(tmp_path / "data"), out=tmp_path / "run"))
    assert result["val_loss"] is None
    assert result["steps"] == 6


def test_a_run_that_cannot_save_says_so_before_step_0_and_leaves_nothing(fit, tmp_path, monkeypatch):
    from tohum.errors import FailedError

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    monkeypatch.setattr(checkpoint, "save_model", full)
    with pytest.raises(FailedError, match=r"the disk is full \([\d,]+ bytes free\); nothing half-written was kept"):
        fit(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_place_where_nothing_can_be_made_is_refused(fit):
    with pytest.raises(ConfigError, match=r"/proc/run: cannot be made there; choose another --out"):
        fit(Path("/proc/run"))


def test_resuming_with_another_recipe_names_the_difference(fit, tmp_path):
    fit(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"optimizer\.lr was not given, now 0\.5"):
        fit(tmp_path / "run", resume=True, optimizer__lr=0.5)


def test_resuming_on_other_data_is_refused(fit, tmp_path, data):
    fit(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for state in (tmp_path / "run").glob("checkpoints/*/training/state.json"):
        stored = json.loads(state.read_text())
        stored["identity"]["data fingerprint"] = "0" * 64
        state.write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match="made with another data fingerprint: 0000"):
        fit(tmp_path / "run", resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "training/optimizer.safetensors", "training/state.json"])
def test_a_truncated_checkpoint_is_named(fit, tmp_path, name):
    fit(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path = checkpoint_folder(tmp_path / "run") / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=path.name):
        fit(tmp_path / "run", resume=True)


def test_a_resume_without_a_run_starts_afresh_also_over_the_debris_of_a_killed_start(fit, tmp_path):
    assert fit(tmp_path / "new", resume=True)["steps"] == 6
    fit(tmp_path / "debris", training__steps=1)
    for path in (tmp_path / "debris" / "checkpoints").iterdir():
        path.rename(path.with_name(f".{path.name}.draft"))
    (tmp_path / "debris" / "result.json").unlink()
    assert fit(tmp_path / "debris", resume=True)["steps"] == 6


def test_batch_tokens_that_ranks_cannot_share_are_refused(data):
    from tohum.data_sampling.shards import DataFolder
    from tohum.pretraining.resolve import resolve as fill

    from .conftest import tiny

    with pytest.raises(ConfigError, match="4 windows of 16 tokens per step, which 3 processes cannot share"):
        fill(tiny(data), DataFolder.open(data), world_size=3)
