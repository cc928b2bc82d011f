"""Plans: what follows from sizes, what from measuring; budgets that hold; predictions with their intervals."""

import json
import time
from dataclasses import replace

import pytest
import torch

from tohum.data_sampling.shards import DataFolder
from tohum.machine import process_seconds
from tohum.model.counting import matrix_parameters, parameters
from tohum.pretraining import plan as planning
from tohum.pretraining import resolve as resolving
from tohum.pretraining.corpus import Statistics, statistics
from tohum.pretraining.describe import describe
from tohum.pretraining.forecast import curve_at, standing_at
from tohum.pretraining.plan import Plan, choose, choose_depth, make_plan, steps_within, training_seconds
from tohum.pretraining.predict import Curve, Size, predict, predict_from_curve
from tohum.pretraining.probe import Measured
from tohum.pretraining.resolve import compile_pays, repetition, resolve
from tohum.training import budget as budgets
from tohum.training.budget import Budget
from tohum.training.ranks import Ranks
from tohum.training.schedule import ScheduleConfig, Stretch, lr_multiplier
from tohum.training.state import TrainState

from .conftest import tiny


@pytest.fixture
def opened(data):
    return DataFolder.open(data)


TEXT = Statistics(fingerprint="", train_bytes=10**6, val_bytes=10**5, xz=2.2,
                  orders={"1": 3.4, "2": 2.8, "3": 2.4, "5": 2.0})


def test_a_steps_recipe_is_resolved_without_measuring_and_always_alike(data, opened):
    assert resolve(tiny(data, training__eval_every=None), opened) == resolve(tiny(data, training__eval_every=None), opened)


def test_without_depth_preset_or_budget_the_depth_is_4(data, opened):
    recipe = tiny(data, model__width=None, model__layers=None, model__heads=None)
    resolved, config = resolve(recipe, opened)
    assert resolved.model.depth == 4 == len(config.layers)


def test_dropout_and_weight_decay_follow_from_how_often_a_text_repeats_for_a_model(data, opened):
    _, config = resolve(tiny(data), opened)
    pass_, once = opened.train_tokens / 64, parameters(config) / opened.train_tokens  # steps, repetition of a pass
    found = [resolve(tiny(data, training__steps=round((2 + repeated / once) * pass_)), opened)[0]
             for repeated in (-once, 4, 7, 20, 40, 100, 400)]
    assert [(recipe.model.dropout, recipe.optimizer.weight_decay) for recipe in found] == [
        (0.0, 0.1), (0.0, 0.1), (0.1, 0.1), (0.1, 0.5), (0.2, 0.5), (0.3, 0.5), (0.3, 1.5)]
    assert repetition(config, 5 * opened.train_tokens, opened.train_tokens) == pytest.approx(3 * once)
    assert repetition(config, opened.train_tokens, opened.train_tokens) == 0
    given = resolve(tiny(data, training__steps=9999, model__dropout=0.05, optimizer__weight_decay=0.2), opened)[0]
    assert (given.model.dropout, given.optimizer.weight_decay) == (0.05, 0.2)


@pytest.mark.parametrize(("device", "dtype", "kernels", "pays"), [
    ("cpu", "fp32", True, True), ("cpu", "bf16", True, False), ("cpu", "bf16", False, True), ("cuda", "bf16", True, True)])
def test_a_long_run_is_compiled_unless_our_kernels_are_faster(opened, monkeypatch, device, dtype, kernels, pays):
    monkeypatch.setattr("tohum.pretraining.resolve.multiplies_natively", lambda: kernels)
    config = resolve(tiny(opened.path), opened)[1]
    assert compile_pays(config, 10**15, 64, device, dtype) is pays
    assert not compile_pays(config, 10, 64, "cpu", dtype)


def test_a_plan_survives_its_json(data, opened):
    plan = make_plan(tiny(data), opened, Ranks())
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())), plan.recipe)
    assert again == plan
    assert {"model", "steps", "seconds", "peak_memory_bytes", "predicted_bits_per_byte"} <= plan.to_json().keys()


def test_a_budget_is_measured_turned_into_steps_and_described(data, opened, monkeypatch):
    monkeypatch.setattr(planning, "process_seconds", lambda: 1.0)  # the tests' process is older than the budget
    recipe = tiny(data, training__steps=None, training__budget="20s", training__batch_tokens=None,
                  training__eval_every=None, model__width=None, model__layers=None, model__heads=None)
    plan = make_plan(recipe, opened, Ranks())
    assert plan.measured is not None
    assert 10 < plan.seconds <= 20
    assert plan.recipe.training.budget is None
    assert plan.prediction.low < plan.prediction.bits_per_byte < plan.prediction.high
    assert "bits per byte on the validation text" in describe(plan)
    assert "largest micro-batch" in describe(plan)


def test_a_budget_that_is_over_before_the_first_step_is_refused(data, opened):
    from tohum.errors import ConfigError

    with pytest.raises(ConfigError, match=r"--budget: 1 s are over before the first step"):
        make_plan(tiny(data, training__steps=None, training__budget=1.0), opened, Ranks())


