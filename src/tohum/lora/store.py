"""Adapter <-> PEFT's layout: adapter_config.json and adapter_model.safetensors, readable by peft and by vLLM.

    base_model.model.<their name of the linear>.lora_A.weight  (rank, in)
                                                .lora_B.weight  (out, rank)
                                                .lora_magnitude_vector  (out,)  DoRA

Where a family stores several of our linears as one (GPT-2's c_attn), one pair of theirs is several of ours: reading
cuts B by rows, and A is shared; writing stacks the A's and puts the B's on a diagonal, at the sum of the ranks.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tohum.config import explain
from tohum.errors import CheckpointError, ConfigError
from tohum.files import write_json
from tohum.lora.adapter import Adapter, Factors
from tohum.lora.config import LoraConfig, LoraKind

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
ROWS = "token_adapter.trainable_tokens_delta"
MAX_CONFIG_BYTES = 10_000_000
Write = Callable[[Path, Mapping[str, Tensor]], None]
CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # first values that are taken out of the weights
# What changes the forward pass, with the values at which it does not.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bias": ("none",), "lora_bias": (False,), "layer_replication": (None,), "target_parameters": (None, []),
    "use_qalora": (False,), "use_bdlora": (None,), "alora_invocation_tokens": (None,), "arrow_config": (None,),
    "velora_config": (None,), "kasa_config": (None,), "monteclora_config": (None,)}


class Place(NamedTuple):
    """One stored linear: their name, our linears that it holds, rows of each, and whether it is stored (in, out)."""

    theirs: str
    ours: tuple[str, ...]
    rows: tuple[int, ...]
    transposed: bool = False


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An adapter folder in memory."""

    adapter: Adapter
    base: str | None  # what base_model_name_or_path says
    task: str | None  # CAUSAL_LM or SEQ_CLS


