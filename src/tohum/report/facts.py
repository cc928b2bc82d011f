"""Facts: one run -> headline tiles, sentence, plan against outcome, and the tables of text, model and hashes."""

from dataclasses import dataclass
from typing import Any

from tohum.report.read import Line, RunRecord, first_number, number, records, section
from tohum.report.scale import readable
from tohum.units import human_bytes, human_count, human_seconds

COUNTED = {"": "tokens", "classify": "texts", "instruct": "learned tokens", "prefer": "pairs"}
TESTED = ("accuracy", "macro_f1", "expected_calibration_error", "margin", "preferred", "ended_fraction")
MEMORY_PARTS = ("program", "parameters", "gradients", "optimizer", "activations", "loss")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One headline number."""

    value: str
    name: str
    note: str = ""


def headline(run: RunRecord) -> dict[str, float | None]:
    """The numbers that a run is judged by; of an unfinished run the latest."""
    step, last = (lines[-1] if lines else {} for lines in (run.steps, run.evaluations))
    result, model = run.result, section(run.plan, "model")
    found = {
        "bits_per_byte": first_number(result.get("val_bits_per_byte"), last.get("bits_per_byte")),
        "val_loss": first_number(result.get("val_loss"), last.get("loss")),
        "train_loss": first_number(result.get("train_loss"), step.get("loss")),
        "parameters": first_number(result.get("parameters"), model.get("parameters")),
        "steps": first_number(result.get("steps"), step.get("step")),
        "tokens": first_number(result.get("tokens"), step.get("tokens")),
        "epochs": first_number(step.get("epoch")),
        "seconds": first_number(result.get("process_seconds"), result.get("seconds"), step.get("seconds")),
        "tokens_per_second": first_number(result.get("tokens_per_second"), step.get("tokens_per_second")),
        "peak_memory_bytes": first_number(result.get("peak_memory_bytes"),
                                          *[p.get("peak_memory_bytes") for p in reversed(run.predictions)])}
    return found | tested(run) if run.kind else found


def tested(run: RunRecord) -> dict[str, float | None]:
    """What a fine-tuning run has besides: the figures of its test, and how much was trained."""
    test = section(run.result, "test")
    rates = sorted(rate for line in run.steps if (rate := number(line.get("tokens_per_second"))))
    general = section(section(section(test, "card"), "general"), "after")
    return {"val_loss": first_number(run.result.get("val_loss")) or lowest(run) if run.evaluations else None,
            "tokens_per_second": rates[len(rates) // 2] if rates else None,  # steps behind a validation are slower
            "trainable_parameters": first_number(run.result.get("trainable_parameters")),
            "test_loss": first_number(test.get("loss"), test.get("nll")),
            "general_bits_per_byte": first_number(general.get("bits_per_byte"))
            } | {name: first_number(test.get(name)) for name in TESTED} | {
            name: first_number(section(test, name).get("value")) for name in ("exact_match", "token_f1", "chrf")}


def lowest(run: RunRecord) -> float | None:
    """The lowest validation loss after training has begun."""
    losses = [loss for line in run.evaluations if number(line.get("step")) and
              (loss := number(line.get("loss"))) is not None]
    return min(losses, default=None)


def counted(run: RunRecord) -> str:
    """What `tokens` counts in this run: the terms that its loss is the mean of."""
    single = section(run.config, "preference").get("method") == "kto"
    return "answers" if single else COUNTED[run.kind]


def tiles(run: RunRecord) -> list[Tile]:
    """Headline numbers in words; what is not known is left out."""
    h = headline(run)
    found = [
        ("bits_per_byte", "bits per byte", lambda v: f"{v:.3f}", expectation(run, h["bits_per_byte"])),
        ("parameters", "parameters", human_count, shape(run)),
        ("tokens", "training tokens", human_count, f"{h['epochs']:.3g} epochs" if h["epochs"] else ""),
        ("seconds", "from start to result" if run.result else "so far", human_seconds, of_budget(run)),
        ("tokens_per_second", "tokens per second", human_count, ""),
        ("peak_memory_bytes", "peak memory", human_bytes, "")]
    return [Tile(value=write(value), name=name, note=note) for key, name, write, note in found
            if (value := h[key]) is not None]


def expectation(run: RunRecord, measured: float | None) -> str:
    """Whether the final value lies in the interval that was given before the first step."""
    low, high = number(run.plan.get("low")), number(run.plan.get("high"))
    if low is None or high is None:
        return ""
    said = f"expected {low:.2f} to {high:.2f}"
    return said if run.status != "finished" or measured is None or low <= measured <= high else f"{said}, missed"


def shape(run: RunRecord) -> str:
    """Layers and width."""
    config = section(run.plan, "config")
    layers = records(config, "layers")
    return f"{len(layers)} layer{'s' * (len(layers) > 1)}, width {config.get('width')}" if layers else ""


def of_budget(run: RunRecord) -> str:
    """The budget that was given."""
    budget = number(run.plan.get("budget_seconds"))
    return f"of {human_seconds(budget)} given" if budget else ""


def sentence(run: RunRecord) -> str:
    """What the headline number means, for someone who meets it for the first time."""
    bits = headline(run)["bits_per_byte"]
    if bits is None:
        return "No validation has been made yet."
    said = (f"On text that it was not trained on, this model needs {bits:.2f} bits for each byte; "
            "stored plainly, a byte has 8.")
    order5, xz = (number(run.baselines.get(key)) for key in ("order5_bits_per_byte", "xz_bits_per_byte"))
    others = [f"a byte model that counts five letters back needs {order5:.2f}"] if order5 else []
    others += [f"xz, after reading the training text, {xz:.2f}"] if xz else []
    return said + (f" For comparison: {' and '.join(others)}." if others else "")


def baseline_bars(run: RunRecord) -> list[Line]:
    """This model and what it is held against, shortest (best) first."""
    named = [("this model", headline(run)["bits_per_byte"]),
             ("order-5 byte model", number(run.baselines.get("order5_bits_per_byte"))),
             ("xz after the training text", number(run.baselines.get("xz_bits_per_byte")))]
    known = sorted(((value, name) for name, value in named if value), key=lambda pair: pair[0])
    if len(known) < 2:
        return []
    return [{"name": name, "value": f"{value:.3f}", "width": value / known[-1][0] * 100, "own": name == "this model"}
            for value, name in known]


def outcome(run: RunRecord) -> list[Line]:
    """Rows of plan against outcome; of an unfinished run what was said so far."""
    rows = records(run.result, "outcome") or expected(run)
    return [shown for row in rows if (shown := outcome_row(row)) is not None]


def expected(run: RunRecord) -> list[Line]:
    """The plan's numbers without anything to hold against them yet."""
    plan = run.plan
    rows = [{"what": "bits per byte, before step 0", "predicted": plan.get("predicted_bits_per_byte"),
             "low": plan.get("low"), "high": plan.get("high"), "unit": "bits per byte"},
            {"what": "time, from start to result", "predicted": plan.get("seconds"), "unit": "seconds"},
            {"what": "peak memory", "predicted": plan.get("peak_memory_bytes"), "unit": "bytes"}]
    return rows + [{"what": f"bits per byte, at {number(said.get('fraction')) or 0:.0%} of the run",
                    "predicted": said.get("bits_per_byte"), "low": said.get("low"), "high": said.get("high"),
                    "unit": "bits per byte"} for said in run.predictions]


