"""Profile: a few steps of a run -> where their time went, for a person and in RUN/profile.json."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from tohum.files import write_json
from tohum.kernels.matmul import EVENT
from tohum.training.ranks import Ranks
from tohum.units import human_seconds

WARM_STEPS, STEPS = 3, 3  # the first ones fault memory in and compile
OPERATIONS = 12  # of the longest, named one by one
SCOPES = ("loss", "optimizer")  # record_function names: all that runs inside is theirs
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addmm_", "_int_mm", "mkldnn_linear", "_weight_int8pack_mm")
ATTENTION = ("attention", "NarrowAttention", "NarrowAttentionBackward")
COPIES = ("copy_", "clone", "cat", "fill_", "zero_")
PARTS = ("matrix products", "attention", *SCOPES, "copies", "rest")


class StepProfile:
    """Call `stepped` after every step; it starts, stops and reports by itself."""

    def __init__(self, out: Path, say: Callable[[str], None], *, cuda: bool):
        self.out, self.say, self.cuda = out, say, cuda
        self.steps, self.started = 0, 0.0
        self.profiler: Any = None

    def stepped(self) -> None:
        """One more step is done."""
        self.steps += 1
        if self.steps == WARM_STEPS:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells on stderr that it starts and stops
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.cuda else [])]
            self.profiler = profile(activities=kinds, with_flops=True)
            self.profiler.__enter__()
            self.started = time.perf_counter()
        elif self.steps == WARM_STEPS + STEPS:
            if self.cuda:
                torch.cuda.synchronize()
            seconds = (time.perf_counter() - self.started) / STEPS
            self.profiler.__exit__(None, None, None)
            found = summary(self.profiler.events(), seconds, cuda=self.cuda)
            self.profiler = None
            write_json(self.out / "profile.json", found)
            self.say(shown(found))


def summary(events: Iterable[Any], seconds: float, *, cuda: bool) -> dict[str, Any]:
    """Seconds of a step by part and by operation; `rest` is what is left of the wall-clock time."""
    parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    operations: dict[str, float] = defaultdict(float)
    flops = 0
    for event in events:
        own = (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6 / STEPS
        part = part_of(event)
        parts[part] += own
        operations[event.name] += own
        flops += operations_of(event) if part == "matrix products" else 0
    parts["rest"] = max(0.0, seconds - sum(value for name, value in parts.items() if name != "rest"))
    longest = sorted(operations.items(), key=lambda pair: -pair[1])[:OPERATIONS]
    products = parts["matrix products"]
    return {"steps": STEPS, "seconds_per_step": seconds, "parts": parts,
            "gflops_per_second_of_products": flops / STEPS / products / 1e9 if products else None,
            "operations": [{"name": name, "seconds": value} for name, value in longest]}


def part_of(event: Any) -> str:
    """The scope that an operation ran in, else its kind."""
    node = event
    while node is not None:
        if node.name in SCOPES:
            return node.name
        node = node.cpu_parent
    name = event.name.removeprefix("aten::")
    if name in PRODUCTS or name.startswith(EVENT):
        return "matrix products"
    if "scaled_dot_product" in name or name in ATTENTION:
        return "attention"
    return "copies" if name in COPIES else "rest"


def operations_of(event: Any) -> int:
    """Multiplications and additions; those of our kernels stand in the name."""
    return int(event.name.removeprefix(EVENT)) if event.name.startswith(EVENT) else event.flops or 0


def shown(found: dict[str, Any]) -> str:
    """A small table."""
    seconds, rate = found["seconds_per_step"], found["gflops_per_second_of_products"]
    lines = [f"profile of {found['steps']} steps, {human_seconds(seconds)} each:"]
    for name, value in found["parts"].items():
        more = f"   {rate:,.0f} GFLOP/s" if name == "matrix products" and rate else ""
        lines.append(f"  {name:<16} {value:8.3f} s  {value / seconds:6.1%}{more}")
    return "\n".join(lines)


def profile_of(out: Path, say: Callable[[str], None], ranks: Ranks, device: str, *, steps: int) -> StepProfile | None:
    """Of the first process; a run of too few steps is told so."""
    if steps < WARM_STEPS + STEPS:
        say(f"note: no profile: it begins after {WARM_STEPS} steps and takes {STEPS}; this run has {steps}")
    return StepProfile(out, say, cuda=device == "cuda") if ranks.is_main else None
