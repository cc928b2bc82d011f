"""A row of a result: ours beside a peer's, measured in one run; and the limits of the machine that both are held to.

    row, unit                     what was measured; rates are better when higher, seconds and bytes when lower
    part                          of the measurement, where it can be measured alone
    ours, peer, peer_name         medians; the peer is the best of those that were asked
    ratio, goal                   ours / peer, and what it should be at least (rates) or at most (seconds, bytes)
    peak_memory_bytes, peer_peak_memory_bytes
    share_of_limit, limit         ours against what this machine can do at most, measured in the same run
    versions, cpu, measured
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from benchmarks.performance_page import rows_of

from tohum.environment import packages as installed
from tohum.environment import processor
from tohum.machine import cores, has_bf16_arithmetic

PEERS = ("litgpt", "rustbpe")
PRODUCTS = ((2048, 2048, 2048), (4096, 768, 3072))  # the shapes at which this library is at its best
READ_BYTES = 2**29


def row(name: str, *, unit: str, ours: float, peer: float | None = None, peer_name: str | None = None,
        goal: float | None = None, memory: float | None = None, peer_memory: float | None = None,
        packages: Iterable[str] = (), peer_python: str | Path | None = None, **more: Any) -> dict[str, Any]:
    """One row, with the versions of Tohum, torch and the named packages."""
    return {"row": name, "unit": unit, "ours": ours, "peer": peer, "peer_name": peer_name,
            "ratio": ours / peer if peer else None, "goal": goal, "peak_memory_bytes": memory,
            "peer_peak_memory_bytes": peer_memory,
            "versions": installed(("tohum", "torch", *packages)) | versions_of(peer_python),
            "cpu": f"{processor()['model']}, {cores()} cores", "measured": time.strftime("%Y-%m-%d")} | more


def merged(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These, and the recorded rows of a result's other parts, in the order of the parts' names."""
    parts = {row["part"] for row in rows}
    kept = [row for row in rows_of(name) if row.get("part", "") not in ("", *parts)]
    return sorted([*kept, *rows], key=lambda row: row["part"])


def versions_of(python: str | Path | None) -> dict[str, str]:
    """What a peer's own environment holds of the peers."""
    if python is None:
        return {}
    folder = next(Path(python).parents[1].glob("lib/python*/site-packages"))
    return {name: path.name.removeprefix(f"{name}-").removesuffix(".dist-info")
            for name in PEERS for path in folder.glob(f"{name}-*.dist-info")}


def product_limit() -> tuple[float, str]:
    """FLOP per second of the fastest matrix product, and its format: bf16 where the processor has its arithmetic."""
    dtype = torch.bfloat16 if has_bf16_arithmetic() else torch.float32
    torch.set_num_threads(cores())
    best = 0.0
    for m, k, n in PRODUCTS:
        a, b = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)
        best = max(best, 2 * m * k * n / seconds(lambda a=a, b=b: a @ b))
    return best, str(dtype).removeprefix("torch.")


def read_limit() -> float:
    """Bytes per second that all cores together read from memory."""
    torch.set_num_threads(cores())
    values = torch.ones(READ_BYTES // 4)
    return READ_BYTES / seconds(values.sum)


def seconds(work: Callable[[], object], times: int = 7) -> float:
    """Shortest time of a call, after one that is not counted: a limit is what the machine can do undisturbed."""
    work()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)
