"""--profile changes nothing in a run."""

import pytest

from tests.finetuning.commands import command
from tohum.training.profile import STEPS, WARM_STEPS


@pytest.mark.filterwarnings("ignore")
def test_a_profiled_run_is_the_same_run(base, files, tmp_path, monkeypatch, capsys):
    arguments = ("--steps", WARM_STEPS + STEPS, "--dtype", "fp32", "--set", "training.threads=1", "--lora-rank", 2)
    for name, more in (("plain", ()), ("profiled", ("--profile",))):
        said = command(monkeypatch, capsys, "finetune", "classify", base, "--data", files / "labelled.tsv", "--out",
                       tmp_path / name, *arguments, *more)
        assert ("profile of 3 steps" in said.err) == (name == "profiled")
    weights = [(tmp_path / name / "best" / "adapter_model.safetensors").read_bytes() for name in ("plain", "profiled")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "plain" / "profile.json").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_run_too_short_for_a_profile_says_so(base, files, tmp_path, monkeypatch, capsys):
    said = command(monkeypatch, capsys, "finetune", "classify", base, "--data", files / "labelled.tsv", "--out",
                   tmp_path / "run", "--steps", 2, "--dtype", "fp32", "--set", "training.threads=1", "--profile")
    assert "no profile: it begins after 3 steps and takes 3; this run has 2" in said.err
    assert not (tmp_path / "run" / "profile.json").exists()
