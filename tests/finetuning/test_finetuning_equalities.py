"""However a step is split, packed or spread over processes, it is the same step: loss, gradient norm, weights."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.finetuning.tiny import CASES, largest_difference, step_lines, weights
from tohum.finetuning.examples import Example, ExampleSet
from tohum.finetuning.layout import micro_batches

SPLIT = ("classify", "classify-all", "classify-head", "instruct", "instruct-padded", "instruct-all", "dpo", "orpo",
         "simpo", "kto", "kto-pairs")
SPREAD = ("classify", "classify-head", "instruct", "instruct-all", "dpo", "kto")
FP64 = {"training__dtype": "fp64"}


def assert_same_course(one, other):
    """Losses within 1e-9 over the five steps, and what the clipping and AdamW made of the gradients too."""
    lines = [step_lines(run) for run in (one, other)]
    assert len(lines[0]) == len(lines[1]) == 5
    for a, b in zip(*lines, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0, abs=1e-9)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=0, abs=1e-9)
        assert b["tokens"] == a["tokens"]
    assert lines[0][0]["loss"] != lines[0][-1]["loss"]
    assert largest_difference(one, other) < 1e-9


@pytest.mark.parametrize("name", SPLIT)
def test_finetuning_in_one_pass_or_a_row_at_a_time_is_the_same_run(name, base, files, tmp_path, monkeypatch):
    from tohum.training import loop

    passes = []
    step = loop.optimizer_step

    def counted(parts, number, **more):
        passes.append(len(list(parts.batches.step(number))))
        return step(parts, number, **more)

    monkeypatch.setattr(loop, "optimizer_step", counted)
    CASES[name].fit(base, files, tmp_path / "whole", **FP64)
    CASES[name].fit(base, files, tmp_path / "split", training__micro_tokens=1, **FP64)
    assert passes[:5] == [1] * 5
    assert min(passes[5:]) > 1
    assert_same_course(tmp_path / "whole", tmp_path / "split")


def test_a_packed_row_is_no_longer_than_the_context_and_than_a_pass():
    examples = ExampleSet(Example(ids=[1] * size, targets=[1] * size) for size in (30, 20, 10, 10, 9, 8, 7, 6, 3))
    for context, micro, widest in ((128, 4096, 103), (60, 4096, 60), (128, 40, 40), (128, 5, 30)):
        batches = list(micro_batches(examples, np.arange(9), packing="isolated", micro_tokens=micro, context=context))
        assert max(batch.inputs.shape[1] for batch in batches) <= widest
        assert sum(batch.supervised for batch in batches) == examples.tokens
        assert micro < 30 or max(batch.inputs.numel() for batch in batches) <= micro


def test_packed_answers_and_padded_ones_are_the_same_run(base, files, tmp_path):
    for name in ("instruct", "instruct-padded"):
        CASES[name].fit(base, files, tmp_path / name, **FP64)
    assert_same_course(tmp_path / "instruct", tmp_path / "instruct-padded")


def test_frozen_blocks_computed_once_or_with_every_step_are_the_same_run(base, files, tmp_path, monkeypatch):
    CASES["classify-last-block"].fit(base, files, tmp_path / "once")
    monkeypatch.setattr("tohum.classification.build.frozen_of", lambda *_: None)
    monkeypatch.setattr("tohum.classification.objective.hidden_of",
                        lambda network, batch, _: network.hidden(batch.inputs, positions=batch.positions,
                                                                 documents=batch.documents))
    CASES["classify-last-block"].fit(base, files, tmp_path / "anew")
    assert largest_difference(tmp_path / "once", tmp_path / "anew") < 1e-5


@pytest.mark.parametrize("name", SPREAD)
def test_float32_gives_the_losses_of_float64(name, base, files, tmp_path):
    CASES[name].fit(base, files, tmp_path / "wide", training__steps=2, **FP64)
    CASES[name].fit(base, files, tmp_path / "narrow", training__steps=2, training__micro_tokens=64)
    for a, b in zip(*(step_lines(tmp_path / run) for run in ("wide", "narrow")), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)


@pytest.mark.parametrize("name", [*SPREAD, "instruct-bytes", "classify-last-block"])
def test_bfloat16_products_give_nearly_the_losses_of_float32(name, base, files, tmp_path):
    """What a GPU does unless told otherwise."""
    CASES[name].fit(base, files, tmp_path / "exact", optimizer__lr=0.001)
    CASES[name].fit(base, files, tmp_path / "near", optimizer__lr=0.001, training__dtype="bf16")
    for a, b in zip(*(step_lines(tmp_path / run) for run in ("exact", "near")), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "near").values())
    assert largest_difference(tmp_path / "exact", tmp_path / "near") < 0.02


@pytest.mark.slow
def test_two_processes_and_one_are_the_same_run(base, files, tmp_path):
    changes = dict.fromkeys(SPREAD, FP64) | {f"{name}:narrow": {} for name in ("classify", "instruct", "kto")}
    hurried = {"classify:hurried": {"training__budget": 0.5, "training__steps": 100_000}}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "tests.finetuning.two_ranks", str(base), str(files), str(tmp_path / "two"), json.dumps(changes | hurried)],
        capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "two" / "classify:hurried" / "result.json").read_text())["steps"] < 100_000
    for run, values in changes.items():
        CASES[run.split(":")[0]].fit(base, files, tmp_path / "one" / run, **values)
        one, two = tmp_path / "one" / run, tmp_path / "two" / run
        if values:
            assert_same_course(one, two)
        else:
            losses = [[line["loss"] for line in step_lines(where)] for where in (one, two)]
            assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-5)