def outcome_row(row: Line) -> Line | None:
    """One row as text, with places (in percent) for its bar: interval, predicted and measured."""
    predicted, measured, low, high = (number(row.get(key)) for key in ("predicted", "measured", "low", "high"))
    if predicted is None:
        return None
    unit = str(row.get("unit", ""))
    numbers = [value for value in (predicted, measured, low, high) if value is not None]
    if low is None:
        numbers += [predicted * 0.9, predicted * 1.1]  # a scale of ten percent at least
    middle, reach = predicted, max(abs(value - predicted) for value in numbers) or 1.0
    places = {key: 50 + 42 * (value - middle) / reach
              for key, value in (("low", low), ("high", high), ("predicted", predicted), ("measured", measured))
              if value is not None}
    error = (measured - predicted) / predicted * 100 if measured is not None and predicted else None
    inside = None if measured is None or low is None or high is None else low <= measured <= high
    return {"what": str(row.get("what", "")), "predicted": readable(predicted, unit), "places": places,
            "measured": readable(measured, unit) if measured is not None else "",
            "error": f"{error:+.1f} %" if error is not None else "", "inside": inside,
            "interval": f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""}


def memory_parts(run: RunRecord) -> list[Line]:
    """The forecast of memory, part by part, with its share of the whole."""
    memory = section(run.plan, "memory")
    sizes = [(name, number(memory.get(name)) or 0.0) for name in MEMORY_PARTS]
    total = sum(size for _, size in sizes)
    return [{"name": name, "size": human_bytes(size), "width": size / total * 100} for name, size in sizes if size]