def test_more_arithmetic_never_makes_a_smaller_model_and_a_short_text_no_large_one(opened, monkeypatch):
    short = [choose_depth(opened, 10.0**exponent) for exponent in range(6, 16)]
    assert set(short) == {1}  # 3,000 bytes
    for name in ("train_tokens", "train_bytes"):
        monkeypatch.setattr(DataFolder, name, 10**7)
    depths = [choose_depth(opened, 10.0**exponent) for exponent in range(11, 18)]
    assert depths == sorted(depths)
    assert depths[0] == 1
    assert depths[-1] > 5
    largest = planning.FRESH_EPOCHS * opened.train_bytes / planning.BYTES_PER_PARAMETER
    _, config = resolve(tiny(opened.path, model__depth=depths[-1], model__width=None, model__layers=None,
                             model__heads=None), opened)
    assert matrix_parameters(config) < largest


@pytest.mark.parametrize(("train_tokens", "batch_tokens"), [(10**6, 2048), (10**7, None)])
def test_a_long_run_over_a_small_text_has_small_steps_too(opened, monkeypatch, train_tokens, batch_tokens):
    for name in ("train_tokens", "train_bytes"):
        monkeypatch.setattr(DataFolder, name, train_tokens)
    free = tiny(opened.path, training__steps=None, training__batch_tokens=None, model__width=None, model__layers=None,
                model__heads=None)
    assert choose(free, opened, 1e12).training.batch_tokens == 2048
    assert choose(free, opened, 1e16).training.batch_tokens == batch_tokens  # None: left to the recipe


def test_a_gpu_has_large_steps_however_small_the_text(opened, monkeypatch):
    free = tiny(opened.path, training__steps=None, training__batch_tokens=None, model__width=None, model__layers=None,
                model__heads=None)
    for device, batch_tokens in (("cpu", 2048), ("cuda", None)):
        monkeypatch.setattr(resolving, "pick_device", lambda _, device=device: torch.device(device))
        assert choose(free, opened, 1e16).training.batch_tokens == batch_tokens


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_defaults_can_be_shared_by_any_number_of_processes(opened, world_size):
    free = tiny(opened.path, training__steps=None, training__batch_tokens=None, model__width=None, model__layers=None,
                model__heads=None)
    for recipe in (choose(free, opened, 1e9, world_size), choose(free, opened, 1e12, world_size), free):
        resolved, _ = resolve(recipe, opened, world_size)
        assert resolved.training.batch_tokens % (world_size * resolved.data.max_length) == 0


class Told(Ranks):
    """One of two processes: the first keeps what it tells, the other hears that in place of its own numbers."""

    def first(self, values):
        if self.is_main:
            KEPT.append(list(values))
            return list(values)
        return KEPT.pop(0)


KEPT: list[list[float]] = []


def test_a_slower_process_comes_to_the_first_ones_plan(opened, monkeypatch):
    """Or one of them would end its steps while the other waits for it."""
    free = tiny(opened.path, training__steps=None, training__budget=30.0, training__batch_tokens=None,
                model__width=None, model__layers=None, model__heads=None)
    plans = []
    for rank, clock in enumerate((1.0, 7.0)):
        def probe(resolved, config, data, seconds, ranks, clock=clock):
            step, evaluation, peak = ranks.first([clock * 1e-3 * resolved.model.depth, clock * 1e-4, 2**20])
            return Measured(step_seconds=step, row_evaluation_seconds=evaluation, peak_memory_bytes=int(peak))

        monkeypatch.setattr(planning, "probe", probe)
        monkeypatch.setattr(planning, "process_seconds", lambda clock=clock: clock)
        plans.append(make_plan(free, opened, Told(rank=rank, world_size=2)))
    assert not KEPT
    assert plans[0].recipe == plans[1].recipe
    assert plans[0].recipe.training.steps > 1000


def test_many_small_steps_have_a_lower_rate(data, opened):
    def rate(steps: int, batch_tokens: int) -> float:
        given = tiny(data, training__steps=steps, training__batch_tokens=batch_tokens, model__width=128)
        return resolve(given, opened)[0].optimizer.lr

    assert rate(600, 2048) == rate(100, 2048) == rate(2400, 8192) == pytest.approx(0.02)
    assert rate(2400, 2048) == pytest.approx(0.01)
    assert rate(10**6, 2048) == pytest.approx(0.005)


def test_steps_within_a_time_are_the_most_that_fit(data, opened):
    resolved, _ = resolve(tiny(data), opened)
    measured = Measured(step_seconds=0.01, row_evaluation_seconds=0.001, peak_memory_bytes=0)
    steps = steps_within(resolved, opened, measured, 30.0)
    assert training_seconds(resolved, opened, measured, steps) <= 30.0
    assert training_seconds(resolved, opened, measured, steps + 1) > 30.0


def test_statistics_are_kept_with_the_data_and_computed_anew_for_other_data(opened, tmp_path, data):
    found = statistics(opened)
    assert 0 < found.order5 < found.orders["1"] < 8
    path = data / "statistics.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"fingerprint": "other", "xz": 99.0}))
    assert statistics(opened) == found


