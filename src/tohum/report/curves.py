"""Curves: lines of metrics -> figures as stretchable SVG, with the numbers that the page's hover read-out needs.

A figure is drawn on a square of 1,000 units that the page stretches to its place; strokes keep their width
(vector-effect) and all text is HTML beside it, so a figure is as sharp on a phone as on a wall. Each is drawn twice,
over tokens and over time; the page shows one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tohum.report.read import Line, number
from tohum.report.scale import SKIPPED_FRACTION, label, ticks, time_label, time_ticks, value_range
from tohum.units import human_count

SIDE = 1000  # units of the drawing, both ways
MOST_POINTS = 400  # of a line; more steps than this are averaged in groups
AXES = ("tokens", "seconds")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value and when it was measured."""

    tokens: float
    seconds: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line. `look` is a class of the style sheet: a or b (colour), with faint, dots."""

    name: str
    look: str
    points: list[Point]
    hover: bool = True


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What was expected of the end, drawn where it was said."""

    at: Point
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is drawn in one frame. `rules` are level lines with a name, `flags` upright ones; `whole`: the frame
    holds the start of the run too, but not every single step (the lines that have no read-out)."""

    title: str
    unit: str
    series: list[Series]
    rules: list[tuple[str, float]] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    flags: list[tuple[str, Point]] = field(default_factory=list)
    from_zero: bool = False
    large: bool = False
    whole: bool = False


def points(lines: Sequence[Line], key: str, *, factor: float = 1.0) -> list[Point]:
    """The lines' values of `key`; what is missing or not finite is left out."""
    found = []
    for line in lines:
        tokens, seconds, value = (number(line.get(name)) for name in ("tokens", "seconds", key))
        if tokens is not None and seconds is not None and value is not None:
            found.append(Point(tokens=tokens, seconds=seconds, value=value * factor))
    return found


def thin(values: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: averages of neighbouring groups of equal size."""
    if len(values) <= most:
        return values
    edges = [round(index * len(values) / most) for index in range(most + 1)]
    return [mean(values[start:end]) for start, end in pairwise(edges)]


def smooth(values: list[Point], share: float = 0.025) -> list[Point]:
    """Moving average over `share` of the line; shorter at the start, where a steep line would be moved by it."""
    reach = max(1, round(share * len(values) / 2))
    return [mean(values[index - min(reach, index):index + min(reach, index) + 1], at=values[index])
            for index in range(len(values))]


def mean(group: list[Point], at: Point | None = None) -> Point:
    """The average of some neighbours, placed at their last or at `at`."""
    place = at or group[-1]
    return Point(tokens=place.tokens, seconds=place.seconds, value=sum(p.value for p in group) / len(group))


def draw(figure: Figure) -> dict[str, Any] | None:
    """What the template needs of a figure; None when there is nothing to draw."""
    every = [point for series in figure.series for point in series.points]
    if not every:
        return None
    low, high = frame(figure, every)

    def height(value: float) -> float:
        return round(SIDE * (high - value) / (high - low), 1)

    return {
        "title": figure.title, "unit": figure.unit, "large": figure.large,
        "y_ticks": [(height(value) / SIDE * 100, label(value)) for value in ticks(low, high, 6 if figure.large else 4)],
        "rules": spread([(name, height(value), f"{value:.3f}") for name, value in figure.rules]),
        "views": [view(axis, figure, every, height) for axis in AXES],
        "legend": [(series.name, series.look) for series in figure.series if series.hover],
        "interval_text": bool(figure.intervals),
        "hover": {"low": low, "high": high, "unit": figure.unit,
                  "end": {axis: end_of(every, axis) for axis in AXES},
                  "series": [hover(series) for series in figure.series if series.hover and series.points]}}


def frame(figure: Figure, every: list[Point]) -> tuple[float, float]:
    """Lowest and highest value of the frame."""
    start = SKIPPED_FRACTION * end_of(every, "tokens")
    if figure.whole:
        start, every = 0.0, [point for series in figure.series if series.hover for point in series.points]
    later = [point.value for point in every if point.tokens >= start]
    marks = [value for _, value in figure.rules] + [v for i in figure.intervals for v in (i.low, i.high)]
    return value_range(later + marks, early=[point.value for point in every], from_zero=figure.from_zero)


def end_of(every: list[Point], axis: str) -> float:
    """The last tokens or seconds of a figure."""
    return max(getattr(point, axis) for point in every) or 1.0


def view(axis: str, figure: Figure, every: list[Point], height: Any) -> dict[str, Any]:
    """The drawing over one of the two axes."""
    end = end_of(every, axis)

    def across(point: Point) -> float:
        return round(SIDE * getattr(point, axis) / end, 1)

    shapes = []
    for series in figure.series:
        steps = [f"{across(point)} {height(point.value)}" for point in series.points]
        if len(steps) > 1:
            shapes.append({"d": "M" + "L".join(steps), "look": series.look.replace("dots", "")})
        if "dots" in series.look or len(steps) == 1:
            shapes.append({"d": "".join(f"M{step}h.01" for step in steps), "look": f"{series.look} dot"})
    bars = [{"d": f"M{across(i.at)} {height(i.high)}V{height(i.low)}", "look": "interval"} for i in figure.intervals]
    bars += [{"d": f"M{across(i.at)} {height(i.at.value)}h.01", "look": "interval dot"} for i in figure.intervals]
    if axis == "tokens":
        marks = [(value / end * 100, human_count(value)) for value in ticks(0, end)]
    else:
        marks = [(value / end * 100, time_label(value)) for value in time_ticks(end)]
    bars += [{"d": f"M{across(point)} {height(point.value)}h.01", "look": "ring dot"} for _, point in figure.flags]
    flags = [(across(point) / SIDE * 100, name) for name, point in figure.flags]
    return {"axis": axis, "shapes": bars + shapes, "x_ticks": marks, "flags": flags}


def spread(rules: list[tuple[str, float, str]]) -> list[dict[str, Any]]:
    """Level lines with their label above them, or below where the one above is too near."""
    placed: list[dict[str, Any]] = []
    for name, top, value in sorted(rules, key=lambda rule: rule[1]):
        near = bool(placed) and top - placed[-1]["top"] * 10 < 70 and not placed[-1]["below"]
        placed.append({"name": name, "top": top / SIDE * 100, "value": value, "below": near})
    return placed


def hover(series: Series) -> dict[str, Any]:
    """The numbers of a line, for the read-out."""
    return {"name": series.name, "look": series.look.split()[0],
            "tokens": [round(point.tokens) for point in series.points],
            "seconds": [round(point.seconds, 2) for point in series.points],
            "value": [float(f"{point.value:.5g}") for point in series.points]}
