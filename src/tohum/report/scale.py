"""Axes: ranges of numbers -> round tick values, and numbers -> short labels."""

import math
from collections.abc import Sequence

from tohum.units import human_bytes, human_count, human_seconds

SKIPPED_FRACTION = 0.04  # of a run: its first losses would flatten all that follow
PADDING = 0.06  # of the range, above and below


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` multiples of 1, 2 or 5 times a power of ten inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(high: float, wanted: int = 5) -> list[float]:
    """Round seconds, minutes or hours from 0 to `high`."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)
    step = next((step for step in steps if high / step <= wanted), 86400 * math.ceil(high / 86400 / wanted))
    return [index * step for index in range(int(high / step + 1e-9) + 1)]


def value_range(values: Sequence[float], *, early: Sequence[float] = (),
                from_zero: bool = False) -> tuple[float, float]:
    """Range of an axis over `values`; `early` ones (the start of a run) may leave the frame."""
    shown = list(values) or list(early) or [0.0, 1.0]
    low, high = (0.0 if from_zero else min(shown)), max(shown)
    if not high > low:
        low, high = (0.0, high * 1.2 or 1.0) if from_zero else (low - 0.5, high + 0.5)
    padding = PADDING * (high - low)
    return (low if from_zero else low - padding), high + padding


def label(value: float) -> str:
    """A number on an axis: 45000 -> "45k", 0.0015 -> "0.0015"."""
    return human_count(value) if abs(value) >= 10_000 else f"{value:.6g}"


def time_label(seconds: float) -> str:
    """A time on an axis: 90 -> "1:30", 7200 -> "2 h"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds % 3600 == 0:
        return f"{seconds / 3600:.0f} h"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min" if seconds % 60 == 0 else f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"


def readable(value: float, unit: str) -> str:
    """A measured value with its unit, for tables."""
    if unit == "seconds":
        return human_seconds(value)
    if unit == "bytes":
        return human_bytes(value)
    return f"{value:.3f}" if abs(value) < 100 else label(value)
