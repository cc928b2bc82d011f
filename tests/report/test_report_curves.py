"""Curves and axes: numbers -> drawings."""

import pytest

from tohum.report.curves import Figure, Point, Series, draw, points, smooth, spread, thin
from tohum.report.scale import label, ticks, time_label, time_ticks, value_range


def row(values):
    return [Point(tokens=10.0 * i, seconds=float(i), value=v) for i, v in enumerate(values, 1)]


def test_ticks_are_round_and_inside():
    assert ticks(0, 4_915_200) == [0, 1e6, 2e6, 3e6, 4e6]
    assert ticks(1.49, 3.2) == [1.5, 2.0, 2.5, 3.0]
    assert ticks(0.0, 0.021, 4) == [0.0, 0.01, 0.02]
    assert ticks(5, 5) == [5]


def test_time_ticks_are_round_times():
    assert [time_label(value) for value in time_ticks(290)] == ["0 s", "1 min", "2 min", "3 min", "4 min"]
    assert [time_label(value) for value in time_ticks(8000)] == ["0 s", "30 min", "1 h", "1:30 h", "2 h"]


def test_labels_are_short():
    assert [label(value) for value in (45_000, 0.0015, 3.0)] == ["45k", "0.0015", "3"]


def test_thinning_keeps_the_mean_and_the_last_place():
    values = row([float(i % 7) for i in range(1000)])
    few = thin(values, 100)
    assert len(few) == 100
    assert few[-1].tokens == values[-1].tokens
    assert sum(p.value for p in few) / 100 == pytest.approx(sum(p.value for p in values) / 1000)


def test_smoothing_leaves_a_straight_line_alone():
    values = row([float(i) for i in range(50)])
    assert [p.value for p in smooth(values, 0.2)][:45] == pytest.approx([p.value for p in values][:45])


def test_points_leave_out_what_is_no_number():
    lines = [{"tokens": 1, "seconds": 1, "loss": 2.0}, {"tokens": 2, "seconds": 2, "loss": float("nan")},
             {"tokens": 3, "seconds": 3}, {"tokens": "x", "seconds": 3, "loss": 1}, {"tokens": 4, "seconds": 4, "loss": True}]
    assert [p.value for p in points(lines, "loss", factor=3.0)] == [6.0]


def test_drawing_puts_the_lowest_value_at_the_bottom_and_the_last_at_the_right():
    figure = Figure(title="t", unit="u", series=[Series(name="n", look="a", points=row([3.0, 2.0, 1.0]))])
    drawn = draw(figure)
    assert drawn is not None
    steps = [tuple(map(float, step.split())) for step in drawn["views"][0]["shapes"][0]["d"][1:].split("L")]
    assert steps[0][1] < steps[1][1] < steps[2][1] <= 1000
    assert steps[2][0] == 1000


def test_early_losses_leave_the_frame():
    figure = Figure(title="t", unit="u", series=[Series(name="n", look="a", points=row([100.0, *[2.0, 1.0] * 50]))])
    drawn = draw(figure)
    assert drawn is not None
    assert drawn["hover"]["high"] < 3


def test_a_figure_without_points_is_not_drawn():
    assert draw(Figure(title="t", unit="u", series=[Series(name="n", look="a", points=[])])) is None


def test_a_single_or_constant_value_has_a_frame_too():
    low, high = value_range([2.0, 2.0])
    assert low < 2 < high
    assert value_range([0.0], from_zero=True) == (0.0, 1.06)


def test_labels_of_near_levels_do_not_cover_each_other():
    placed = spread([("b", 500.0, "2"), ("a", 470.0, "1"), ("c", 900.0, "3")])
    assert [(rule["name"], rule["below"]) for rule in placed] == [("a", False), ("b", True), ("c", False)]
