"""Reading a run: its folder, finished or not -> one record with whatever is there.

A report is wanted most when something went wrong, so nothing here insists: a file that is missing, cut off or
damaged leaves its part of the record empty, and the page leaves out the section.
"""

import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tohum.errors import ConfigError
from tohum.training.journal import read_lines

Line = dict[str, Any]
KINDS = ("classify", "instruct", "prefer")  # of fine-tuning runs
TAKES = "report takes a run folder, as the --out of 'tohum pretrain' and 'tohum finetune' is"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that a run wrote about itself. Lines of metrics are sorted into their kinds."""

    path: Path
    steps: list[Line] = field(default_factory=list)
    evaluations: list[Line] = field(default_factory=list)
    predictions: list[Line] = field(default_factory=list)
    events: list[Line] = field(default_factory=list)
    samples: list[Line] = field(default_factory=list)
    answers: list[Line] = field(default_factory=list)  # to the test questions, by the trained model
    answers_before: list[Line] = field(default_factory=list)  # by the model before training
    untrained: Line = field(default_factory=dict)  # test figures of a preference run before training
    config: Line = field(default_factory=dict)
    environment: Line = field(default_factory=dict)
    plan: Line = field(default_factory=dict)
    result: Line = field(default_factory=dict)
    data: Line = field(default_factory=dict)  # index.json of the data folder, where that still is
    baselines: Line = field(default_factory=dict)  # order5_bits_per_byte, xz_bits_per_byte

    @property
    def name(self) -> str:
        """The folder's name; quickstart's inner folder `run` takes its parent's."""
        absolute = self.path.absolute()
        return absolute.parent.name if absolute.name == "run" else absolute.name

    @property
    def kind(self) -> str:
        """classify, instruct or prefer; "" for pretraining. Where plan and result are lost, the recipe tells."""
        named = self.result.get("kind") or self.plan.get("kind")
        if named in KINDS:
            return str(named)
        if "preference" in self.config:
            return "prefer"
        if "lora" not in self.config:
            return ""
        return "classify" if "balance" in section(self.config, "data") else "instruct"

    @property
    def status(self) -> str:
        """finished, stopped (on purpose, can be resumed) or unfinished (running, or killed)."""
        if self.result:
            return "finished"
        last = [event.get("event") for event in self.events if event.get("event") in ("stopped", "resumed", "finished")]
        return "stopped" if last[-1:] == ["stopped"] else "unfinished"


def read_run(path: Path) -> RunRecord:
    """All parts of a run folder. Raises ConfigError for a folder that is no run."""
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; {TAKES}")
    if not (path / "metrics.jsonl").is_file() and not (path / "config.toml").is_file():
        raise ConfigError(f"{path}: neither metrics.jsonl nor config.toml is in it; {TAKES}")
    metrics, config, result = lines(path / "metrics.jsonl"), toml(path / "config.toml"), table(path / "result.json")
    data = data_folder(path, config)
    kinds = {kind: [line for line in metrics if line.get("kind") == kind]
             for kind in ("step", "figures", "evaluation", "prediction", "event")}
    return RunRecord(
        path=path, steps=joined(kinds["step"], kinds["figures"]), evaluations=kinds["evaluation"],
        predictions=kinds["prediction"], events=kinds["event"],
        samples=[line for line in lines(path / "samples.jsonl") if "text" in line],
        answers=lines(path / "answers.jsonl"), answers_before=lines(path / "answers_before.jsonl"),
        untrained=table(path / "untrained.json"), config=config, environment=table(path / "env.json"),
        plan=table(path / "plan.json"), result=result, data=table(data / "index.json") if data else {},
        baselines=baselines(result, data))


def joined(steps: list[Line], figures: list[Line]) -> list[Line]:
    """Step lines, each with what the stage itself had to say of the step."""
    more = {number(line.get("step")): line for line in figures}
    return [more.get(number(line.get("step")), {}) | line for line in steps]


def data_folder(run: Path, config: Line) -> Path | None:
    """Where the run's data lies, if it is still there."""
    name = section(config, "data").get("folder")
    if not isinstance(name, str):
        return None
    places = (Path(name), run / name)
    return next((place for place in places if (place / "index.json").is_file()), None)


def baselines(result: Line, data: Path | None) -> Line:
    """From the result; of a run in progress from the statistics that the plan left in the data folder."""
    stored = section(result, "baselines")
    if stored:
        return stored
    found = table(data / "statistics.json") if data else {}
    values = {"order5_bits_per_byte": section(found, "orders").get("5"), "xz_bits_per_byte": found.get("xz")}
    return {key: value for key, value in values.items() if number(value) is not None}


def lines(path: Path) -> list[Line]:
    """Whole JSON objects of a JSONL file; none when there is no file."""
    try:
        return read_lines(path)
    except OSError:
        return []


def table(path: Path) -> Line:
    """A JSON object; empty when it is missing or damaged."""
    try:
        value = json.loads(path.read_text("utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def toml(path: Path) -> Line:
    """A TOML table; empty when it is missing or damaged."""
    try:
        return tomllib.loads(path.read_text("utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}


def number(value: Any) -> float | None:
    """A finite number, or None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def section(values: Any, key: str) -> Line:
    """values[key] where that is a table, else an empty one."""
    found = values.get(key) if isinstance(values, dict) else None
    return found if isinstance(found, dict) else {}


def records(values: Any, key: str) -> list[Line]:
    """The tables in the list values[key]; none when it is no list."""
    found = values.get(key) if isinstance(values, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def first_number(*values: Any) -> float | None:
    """The first of the values that is a finite number."""
    return next((found for value in values if (found := number(value)) is not None), None)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists of plain values stay whole."""
    if isinstance(values, dict):
        return {k: v for key, inner in values.items() for k, v in flat(inner, f"{prefix}{key}.").items()}
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return {k: v for i, inner in enumerate(values) for k, v in flat(inner, f"{prefix}{i}.").items()}
    return {prefix.removesuffix("."): values}