def write_adapter(folder: Path, stored: Stored, places: Sequence[Place], token_table: str, write: Write) -> None:
    """Write both files, the tensors by `write`. Not atomic by itself: give it the draft of `files.write_directory`."""
    adapter = stored.adapter
    tensors: dict[str, Tensor] = {}
    used, ranks, alphas = [], {}, {}
    for place in places:
        present = [name for name in place.ours if name in adapter.factors]
        if not present:
            continue
        pair = stacked(place, adapter)
        used.append(place)
        ranks[place.theirs], alphas[place.theirs] = pair.a.shape[0], stored_alpha(pair, adapter.config.kind)
        tensors[f"{PREFIX}{place.theirs}.lora_A.weight"] = pair.a
        tensors[f"{PREFIX}{place.theirs}.lora_B.weight"] = pair.b
        if pair.m is not None:
            tensors[f"{PREFIX}{place.theirs}.lora_magnitude_vector"] = pair.m
    tensors |= {f"{PREFIX}{name}": value for name, value in adapter.extra.items()}
    rows = sorted(adapter.token_rows)
    if rows:
        tensors[f"{PREFIX}{token_table}.{ROWS}"] = torch.stack([adapter.token_rows[i] for i in rows])
    write(folder / WEIGHTS, {name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    write_json(folder / CONFIG, config_json(stored, used, ranks, alphas) | {"trainable_token_indices": rows or None})


def stacked(place: Place, adapter: Adapter) -> Factors:
    """Our factors at one place -> their one pair."""
    if len(place.ours) == 1:
        return adapter.factors[place.ours[0]]
    parts = [adapter.factors.get(name) for name in place.ours]
    if any(part is not None and part.m is not None for part in parts):
        raise ConfigError(f"DoRA on {place.theirs}, which holds {len(place.ours)} of our linears, has no form in PEFT; "
                          "use lora.kind=lora")
    first = next(part for part in parts if part is not None)
    blocks = [torch.zeros(rows, 0, dtype=first.b.dtype) if part is None else part.b.cpu() for rows, part in
              zip(place.rows, parts, strict=True)]
    return Factors(torch.cat([part.a for part in parts if part is not None]), torch.block_diag(*blocks),
                   scale=first.scale)


def parted(adapter: Adapter, places: Sequence[Place], present: Collection[str]) -> dict[str, Factors]:
    """What `stacked` put together, taken apart: each linear of `present` (those that were written) has its own rank."""
    found: dict[str, Factors] = {}
    for place in places:
        names = [name for name in place.ours if name in present and name in adapter.factors]
        for number, name in enumerate(names):
            pair = adapter.factors[name]
            rank = len(pair.a) // len(names)
            own = slice(number * rank, (number + 1) * rank)
            found[name] = Factors(pair.a[own], pair.b[:, own], pair.m, scale=pair.scale)
    return found


def stored_alpha(pair: Factors, kind: LoraKind) -> float:
    """The alpha that gives this scale at this rank."""
    rank = pair.a.shape[0]
    return pair.scale * (rank**0.5 if kind == "rslora" else rank)


def config_json(stored: Stored, used: Sequence[Place], ranks: Mapping[str, int],
                alphas: Mapping[str, float]) -> dict[str, Any]:
    """adapter_config.json: what peft needs to build the same adapter."""
    config = stored.adapter.config
    rank = next(iter(ranks.values()), config.rank)
    alpha = next(iter(alphas.values()), config.scale * config.rank)
    return {"peft_type": "LORA", "task_type": stored.task, "base_model_name_or_path": stored.base,
            "inference_mode": True, "r": rank, "lora_alpha": alpha, "lora_dropout": config.dropout, "bias": "none",
            "use_rslora": config.kind == "rslora", "use_dora": config.kind == "dora",
            "fan_in_fan_out": any(place.transposed for place in used),
            "target_modules": [place.theirs for place in used] or None,
            "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
            "alpha_pattern": {name: value for name, value in alphas.items() if value != alpha},
            "modules_to_save": sorted({name.split(".")[0] for name in stored.adapter.extra}) or None}


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json, refused where it asks for what LoraLinear does not do. Raises CheckpointError."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes; too large for a file of this kind")
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); an adapter folder has {CONFIG} and {WEIGHTS}"
                              ) from None
    if not isinstance(values, dict) or values.get("peft_type") != "LORA":
        kind = values.get("peft_type") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(f"{path}: peft_type = {kind!r}; only LORA adapters can be read")
    for key, allowed in NEUTRAL.items():
        if values.get(key, allowed[0]) not in allowed:
            raise CheckpointError(f"{path}: asks for {key} = {values[key]!r}, which this LoRA does not do")
    start = values.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGES_THE_BASE):
        raise CheckpointError(f"{path}: init_lora_weights = {start!r} changes the base as well, which is not done here")
    check_types(values, path)
    return values