def text_facts(run: RunRecord) -> list[tuple[str, str]]:
    """Tokenizer and data, from the index of the data folder."""
    tokenizer, sources = section(run.data, "tokenizer"), records(run.data, "sources")
    entries = number(tokenizer.get("vocab_size"))
    rows = [("tokenizer", f"{tokenizer.get('kind')}, {entries:,.0f} entries")] if entries else []
    for split, name in (("train", "training text"), ("val", "held-out text")):
        documents, tokens, size = (sum(number(section(source, split).get(key)) or 0 for source in sources)
                                   for key in ("documents", "tokens", "text_bytes"))
        if tokens:
            rows.append((name, f"{documents:,.0f} documents, {human_bytes(size)}, {human_count(tokens)} tokens"))
            rows.append((f"bytes per token, {name}", f"{size / tokens:.2f}"))
    shares = sum(number(source.get("share")) or 0.0 for source in sources)
    rows += [(f"source {source.get('name')}", f"{(number(source.get('share')) or 0) / shares:.1%} of the samples")
             for source in sources if shares]
    return rows


def model_facts(run: RunRecord) -> list[tuple[str, str]]:
    """The architecture in a few rows."""
    config = section(run.plan, "config")
    layers = records(config, "layers")
    if not layers:
        return []
    attention, feed_forward = section(layers[0], "attention"), section(layers[0], "feed_forward")
    rows: list[tuple[str, Any]] = [
        ("layers", len(layers)), ("width", config.get("width")), ("context", config.get("context")),
        ("vocabulary", config.get("vocab_size")), ("heads", attention.get("heads")),
        ("key/value heads", attention.get("kv_heads")), ("head width", attention.get("head_width")),
        ("feed-forward", feed_forward.get("kind")), ("feed-forward width", feed_forward.get("width")),
        ("token table and head", "shared" if config.get("tied") else "separate")]
    return [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in rows if value is not None]


def hashes(run: RunRecord) -> list[tuple[str, str]]:
    """What identifies weights, data and tokenizer."""
    card, data = section(section(run.result, "test"), "card"), section(run.result, "data") or section(run.plan, "data")
    rows = [("model, SHA-256", run.result.get("model_sha256") or card.get("tuned_sha256")),
            ("base model, SHA-256", card.get("base_sha256")), ("template, SHA-256", data.get("template_sha256")),
            ("data fingerprint", run.result.get("data_fingerprint") or run.data.get("fingerprint")),
            ("tokenizer, SHA-256", section(run.data, "tokenizer").get("sha256"))]
    return [(name, value) for name, value in rows if isinstance(value, str) and value]
