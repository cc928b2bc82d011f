"""The measuring itself: rows, the page that is made of them, the check of ratios, workers, pictures."""

import importlib
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from itertools import islice
from pathlib import Path

import pytest
from benchmarks import __main__ as bench
from benchmarks import lora_step, performance_page, prediction_table, quality_per_minute
from benchmarks.cost_over_size import describe
from benchmarks.plot import Panel, write_plot
from benchmarks.prepare_speed import made as filling
from benchmarks.rows import merged, product_limit, read_limit, row
from benchmarks.worker import MEMORY, worker

KEYS = {"row", "unit", "ours", "peer", "peer_name", "ratio", "goal", "peak_memory_bytes", "peer_peak_memory_bytes",
        "versions", "cpu", "measured"}


def made(name: str, ours: float, unit: str = "tokens/s", **more: object) -> dict[str, object]:
    return row(name, unit=unit, ours=ours, peer=10.0, peer_name="a peer", goal=1.0, **more)


def test_a_row_has_the_agreed_keys():
    assert set(made("step", 12.0)) == KEYS
    assert made("step", 12.0)["ratio"] == pytest.approx(1.2)
    assert row("alone", unit="s", ours=1.0)["ratio"] is None


def test_the_page_is_made_of_the_results_that_are_there():
    assert performance_page.PAGE.read_text("utf-8") == performance_page.page(), "run python -m benchmarks.performance_page"


def test_missed_goals_are_marked_in_either_direction():
    assert "✗" not in performance_page.line(made("step", 12.0))
    assert "✗" in performance_page.line(made("step", 9.0))
    assert "✗" in performance_page.line(made("start", 12.0, "s"))
    assert "✗" not in performance_page.line(made("start", 9.0, "s"))
    assert "✗" in performance_page.line(row("help", unit="s", ours=0.2, limit=0.15))
    assert "✗" not in performance_page.line(row("help", unit="s", ours=0.1, limit=0.15))
    memory = row("step", unit="tokens/s", ours=2.0, peer=1.0, peer_name="x", memory=9.0, peer_memory=10.0, memory_goal=0.5)
    assert "✗" in performance_page.line(memory)


def test_the_check_sees_ratios_that_fell_and_rows_that_went():
    before = [made("kept", 12.0), made("fallen", 12.0), made("slower", 10.0, "s"), made("gone", 12.0)]
    after = [made("kept", 10.0), made("fallen", 9.0), made("slower", 12.5, "s")]
    found = performance_page.changes(before, after, 0.2)
    assert [problem.partition(":")[0] for problem in found] == ["fallen", "slower", "gone"]
    assert not performance_page.changes(before, before, 0.2)


def test_checking_reports_and_leaves_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "start.json"
    path.write_text(json.dumps({"rows": [made("step", 12.0)]}), "utf-8")
    for module in (bench, performance_page):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    worse = json.dumps({"rows": [made("step", 6.0)]})
    monkeypatch.setattr("runpy.run_module", lambda *_, **__: path.write_text(worse, "utf-8"))
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    assert bench.run("start", checking=True) == ["step: 1.20 of a peer before, 0.60 now"]
    assert json.loads(path.read_text("utf-8"))["rows"][0]["ratio"] == pytest.approx(1.2)
    assert bench.run("start", checking=False) == []
    assert json.loads(path.read_text("utf-8"))["rows"][0]["ratio"] == pytest.approx(0.6)


def test_every_result_can_be_asked_for_its_rows():
    for name in (*bench.MEASUREMENTS, *bench.HOURS):
        assert all("row" in found for found in performance_page.rows_of(bench.module_of(name)))


def test_a_record_outlives_a_check_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "start.json"
    path.write_text(json.dumps({"rows": [made("step", 12.0)]}), "utf-8")

    def breaks(*_: object, **__: object) -> None:
        path.write_text("{}", "utf-8")
        raise KeyboardInterrupt

    for module in (bench, performance_page):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr("runpy.run_module", breaks)
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(KeyboardInterrupt):
        bench.run("start", checking=True)
    assert len(performance_page.rows_of("start")) == 1


def test_shapes_of_the_training_step_may_be_left_out(monkeypatch: pytest.MonkeyPatch):
    from benchmarks import train_step

    asked = []
    monkeypatch.setattr(train_step, "measure", lambda name, manner, _: asked.append((name, manner)) or {"row": "", "part": name})
    monkeypatch.setattr(train_step, "record", lambda *_: None)
    for arguments, shapes in (([], "aabb"), (["b"], "bb")):
        asked.clear()
        monkeypatch.setattr(sys, "argv", ["train_step", *arguments])
        train_step.main()
        assert "".join(name for name, _ in asked) == shapes


def test_a_measurement_or_one_of_its_parts_can_be_named(monkeypatch: pytest.MonkeyPatch):
    run: list[str] = []
    monkeypatch.setattr(bench, "run", lambda part, *, checking: run.append(part) or [])
    monkeypatch.setattr(performance_page, "main", lambda: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "lora_step", "train_step b", "start"])
    bench.main()
    assert run == ["lora_step lora", "lora_step full", "train_step b", "start"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "train_step c"])
    with pytest.raises(SystemExit, match="no measurement 'train_step c'; choose from train_step a, train_step b"):
        bench.main()


