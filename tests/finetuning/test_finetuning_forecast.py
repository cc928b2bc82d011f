"""The memory that is told before the first step is the memory that a run takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finetuning.commands import command
from tests.finetuning.tiny import llama_config, make_base, words, write_rows
from tohum.finetuning.forecast import described

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import importlib, sys
from tests.finetuning.tiny import SHORTCUTS
for name, value in SHORTCUTS.items():
    module, _, attribute = name.rpartition(".")
    setattr(importlib.import_module(module), attribute, value)
from tohum.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["all", "classifier"])
def test_the_forecast_is_near_the_peak(trained, tmp_path):
    wide = {"heads": 8, "kv_heads": 8, "head_width": 64}

    def config(rows):
        small = llama_config(rows, context=512)
        layer = small.layers[0]
        layer = layer.replace(attention=layer.attention.replace(**wide), feed_forward=layer.feed_forward.replace(width=1536))
        return small.replace(width=512, layers=(layer,) * 6)

    base = make_base(tmp_path / "base", config)
    stage, rows = "instruct", [{"messages": [{"role": "user", "content": f"Say {number}?"},
                                             {"role": "assistant", "content": words(number, 80)}]} for number in range(12)]
    if trained == "classifier":
        stage, rows = "classify", [{"text": f"{number} {words(number, 80)}", "label": str(number % 2)} for number in range(12)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    arguments = [stage, base, "--data", data, "--out", tmp_path / "run", "--steps", "1", "--dtype", "fp32", "--json",
                 "--max-length", "512", "--set", "training.batch_rows=8", "--set", "training.micro_tokens=4096",
                 "--set", "training.eval_every=0", "--set", "training.sample_every=0", *(["--train", "all"] if trained == "all" else ["--lora-rank", "8"]),
                 *(["--set", "data.answers=1", "--set", "data.answer_tokens=2"] if stage == "instruct" else [])]
    done = subprocess.run([sys.executable, "-c", COMMAND, "finetune", *map(str, arguments)], capture_output=True, text=True,
                          cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    peak, expected = result["peak_memory_bytes"], result["predicted_peak_memory_bytes"]
    assert "memory: about" in done.stderr
    assert expected == pytest.approx(peak, rel=0.2)
    assert expected > 0.7e9  # most of it is what training adds, so the test is not one of the interpreter's size


def test_memory_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("tohum.finetuning.forecast.free_bytes", lambda _: 10**9)
    assert described(900_000_000, "cpu", bytes_would_help=True) == "memory: about 900 MB expected at most"
    told = [described(2_000_000_000, "cpu", bytes_would_help=help) for help in (False, True)]
    assert all("warning: only 1 GB are free; lower training.micro_tokens" in text for text in told)
    assert ["int8" in text for text in told] == [False, True]


@pytest.mark.filterwarnings("ignore")
def test_the_forecast_stands_in_the_result_and_on_the_page(base, files, tmp_path, monkeypatch, capsys):
    said = command(monkeypatch, capsys, "finetune", "classify", base, "--data", files / "labelled.tsv", "--out", tmp_path / "run",
                   "--steps", 2, "--dtype", "fp32", "--set", "training.threads=1", "--json")
    assert json.loads(said.out)["predicted_peak_memory_bytes"] > 0
    assert "expected)" in (tmp_path / "run" / "report.html").read_text("utf-8")
