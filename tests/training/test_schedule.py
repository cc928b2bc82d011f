"""Learning-rate schedules are pure functions of the step and right in the shortest runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tohum.training.schedule import ScheduleConfig, Stretch, lr_multiplier
from tohum.training.state import TrainState

KINDS = ("cosine", "linear", "wsd", "constant")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_every_step_has_a_rate_above_zero_and_at_most_the_peak(kind, steps):
    rates = [lr_multiplier(step, steps, ScheduleConfig(kind=kind, warmup_fraction=0.5)) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates), rates


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_warm_up_never_eats_a_whole_short_run(steps):
    rates = [lr_multiplier(step, steps, ScheduleConfig(kind="constant", warmup_fraction=1.0)) for step in range(steps)]
    assert rates[-1] == 1.0


def test_warm_up_rises_evenly_then_cosine_falls_to_the_floor():
    schedule = ScheduleConfig(kind="cosine", warmup_fraction=0.1, floor_fraction=0.1)
    rates = [lr_multiplier(step, 100, schedule) for step in range(101)]
    assert rates[:3] == pytest.approx([1 / 11, 2 / 11, 3 / 11])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[100] == pytest.approx(0.1)


def test_warm_up_stable_decay_holds_the_peak_then_falls_in_a_line():
    schedule = ScheduleConfig(kind="wsd", warmup_fraction=0.0, decay_fraction=0.5)
    rates = [lr_multiplier(step, 10, schedule) for step in range(10)]
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@given(at=st.integers(1, 90), steps=st.integers(1, 200), kind=st.sampled_from(KINDS))
def test_a_shortened_run_changes_nothing_before_and_still_ends_its_schedule(at, steps, kind):
    schedule, stretch = ScheduleConfig(kind=kind), Stretch(at=at, steps=at + steps, position=at)
    for step in range(at):
        assert lr_multiplier(step, 100, schedule, stretch) == lr_multiplier(step, 100, schedule)
    end = lr_multiplier(at + steps, 100, schedule, stretch)
    assert end == pytest.approx(lr_multiplier(100, 100, schedule))


def test_a_checkpoint_from_before_runs_were_filled_is_read():
    for older, wanted in ((None, None), ({"at": 30, "steps": 60}, Stretch(at=30, steps=60, position=30))):
        values = {"step": 40, "tokens": 400, "shortening": older}
        assert TrainState.from_json(values) == TrainState(step=40, tokens=400, stretch=wanted)