def test_harder_text_is_predicted_to_cost_more(opened):
    size = Size(parameters=10**6, bytes_seen=3e6, bytes_unique=10**6)
    hard = Statistics(fingerprint="", train_bytes=10**6, val_bytes=10**5, xz=3.3,
                      orders={key: 1.5 * value for key, value in TEXT.orders.items()})
    assert predict(hard, size).bits_per_byte > predict(TEXT, size).bits_per_byte


def test_more_text_a_larger_model_and_fresh_instead_of_repeated_text_are_predicted_to_help():
    base = {"parameters": 10**6, "bytes_seen": 3e6, "bytes_unique": 10**6}
    before = predict(TEXT, Size(**base)).bits_per_byte
    for better in ({"bytes_seen": 6e6}, {"parameters": 4 * 10**6}, {"bytes_unique": 3e6}):
        assert predict(TEXT, Size(**(base | better))).bits_per_byte < before, better


def test_repeats_are_worth_less_and_less_and_fresh_text_its_size():
    worth = [Size(parameters=1, bytes_seen=seen, bytes_unique=1e6).effective_bytes for seen in (5e5, 1e6, 2e6, 4e6, 1e9)]
    assert worth[:2] == [5e5, 1e6]
    assert worth[2] == pytest.approx(1.85e6, rel=0.01)
    assert worth[3] == pytest.approx(2.9e6, rel=0.01)
    assert worth[4] == pytest.approx(4e6)


def test_a_higher_loss_on_the_way_is_predicted_to_end_higher():
    prior = predict(TEXT, Size(parameters=10**6, bytes_seen=3e6, bytes_unique=10**6))
    ends = [predict_from_curve(Curve(fraction=0.25, now=bits, before=1.1 * bits), prior) for bits in (2.0, 2.4)]
    assert ends[0].bits_per_byte < ends[1].bits_per_byte < 2.4
    assert ends[0].low < ends[0].bits_per_byte < ends[0].high


def test_a_run_on_its_way_stands_where_its_validation_was_times_what_training_gained_since():
    lines = [{"kind": "step", "step": step, "loss": 4.0 if step <= 20 else 3.0} for step in range(1, 27)]
    lines.insert(10, {"kind": "evaluation", "step": 10, "bits_per_byte": 2.5})
    lines.insert(21, {"kind": "evaluation", "step": 20, "bits_per_byte": 2.0})
    lines += [{"kind": "event", "event": "stopped", "step": 26}, {"kind": "step", "step": 99, "loss": 0.1}]
    assert standing_at(0.1, 100, lines) == 2.5
    assert standing_at(0.25, 100, lines) == pytest.approx(2.0 * 3.0 / 4.0)
    assert curve_at(0.25, 100, lines) == Curve(fraction=0.25, now=pytest.approx(1.5), before=2.5)
    assert curve_at(0.1, 100, [line for line in lines if line["kind"] == "step"]) is None


def paced(monkeypatch, pace, **options) -> tuple[TrainState, float, list[Stretch]]:
    """A run of 100 planned steps and 100 seconds at pace(step) seconds a step: its end, the time, what was decided."""
    clock = {"now": 0.0}
    monkeypatch.setattr(budgets.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(budgets, "process_seconds", lambda: clock["now"])
    budget, state, decisions = Budget(110.0, 10.0, 100, **options), TrainState(), []
    while state.step < state.last_step(100):
        clock["now"] += pace(state.step)
        state = budget.check(replace(state, step=state.step + 1))
        decisions += [state.stretch] if state.stretch and state.stretch not in decisions else []
    return state, clock["now"], decisions


@pytest.mark.parametrize("fills", [False, True])
def test_a_slow_run_is_shortened_and_ends_in_time(monkeypatch, fills):
    state, seconds, decisions = paced(monkeypatch, lambda _: 1.25, fills=fills)
    assert decisions[0].at == 25
    assert state.step < 100
    assert 95.0 < seconds <= 100.0


def test_a_fast_run_fills_its_budget_only_where_that_is_asked(monkeypatch):
    assert paced(monkeypatch, lambda _: 0.5)[0].stretch is None
    state, seconds, _ = paced(monkeypatch, lambda _: 0.5, fills=True)
    assert 180 < state.step < 200
    assert seconds <= 100.0
    assert paced(monkeypatch, lambda _: 0.99, fills=True)[0].stretch is None


def test_a_run_whose_pace_changes_is_judged_again(monkeypatch):
    state, seconds, decisions = paced(monkeypatch, lambda step: 0.8 if step < 60 else 1.4, fills=True)
    assert len(decisions) > 2
    assert 90.0 < seconds <= 100.0
    rates = [lr_multiplier(step, 100, ScheduleConfig(), decisions[-1]) for step in range(decisions[-1].at, state.step)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1


def test_the_budget_counts_from_the_start_of_the_process():
    before = process_seconds()
    time.sleep(0.05)
    assert Budget(seconds=before + 100, closing_seconds=0.0, planned_steps=1).left_seconds() < 100
