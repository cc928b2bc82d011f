"""For the record: a run -> events, recipe, machine and hashes, as rows of names and texts."""

from tohum.report import facts
from tohum.report.read import Line, RunRecord, flat, number
from tohum.units import human_seconds

Rows = list[tuple[str, str]]


def record(run: RunRecord) -> dict[str, Rows]:
    """What the last section of a page shows."""
    return {"events": [event_row(event) for event in run.events], "config": rows(run.config),
            "environment": rows(run.environment), "hashes": facts.hashes(run)}


def event_row(event: Line) -> tuple[str, str]:
    """("step 40 · 3.1 s", "stopped: by SIGTERM")."""
    seconds = number(event.get("seconds"))
    when = f"step {event.get('step', 0)}" + (f" · {human_seconds(seconds)}" if seconds is not None else "")
    rest = [f"{key} {value}" for key, value in event.items() if key not in ("kind", "event", "step", "seconds")]
    return when, ": ".join([str(event.get("event", "")), ", ".join(rest)] if rest else [str(event.get("event", ""))])


def rows(values: Line) -> Rows:
    """Nested values as dotted keys and text."""
    return [(key, written(value)) for key, value in flat(values).items()]


def written(value: object) -> str:
    """A value of a recipe or environment on one line."""
    if isinstance(value, list):
        return ", ".join(written(item) for item in value) or "none"
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)