@pytest.mark.parametrize(("name", "table"), [("train_step", "SHAPES"), ("lora_step", "KINDS"), ("classifier_speed", "PARTS")])
def test_every_part_of_a_measurement_is_in_the_list(name, table):
    module = importlib.import_module(f"benchmarks.{name}")
    assert bench.parts_of(name) == [f"{name} {part}" for part in getattr(module, table)]


def test_rows_of_another_part_stay_and_those_of_this_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "parts.json"
    path.write_text(json.dumps({"rows": [made("of no part", 1.0), made("old", 12.0, part="a"),
                                         made("other", 12.0, part="b")]}), "utf-8")
    monkeypatch.setattr(performance_page, "RESULTS", tmp_path)
    found = merged("parts", [made("new", 1.0, part="a")])
    assert [(row["row"], row["ours"]) for row in found] == [("new", 1.0), ("other", 12.0)]
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr("runpy.run_module", lambda *_, **__: path.write_text(json.dumps({"rows": found}), "utf-8"))
    assert bench.run("parts a", checking=True) == ["old: no longer measured"]
    assert bench.run("parts b", checking=True) == []


def test_only_formats_that_may_be_the_fastest_are_asked_again():
    found = {"ours": [], "bf16": [], "fp32": [], "autocast": []}
    assert lora_step.asked(found) == ["bf16", "fp32", "autocast"]
    for kind, rate in (("bf16", 90.0), ("fp32", 50.0), ("autocast", 100.0)):
        found[kind].append({"tokens_per_second": rate})
    assert lora_step.asked(found) == ["bf16", "autocast"]


def test_peers_that_were_trained_before_are_told():
    assert quality_per_minute.kept_note({"9999-01-01 00:00"}) is None
    assert quality_per_minute.kept_note({"2026-11-27 10:37", "2026-11-27 09:25"}) == (
        "the peers were trained from 2026-11-27 09:25 to 2026-11-27 10:37 and kept")


def test_rows_of_the_prediction_table_are_named_by_budget_corpus_or_both():
    assert prediction_table.runs(["3m", "tinyshakespeare"]) == [("tinyshakespeare", "3m")]
    assert [budget for _, budget in prediction_table.runs(["parliament-tr"])] == ["1m", "3m", "10m"]
    assert len(prediction_table.runs([])) == 9
    with pytest.raises(SystemExit, match="neither a budget nor a corpus: 4m"):
        prediction_table.runs(["4m"])


def test_every_measurement_is_a_module_with_a_main():
    for name in {bench.module_of(part) for part in (*bench.MEASUREMENTS, *bench.HOURS)}:
        module = importlib.import_module(f"benchmarks.{name}")
        assert callable(module.main)
        assert f"benchmarks.{name}" in (module.__doc__ or "") or "python -m" not in (module.__doc__ or "")


def test_a_worker_answers_and_one_that_does_not_start_is_named(tmp_path: Path):
    script = tmp_path / "double.py"
    script.write_text("print('ready', flush=True)\nwhile True: print(2 * float(input()), flush=True)\n", "utf-8")
    with worker([str(script)]) as ask:
        assert [ask("1.5"), ask("4")] == [3.0, 8.0]
        assert 1e6 < ask(MEMORY) < 1e9
    script.write_text("raise SystemExit(1)\n", "utf-8")
    with pytest.raises(RuntimeError, match=r"double\.py"), worker([str(script)]):
        pass


@pytest.mark.usefixtures("one_thread")
def test_limits_are_those_of_a_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.rows.PRODUCTS", ((64, 64, 64),))
    monkeypatch.setattr("benchmarks.rows.READ_BYTES", 2**20)
    rate, kind = product_limit()
    assert rate > 0
    assert kind in ("float32", "bfloat16")
    assert read_limit() > 0


def test_exponents_and_the_place_where_they_bend():
    points = [{"size": size, "rate": 1e6 / min(size, 8) ** 2, "memory": 5.0 * size} for size in (1, 2, 4, 8, 16)]
    found = describe(points)
    assert found["time"]["between"][:2] == pytest.approx([2, 2])
    assert found["time"]["bends_at"] == 8
    assert found["memory"]["exponent"] == pytest.approx(1)
    assert found["memory"]["bends_at"] is None


def test_a_picture_is_well_formed_and_holds_every_point(tmp_path: Path):
    path = tmp_path / "plot.svg"
    write_plot(path, "layers & more", [[Panel("rate <1>", (1, 2, 4), (10.0, 10.1, 10.0))],
                                       [Panel("memory", (1, 2, 4), (0.5, 2.0, 90.0)), Panel("forecast", (1, 4), (1, 80))]])
    root = ElementTree.parse(path).getroot()
    circles = [node for node in root.iter() if node.tag.endswith("circle")]
    assert len(circles) == 3 + 3 + 2
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert all(0 < float(circle.attrib["cx"]) < width and 0 < float(circle.attrib["cy"]) < height for circle in circles)


def test_filling_text_brings_as_many_new_words_as_it_is_asked_for():
    parts = ["alpha", " ", "beta", ", ", "gamma", "\n"]
    text = "".join(piece.text for piece in islice(filling(parts, 0.01), 100))
    words = set(re.findall(r"\w+", text))
    assert {"alpha", "beta", "gamma"} < words
    assert 0.7 < (len(words) - 3) / (0.01 * len(text)) < 1.3
    assert set(re.findall(r"\W+", text)) == {" ", ", ", "\n"}