def check_types(values: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError for a value of another type than peft writes: it would fail far from its cause."""
    number, names, several = (int, float), (dict, type(None)), (list, type(None))
    for key, kind in (("r", int), ("lora_alpha", number), ("lora_dropout", (*number, type(None))),
                      ("alpha_pattern", names), ("rank_pattern", names), ("trainable_token_indices", several)):
        if not isinstance(values.get(key), kind) or isinstance(values.get(key), bool):
            raise CheckpointError(f"{path}: {key} = {str(values.get(key))[:40]}, which is no value of an adapter")
    alphas, ids = values.get("alpha_pattern") or {}, values.get("trainable_token_indices") or []
    if not all(isinstance(alpha, int | float) for alpha in alphas.values()):
        raise CheckpointError(f"{path}: expected numbers under alpha_pattern")
    if not all(isinstance(token, int) for token in ids) or len(set(ids)) != len(ids):
        raise CheckpointError(f"{path}: expected different token ids under trainable_token_indices")


def read_adapter(folder: Path, places: Sequence[Place], token_table: str) -> Stored:
    """Both files -> our factors. Raises CheckpointError naming every tensor that fits nowhere."""
    values = read_config(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / WEIGHTS}: not a complete safetensors file: {error}") from None
    tensors = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    config = lora_config(values, folder / CONFIG)
    factors: dict[str, Factors] = {}
    for place in places:
        factors |= factors_at(place, tensors, config, values, str(folder / WEIGHTS))
    rows = tensors.pop(f"{token_table}.{ROWS}", None)
    ids = values.get("trainable_token_indices") or []
    if rows is not None and (rows.ndim != 2 or len(rows) != len(ids)):
        raise CheckpointError(f"{folder / WEIGHTS}: token rows of {list(rows.shape)} for {len(ids)} tokens")
    extra = {name: value for name, value in tensors.items() if name.startswith("score.")}
    if unknown := sorted(tensors.keys() - extra.keys()):
        raise CheckpointError(f"{folder / WEIGHTS}: {len(unknown)} tensors fit nowhere in the base: "
                              f"{', '.join(unknown[:3])}\nit was trained on another base")
    adapter = Adapter(config=config, factors=factors, extra=extra,
                      token_rows={} if rows is None else dict(zip(ids, rows, strict=True)))
    return Stored(adapter=adapter, base=values.get("base_model_name_or_path"), task=values.get("task_type"))


def factors_at(place: Place, tensors: dict[str, Tensor], config: LoraConfig, values: Mapping[str, Any],
               where: str) -> dict[str, Factors]:
    """Take the tensors of one place out of `tensors`; none where it is left as it is. Raises CheckpointError."""
    a, b = tensors.pop(f"{place.theirs}.lora_A.weight", None), tensors.pop(f"{place.theirs}.lora_B.weight", None)
    m = tensors.pop(f"{place.theirs}.lora_magnitude_vector", None)
    if a is None or b is None:
        return {}
    size = sum(place.rows)
    if a.ndim != 2 or b.ndim != 2 or not len(a) or a.shape[0] != b.shape[1] or b.shape[0] != size:
        raise CheckpointError(f"{where}: {place.theirs} has A {list(a.shape)} and B {list(b.shape)}; "
                              f"the model has {size} rows there\nit was trained on another base")
    if (None if m is None else tuple(m.shape)) != ((size,) if config.kind == "dora" else None):
        raise CheckpointError(f"{where}: {place.theirs} has lengths {'missing' if m is None else list(m.shape)}; "
                              f"use_dora is {str(config.kind == 'dora').lower()}, and the model has {size} rows there")
    scale = scale_of(place.theirs, values, len(a))
    starts = [sum(place.rows[:number]) for number in range(len(place.rows))]
    return {name: Factors(a, b[start : start + rows], None if m is None else m[start : start + rows], scale=scale)
            for name, start, rows in zip(place.ours, starts, place.rows, strict=True)}


def lora_config(values: Mapping[str, Any], path: Path) -> LoraConfig:
    """The common settings; what differs by layer is in the factors. Raises CheckpointError."""
    if values.get("use_dora") and values.get("use_rslora"):
        raise CheckpointError(f"{path}: DoRA and rsLoRA together; this LoRA does one of them")
    kind: LoraKind = "dora" if values.get("use_dora") else "rslora" if values.get("use_rslora") else "lora"
    try:
        return LoraConfig(rank=values["r"], alpha=float(values["lora_alpha"]), kind=kind,
                          dropout=float(values.get("lora_dropout") or 0.0))
    except ValidationError as error:
        raise CheckpointError(f"{path}: {explain(LoraConfig, error.errors()[0])}") from None


def scale_of(theirs: str, values: Mapping[str, Any], rank: int) -> float:
    """alpha / rank of one place; patterns name places by the end of their name, as peft has them."""
    alpha = next((found for pattern, found in (values.get("alpha_pattern") or {}).items()
                  if theirs == pattern or theirs.endswith(f".{pattern}")), values["lora_alpha"])
    return float(alpha) / (rank**0.5 if values.get("use_rslora") else rank)
