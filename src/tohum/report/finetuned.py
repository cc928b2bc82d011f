"""What the pages of all fine-tuning runs show: a run -> headline, what was trained, the data, time and memory."""

from typing import Any

from tohum.report import answered, classified
from tohum.report.curves import draw
from tohum.report.facts import Tile, counted, headline, lowest
from tohum.report.read import Line, RunRecord, first_number, number, records, section
from tohum.report.tuning import tuned
from tohum.units import human_bytes, human_count, human_seconds

TITLES = {"classify": "report of a classifier", "instruct": "report of an assistant",
          "prefer": "report of a preference run"}
SIDES = ("train", "validation", "test")
TRAIN = {"all": "all weights", "last-block": "the last block, final norm and head", "head": "the head alone"}
NOTES = {  # of one side's report
    "cut": "longer texts, of which only the beginning is read: {}",
    "dropped": "longer texts, left out: {}",
    "targets_cut": "learned tokens cut off, so that the answers do not end: {}",
    "copies": "exact copies of other examples: {}",
    "parted": "rows that became several examples, one for each answer: {}",
    "apart": "texts with prompt and answer encoded apart, for one token would cover both: {}",
    "straddled": "texts with a token that covers prompt and answer: {}"}


def finetuned(run: RunRecord) -> dict[str, Any]:
    """All values of the template but for those that every page has."""
    stage = classified if run.kind == "classify" else answered
    return {"kind": TITLES[run.kind], "sentence": stage.sentence(run), "per": counted(run),
            "tiles": [*stage.tiles(run), *common_tiles(run)], "warnings": [*stage.warnings(run), *never_better(run)],
            "figures": [drawn for figure in tuned(run) if (drawn := draw(figure))],
            "trained": trained(run), "share": share(run), "sides": sides(run), "learned": run.kind != "classify",
            "data_notes": data_notes(run), "data_facts": data_facts(run),
            "classes": classified.classes(run) if run.kind == "classify" else None,
            "answers": answered.answers(run) if run.kind != "classify" else None}


def common_tiles(run: RunRecord) -> list[Tile]:
    """What was trained; time and memory."""
    h = headline(run)
    count, seconds, memory = h["trainable_parameters"], h["seconds"], h["peak_memory_bytes"]
    found = [Tile(value=human_count(count), name="trained parameters", note=share_text(run))] if count else []
    note = f"peak memory {human_bytes(memory)}" if memory else ""
    return found + ([Tile(value=human_seconds(seconds), name="training" if run.result else "so far", note=note)]
                    if seconds else [])


def never_better(run: RunRecord) -> list[str]:
    """Training that made the validation loss worse."""
    first = next((number(line.get("loss")) for line in run.evaluations if line.get("step") == 0), None)
    later = lowest(run)
    if first is None or later is None or later < first:
        return []
    return [f"The validation loss never fell below that of the untrained model ({first:.4f}): lower optimizer.lr, or "
            "look at the data."]


def share(run: RunRecord) -> float | None:
    """Percent of the parameters that is trained."""
    h = headline(run)
    return h["trainable_parameters"] / h["parameters"] * 100 if h["trainable_parameters"] and h["parameters"] else None


def share_text(run: RunRecord) -> str:
    """"0.92 % of 4.48M"."""
    percent, total = share(run), headline(run)["parameters"]
    return f"{percent:.3g} % of {human_count(total)}" if percent and total else ""


def trained(run: RunRecord) -> list[tuple[str, str]]:
    """What was trained and how, in a few rows."""
    c, h = run.config, headline(run)
    training, optimizer, schedule = (section(c, name) for name in ("training", "optimizer", "schedule"))
    epochs, steps, rows = h["epochs"], h["steps"], number(training.get("batch_rows"))
    planned, lr = number(training.get("steps")), number(optimizer.get("lr"))
    done = f"{steps:,.0f} steps" if steps else ""
    done += f" of {planned:,.0f}" if steps and planned and steps < planned else ""
    done += f" of {rows:,.0f} {'rows' if run.kind == 'prefer' else 'examples'}" if steps and rows else ""
    done += f", {epochs:.3g} epochs" if steps and epochs else ""
    best = number(run.result.get("best_step"))
    kept = f"those of step {best:,.0f}, where the validation loss was lowest" if best and run.evaluations else None
    number_format = " on ".join(str(training[key]) for key in ("dtype", "device") if training.get(key))
    rate = h["tokens_per_second"]
    found = [
        ("base model", section(c, "model").get("folder")), ("trained", what(c)), ("loss", loss(run)), ("length", done),
        ("weights", kept),
        ("optimizer", f"{optimizer.get('kind')}, rate {lr:g} at its highest, {schedule.get('kind')}" if lr else None),
        ("arithmetic", number_format), ("training", human_seconds(h["seconds"]) if h["seconds"] else None),
        ("throughput", f"{human_count(rate)} {counted(run)} per second" if rate else None),
        ("peak memory", memory(run))]
    return [(name, str(value)) for name, value in found if value]


def memory(run: RunRecord) -> str | None:
    """"1.92 GB (2.04 GB expected)"."""
    peak, expected = headline(run)["peak_memory_bytes"], number(run.result.get("predicted_peak_memory_bytes"))
    if not peak:
        return None
    return human_bytes(peak) + (f" ({human_bytes(expected)} expected)" if expected else "")


