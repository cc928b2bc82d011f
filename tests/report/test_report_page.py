"""The page of one run: complete, escaped, offline, and forgiving of what a killed run left."""

import json
import re

import pytest
from click.testing import CliRunner

from tests.report.runs import PROMPTS, write_lines, write_run
from tohum.cli.report import command
from tohum.errors import ConfigError
from tohum.report.page import write_report

LOADS = re.compile(r"""\b(?:src|href|action|data|poster|srcset)=["'](?!data:,)|url\(|@import|//[a-z]""", re.I)


def test_page_shows_every_part_of_a_finished_run(tmp_path):
    path = write_report(write_run(tmp_path / "first", steps=40))
    text = path.read_text("utf-8")
    assert path == tmp_path / "first" / "report.html"
    for section in ("baselines", "curves", "plan", "samples", "record"):
        assert f'id="{section}"' in text
    for expected in ("4.46M", "1.775", "order-5 model", "2.104", "1.550 to 1.790", "bpe, 4,096 entries", "0e9d" * 16,
                     "optimizer.lr", "avx512_bf16", "Training run, finished", *PROMPTS[:2]):
        assert expected in text, expected


def test_page_loads_nothing(tmp_path):
    text = write_report(write_run(tmp_path / "first", steps=20)).read_text("utf-8")
    assert "default-src 'none'" in text
    assert not LOADS.search(text), LOADS.search(text)


def test_page_escapes_samples_prompts_names_and_settings(tmp_path):
    run = write_run(tmp_path / "a<b>&", steps=20)
    evil = "</script><img src=x onerror=alert(1)>"
    write_lines(run / "samples.jsonl", [{"step": 20, "tokens": 1, "seconds": 1, "prompt": evil, "text": evil * 2,
                                         "shared_run": evil}])
    (run / "config.toml").write_text(f'[training]\nprompts = ["{evil}"]\n')
    (run / "env.json").write_text(json.dumps({"cpu": {"model": evil}}))
    text = write_report(run).read_text("utf-8")
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 5
    assert "<title>a&lt;b&gt;&amp;" in text
    assert text.count("</script>") == text.count("<script")


def test_page_of_a_run_in_progress_has_no_outcome_yet_but_the_plan(tmp_path):
    text = write_report(write_run(tmp_path / "now", steps=40, finished=False)).read_text("utf-8")
    assert "not finished" in text
    assert "so far" in text
    assert "1.660" in text
    assert "1.550 to 1.790" in text
    assert "order-5 model" in text, "baselines come from the data folder while there is no result"


def test_page_survives_lines_cut_by_a_kill_and_numbers_that_are_not_finite(tmp_path):
    run = write_run(tmp_path / "cut", steps=40, finished=False)
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'{"kind": "step", "step": 41, "tokens": 1e5, "seconds": 9, "loss": NaN, "lr": Infinity}\n')
        file.write(b'[1, 2]\n{"kind": "step", "step": "x", "tokens": null}\n\xff\xfe{"kind": "st')
    text = write_report(run).read_text("utf-8")
    assert not re.search(r"\b(NaN|nan|inf|Infinity)\b", text.replace("Infinity%", ""))
    assert 'id="curves"' in text


@pytest.mark.parametrize("missing", ["metrics.jsonl", "samples.jsonl", "config.toml", "env.json", "plan.json", "result.json"])
def test_page_leaves_out_what_is_missing_or_damaged(tmp_path, missing):
    run = write_run(tmp_path / "first", steps=20)
    (run / missing).write_text("{ damaged")
    assert "<h1>first</h1>" in write_report(run).read_text("utf-8")
    (run / missing).unlink()
    text = write_report(run).read_text("utf-8")
    assert ('id="samples"' in text) == (missing != "samples.jsonl")
    assert ('id="curves"' in text) == (missing != "metrics.jsonl")
    assert ("Configuration" in text) == (missing != "config.toml")


def test_page_of_a_run_that_has_only_just_started(tmp_path):
    run = tmp_path / "new"
    run.mkdir()
    (run / "config.toml").write_text("")
    assert "No validation has been made yet" in write_report(run).read_text("utf-8")


def test_page_marks_the_run_shared_with_the_training_text(tmp_path):
    run = write_run(tmp_path / "first", steps=20)
    write_lines(run / "samples.jsonl", [{"step": 20, "tokens": 1, "seconds": 1, "prompt": "P", "text": "ab learned cd",
                                         "shared_run": "learned"}])
    text = write_report(run).read_text("utf-8")
    assert "ab <mark>learned</mark> cd" in text
    assert re.search(r"training text too:\s+7 characters", text)


def test_a_measured_value_outside_its_interval_is_shown_as_missed(tmp_path):
    run = write_run(tmp_path / "first", steps=20)
    result = json.loads((run / "result.json").read_text())
    result["outcome"][0]["measured"] = result["val_bits_per_byte"] = 2.5
    (run / "result.json").write_text(json.dumps(result))
    text = write_report(run).read_text("utf-8")
    assert "expected 1.55 to 1.79, missed" in text
    assert "+50.6 %" in text


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere: no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"neither metrics\.jsonl nor config\.toml"):
        write_report(tmp_path)


def test_command_prints_one_json_object_with_headline_numbers(tmp_path):
    run = write_run(tmp_path / "first", steps=20)
    done = CliRunner().invoke(command, [str(run), "--out", str(tmp_path / "page.html"), "--json"])
    found = json.loads(done.stdout)
    assert found["report"] == str(tmp_path / "page.html")
    assert (found["runs"][0]["status"], found["runs"][0]["parameters"]) == ("finished", 4_460_000)
    assert (tmp_path / "page.html").stat().st_size > 20_000
