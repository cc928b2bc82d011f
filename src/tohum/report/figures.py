"""Which curves a page shows: one run -> its figures, two runs -> the same figures laid over each other."""

from tohum.report.curves import Figure, Interval, Point, Series, points, smooth, thin
from tohum.report.read import Line, RunRecord, first_number, number

# key of a step line, title, unit, whether it is noisy
SMALL = (("lr", "Learning rate", "", False), ("tokens_per_second", "Throughput", "tokens per second", True),
         ("grad_norm", "Gradient norm", "before clipping", True))
BASELINES = (("order5_bits_per_byte", "order-5 model"), ("xz_bits_per_byte", "xz after training"))


def single(run: RunRecord) -> list[Figure]:
    """Bits per byte with baselines and predictions, loss, learning rate, throughput, gradient norm."""
    factor = bits_per_nat_of_text(run)
    validation = points(run.evaluations, "bits_per_byte")
    training = thin(points(run.steps, "loss", factor=factor)) if factor else []
    bits = Figure(title="Bits per byte", unit="on text that was held out", large=True,
                  series=[*noisy("training", "b", training), line("validation", "a dots", validation)],
                  rules=rules(run), intervals=intervals(run))
    loss = Figure(title="Loss", unit="nats per token",
                  series=[*noisy("training", "b", thin(points(run.steps, "loss"))),
                          line("validation", "a dots", points(run.evaluations, "loss"))])
    small = [Figure(title=title, unit=unit, from_zero=True, series=noisy("", "a", values) if noise else
                    [line("", "a", values)])
             for key, title, unit, noise in SMALL if (values := thin(points(run.steps, key)))]
    return [bits, loss, *small]


def overlaid(runs: tuple[RunRecord, RunRecord]) -> list[Figure]:
    """The same, with one colour for each run and no marks of one run alone."""
    names = [f"{mark} {run.name}" for mark, run in zip("AB", runs, strict=True)]

    def series(lines: str, key: str, look: str, *, soft: bool) -> list[Series]:
        found = [thin(points(getattr(run, lines), key)) for run in runs]
        return [line(name, f"{colour}{look}", smooth(values) if soft else values)
                for name, colour, values in zip(names, "ab", found, strict=True)]

    return [
        Figure(title="Bits per byte", unit="on text that was held out", large=True,
               series=series("evaluations", "bits_per_byte", " dots", soft=False)),
        Figure(title="Training loss", unit="nats per token", series=series("steps", "loss", "", soft=True)),
        *(Figure(title=title, unit=unit, from_zero=True, series=series("steps", key, "", soft=noise))
          for key, title, unit, noise in SMALL)]


def noisy(name: str, colour: str, values: list[Point]) -> list[Series]:
    """A line as it is, faint, and its moving average."""
    return [Series(name=name, look=f"{colour} faint", points=values, hover=False), line(name, colour, smooth(values))]


def line(name: str, look: str, values: list[Point]) -> Series:
    return Series(name=name, look=look, points=values)


def rules(run: RunRecord) -> list[tuple[str, float]]:
    """Levels to beat."""
    return [(name, value) for key, name in BASELINES if (value := number(run.baselines.get(key))) is not None]


def bits_per_nat_of_text(run: RunRecord) -> float:
    """Bits per byte of one nat per token, from the validation text; 0 when there was no validation yet."""
    for evaluation in reversed(run.evaluations):
        loss, bits = number(evaluation.get("loss")), number(evaluation.get("bits_per_byte"))
        if loss and bits:
            return bits / loss
    return 0.0


def intervals(run: RunRecord) -> list[Interval]:
    """What the plan expected of the last validation, and what the run expected of it on the way."""
    before = {"tokens": 0, "seconds": 0, "bits_per_byte": run.plan.get("predicted_bits_per_byte"),
              "low": run.plan.get("low"), "high": run.plan.get("high")}
    return [made for line in (before, *run.predictions) if (made := interval(line, run)) is not None]


def interval(said: Line, run: RunRecord) -> Interval | None:
    """One prediction, placed where it was said; None when a number is missing."""
    value, low, high = (number(said.get(key)) for key in ("bits_per_byte", "low", "high"))
    if value is None or low is None or high is None:
        return None
    tokens = first_number(said.get("tokens"), tokens_at(run, said.get("step")))
    at = Point(tokens=tokens or 0.0, seconds=number(said.get("seconds")) or 0.0, value=value)
    return Interval(at=at, low=low, high=high)


def tokens_at(run: RunRecord, step: object) -> float | None:
    """Tokens after a step, from the batch size, or from the first line at or beyond it."""
    wanted, batch = number(step), number(run.plan.get("batch_tokens"))
    if wanted is None:
        return None
    if batch:
        return wanted * batch
    return next((number(line.get("tokens")) for line in run.steps if (number(line.get("step")) or 0) >= wanted), None)