def what(config: Line) -> str:
    """"LoRA adapter of rank 8, alpha 16, on every linear of the blocks"."""
    named, lora = section(config, "training").get("train"), section(config, "lora")
    if named:
        return TRAIN.get(str(named), str(named))
    if not lora:
        return ""
    targets = lora.get("targets")
    patterns = [str(target) for target in targets] if isinstance(targets, list) else []
    where = "every linear of the blocks" if patterns == ["*"] else ", ".join(patterns)
    kind = {"lora": "LoRA", "dora": "DoRA", "rslora": "rsLoRA"}.get(str(lora.get("kind")), "LoRA")
    alpha = f"alpha {lora['alpha']:g}" if number(lora.get("alpha")) else "alpha twice the rank"
    return f"{kind} adapter of rank {lora.get('rank')}, {alpha}" + (f", on {where}" if where else "")


def loss(run: RunRecord) -> str:
    """What the loss is made of."""
    data, preference = section(run.config, "data"), section(run.config, "preference")
    if run.kind == "classify":
        return {"weights": "rare classes weigh more", "undersample": "classes made equal by leaving rows out"}.get(
            str(data.get("balance")), "every text weighs the same")
    if run.kind == "instruct":
        return "every token is learned" if data.get("loss") == "all" else "the answers alone are learned"
    keys = ("beta", "gamma") if preference.get("method") == "simpo" else ("beta",)
    parts = [f"{key} {preference[key]:g}" for key in keys if number(preference.get(key)) is not None]
    return ", ".join([str(preference.get("method", "")).upper().replace("SIMPO", "SimPO"), *parts])


def data_of(run: RunRecord) -> Line:
    """The data's own report."""
    return section(run.result, "data") or section(run.plan, "data")


def sides(run: RunRecord) -> list[Line]:
    """Rows, tokens and lengths of train, validation and test, with places (in percent) for a drawing of lengths."""
    every = {name: side for name in SIDES if (side := section(section(data_of(run), "sides"), name))}
    limit = number(data_of(run).get("max_length")) or 0.0
    longest = [lengths(side).get("max") or 0.0 for side in every.values()]
    scale = max([limit, *longest]) or 1.0
    return [side_row(name, side, scale=scale, limit=limit) for name, side in every.items()]


def side_row(name: str, side: Line, *, scale: float, limit: float) -> Line:
    """One side as text."""
    found = lengths(side)
    targets, tokens, rows = (number(side.get(key)) for key in ("targets", "tokens", "rows"))
    kept = first_number(side.get("kept"), rows)
    return {"name": name, "rows": "" if kept is None else f"{kept:,.0f}",
            "tokens": "" if tokens is None else human_count(tokens),
            "learned": f"{targets / tokens:.0%}" if targets is not None and tokens else "",
            "lengths": {key: f"{value:,.0f}" for key, value in found.items()},
            "places": {key: value / scale * 100 for key, value in found.items()},
            "limit": limit / scale * 100 if limit else None}


def lengths(side: Line) -> dict[str, float]:
    """p50, p90, p99 and max of the lengths in tokens, by either of the two names that they are stored under."""
    stored = section(side, "length_tokens") or {"p50": side.get("p50"), "p90": side.get("p90"),
                                                "p99": side.get("p99"), "max": side.get("longest")}
    return {key: value for key in ("p50", "p90", "p99", "max") if (value := number(stored.get(key))) is not None}


def data_facts(run: RunRecord) -> list[tuple[str, str]]:
    """Where the data come from and how they are written."""
    data, recipe = data_of(run), section(run.config, "data")
    weights = {label: weight for label, value in section(data, "class_weights").items()
               if (weight := number(value)) is not None}
    reasons, limit = section(data, "columns").get("reasons"), number(data.get("max_length"))
    found = [("file", recipe.get("file")), ("read as", data.get("described")),
             ("columns", "; ".join(map(str, reasons)) if isinstance(reasons, list) else None),
             ("class weights", ", ".join(f"{label} {weight:.3g}" for label, weight in list(weights.items())[:20])
              if len(set(weights.values())) > 1 else None),
             ("template", recipe.get("template")), ("end of turn", data.get("end_of_turn")),
             ("longest example", f"{limit:,.0f} tokens" if limit else None)]
    return [(name, str(value)) for name, value in found if value]


def data_notes(run: RunRecord) -> list[str]:
    """What was left out or cut, and why."""
    data = data_of(run)
    notes = data.get("notes")
    found = [str(note) for note in notes] if isinstance(notes, list) else []
    found += [f"rows left out: {count:,.0f}, {reason}" for reason, value in section(data, "dropped").items()
              if (count := number(value))]
    for name in SIDES:
        side = section(section(data, "sides"), name)
        found += [f"{name}: rows left out: {count:,.0f}, {drop.get('reason')} (first: {drop.get('first')})"
                  for drop in records(side, "dropped") if (count := number(drop.get("count")))]
        found += [f"{name}: " + text.format(f"{count:,.0f}") for key, text in NOTES.items()
                  if (count := number(side.get(key)))]
    return found
