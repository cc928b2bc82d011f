"""Curves of fine-tuning runs: one run, or two over each other -> losses with the best step, the stage's own figures."""

import math

from tohum.report import preferred
from tohum.report.curves import Figure, Point, Series, points, smooth, thin
from tohum.report.facts import counted, lowest
from tohum.report.figures import line, noisy
from tohum.report.read import Line, RunRecord, number, section

UNITS = {"classify": "nats per text", "instruct": "nats per learned token", "prefer": "mean over the {}"}
UNTRAINED = {"dpo": ("no change: ln 2", math.log(2)), "kto": ("no change", 0.5)}  # the loss of no change


def own(run: RunRecord) -> list[tuple[str, str, str]]:
    """(key, title, unit) of what a preference run measures of itself, in steps and on validation."""
    named = preferred.words(run)
    return [("margin", named.margin.capitalize(), ""),
            ("accuracy", named.accuracy.capitalize(), f"share of {named.rows}"),
            ("preferred", "Chosen is likelier", "share of pairs"),
            ("kl", "Distance from the reference", "estimated KL, nats")] if run.kind == "prefer" else []


def tuned(run: RunRecord) -> list[Figure]:
    """Loss, what the stage measures of itself, learning rate, throughput, gradient norm."""
    loss = Figure(title="Loss", unit=UNITS[run.kind].format(counted(run)), large=True, whole=True,
                  flags=best(run), rules=untrained(run), series=[
                      *noisy("training", "b", thin(points(run.steps, "loss"))),
                      line("validation", "a dots", points(run.evaluations, "loss"))])
    measured = [Figure(title=title, unit=unit, whole=True, series=[
        *noisy("training", "b", thin(points(moved(run.steps), key))),
        line("validation", "a dots", points(moved(run.evaluations), key))]) for key, title, unit in own(run)]
    scores = [Figure(title="Accuracy and macro-F1", unit="on validation", whole=True, series=[
        line("accuracy", "a dots", points(run.evaluations, "accuracy")),
        line("macro-F1", "b dots", points(run.evaluations, "macro_f1"))])] if run.kind == "classify" else []
    return [loss, *scores, *measured, *rates(run)]


def moved(lines: list[Line]) -> list[Line]:
    """Lines of metrics with the accuracy only of answers that have moved."""
    return [preferred.without_ties(found) for found in lines]


def rates(run: RunRecord) -> list[Figure]:
    """What matters when a run goes wrong."""
    return [
        Figure(title="Learning rate", unit="", from_zero=True, whole=True,
               series=[line("", "a", thin(points(run.steps, "lr")))]),
        Figure(title="Throughput", unit=f"{counted(run)} per second", from_zero=True,
               series=noisy("", "a", thin(points(moving(run), "tokens_per_second")))),
        Figure(title="Gradient norm", unit="before clipping", from_zero=True,
               series=noisy("", "a", thin(points(run.steps, "grad_norm"))))]


def moving(run: RunRecord) -> list[Line]:
    """Steps whose rate is known: the first of each start has none."""
    return [step for step in run.steps if number(step.get("tokens_per_second"))]


def untrained(run: RunRecord) -> list[tuple[str, float]]:
    """What the loss of a method with a reference is where nothing has changed yet."""
    rule = UNTRAINED.get(str(section(run.config, "preference").get("method")))
    return [rule] if rule else []


def best(run: RunRecord) -> list[tuple[str, Point]]:
    """The validation whose weights the run keeps."""
    loss = lowest(run)
    at = next((evaluation for evaluation in run.evaluations
               if number(evaluation.get("step")) and evaluation.get("loss") == loss), None)
    found = points([at], "loss") if at else []
    return [(f"best: step {number(at.get('step')):,.0f}", found[0])] if at and found else []


def overlaid(runs: tuple[RunRecord, RunRecord]) -> list[Figure]:
    """Validation and training losses and the stages' own figures, with one colour for each run."""
    names = [f"{mark} {run.name}" for mark, run in zip("AB", runs, strict=True)]

    def series(lines: str, key: str, look: str = "") -> list[Series]:
        found = [thin(points(moved(getattr(run, lines)), key)) for run in runs]
        return [line(name, f"{colour}{look}", values if look else smooth(values))
                for name, colour, values in zip(names, "ab", found, strict=True)]

    shown = own(runs[0]) or [("accuracy", "Accuracy", ""), ("macro_f1", "Macro-F1", "")]
    comparable = preferred.same_loss(*runs)
    if not comparable:
        shown = [row for row in shown if row[0] == "preferred"]
    losses = [Figure(title="Validation loss", unit="", large=True, whole=True,
                     series=series("evaluations", "loss", " dots")),
              Figure(title="Training loss", unit="averaged", whole=True, series=series("steps", "loss"))]
    return [*(losses if comparable else []),
            *(Figure(title=title, unit=f"{unit} on validation".strip(), whole=True, large=not comparable,
                     series=series("evaluations", key, " dots"))
              for key, title, unit in shown),
            Figure(title="Learning rate", unit="", from_zero=True, series=series("steps", "lr", " line"))]
