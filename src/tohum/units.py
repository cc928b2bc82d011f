"""Sizes and durations as people write them: "1.5M" <-> 1500000, "10m" <-> 600.0."""

import re

from tohum.errors import ConfigError

COUNT_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
SECONDS_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][0-9]+)?)\s*([a-zA-Z]*)\s*")


def parse_count(text: str | int | float) -> int:
    """"500k" -> 500000; "256MB" counts bytes in powers of ten as well.

    Raises ConfigError for anything that is no whole non-negative number.
    """
    match = NUMBER.fullmatch(str(text).replace("_", "").replace(",", ""))
    unit = match[2].lower() if match else ""
    unit = unit[0] if len(unit) == 2 and unit.endswith("b") else unit
    if not match or unit not in COUNT_UNITS:
        raise ConfigError(f"'{text}' is not a number; write a count like 2000, 500k, 1.5M or 2G")
    value = float(match[1]) * COUNT_UNITS[unit]
    if value != int(value):
        raise ConfigError(f"'{text}' is not a whole number")
    return int(value)


def parse_seconds(text: str | int | float) -> float:
    """"10m" -> 600.0, "90" -> 90.0, "1h30m" -> 5400.0. Raises ConfigError."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)", str(text).strip())
    if not parts or "".join(a + b for a, b in parts) != str(text).strip():
        raise ConfigError(f"'{text}' is not a duration; write it like 90s, 10m, 1h30m or 2h")
    if any(unit.lower() not in SECONDS_UNITS for _, unit in parts):
        raise ConfigError(f"'{text}' has an unknown unit; use s, m, h or d")
    return sum(float(number) * SECONDS_UNITS[unit.lower()] for number, unit in parts)


def human_count(value: float) -> str:
    """1234567 -> "1.23M"."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value != int(value) else str(int(value))


def human_bytes(value: float) -> str:
    """1500000 -> "1.5 MB" (powers of ten, as disks and downloads count)."""
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def human_seconds(seconds: float) -> str:
    """95 -> "1 min 35 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
