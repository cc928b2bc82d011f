"""Samples: lines of samples.jsonl -> one card per prompt and moment, the run shared with the training text marked."""

from dataclasses import dataclass

from tohum.report.facts import counted
from tohum.report.read import Line, RunRecord, number, records
from tohum.units import human_count, human_seconds


@dataclass(frozen=True, kw_only=True)
class Card:
    """A continuation in three pieces: before the shared run, the run, after it."""

    prompt: str
    before: str
    shared: str
    after: str
    expected: str = ""  # of a question with a known answer
    cut: bool = False  # the answer did not end by itself


@dataclass(frozen=True, kw_only=True)
class Moment:
    """All samples of one step."""

    step: int
    when: str
    cards: list[Card]


def moments(run: RunRecord) -> list[Moment]:
    """In the order of steps; within each the prompts in the order in which they were given."""
    shared = shared_runs(run)
    by_step: dict[int, list[Line]] = {}
    for sample in run.samples:
        by_step.setdefault(int(number(sample.get("step")) or 0), []).append(sample)
    return [Moment(step=step, when=when(step, group[0], counted(run)), cards=[card(sample, shared) for sample in group])
            for step, group in sorted(by_step.items())]


def shared_runs(run: RunRecord) -> dict[tuple[int, str], str]:
    """(step, prompt) -> longest run, where the result holds them beside the samples."""
    return {(int(number(entry.get("step")) or 0), str(entry.get("prompt"))): str(entry.get("shared_run", ""))
            for entry in records(run.result, "samples")}


def when(step: int, sample: Line, counted: str = "tokens") -> str:
    """"step 1,200 · 4.9M tokens · 1 min 02 s"."""
    parts = [f"step {step:,}"]
    tokens, seconds = number(sample.get("tokens")), number(sample.get("seconds"))
    parts += [f"{human_count(tokens)} {counted}"] if tokens is not None else []
    parts += [human_seconds(seconds)] if seconds is not None else []
    return " · ".join(parts)


def card(sample: Line, shared: dict[tuple[int, str], str]) -> Card:
    """Split the text at the longest run that it shares with the training text."""
    prompt, text = str(sample.get("prompt", "")), str(sample["text"])
    run = sample.get("shared_run") or shared.get((int(number(sample.get("step")) or 0), prompt)) or ""
    run = run if isinstance(run, str) else ""
    before, found, after = text.partition(run) if run else (text, "", "")
    return Card(prompt=prompt, before=before, shared=found, after=after, expected=str(sample.get("expected") or ""),
                cut=sample.get("finish_reason") == "length")
