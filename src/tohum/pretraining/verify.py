"""Proof of exact resume on a user's own recipe: killed again and again, the weights end up the same, bit for bit."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.config import read_toml, validate, write_toml
from tohum.errors import CheckpointError, FailedError
from tohum.files import sha256_file
from tohum.pretraining.config import ResolvedRecipe
from tohum.training.checkpoint import steps as saved_steps

POLL_SECONDS = 0.01
CHECKPOINTS_PER_KILL = 4  # a killed run goes past a checkpoint or two: enough must be left for the next kills


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Both runs' weights, and how often the second was killed."""

    identical: bool
    kills: int
    steps: int
    unbroken_sha256: str
    killed_sha256: str


def verify_resume(run: Path, *, steps: int | None, kills: int, seed: int, say: Callable[[str], None],
                  folder: Path | None = None) -> Verified:
    """Repeat the run's recipe twice in a scratch folder: once unbroken, once killed with SIGKILL at random moments.

    steps: length of both runs, None for the recipe's own; all else is as in the recipe, but for more checkpoints.
    Raises CheckpointError for a folder that is no run.
    """
    recipe = stored_recipe(run)
    steps = steps or recipe.training.steps
    every = max(1, steps // (CHECKPOINTS_PER_KILL * (kills + 1)))
    recipe = recipe.with_training(steps=steps, save_every=every, eval_every=max(1, steps // 3))
    scratch = Path(tempfile.mkdtemp(prefix="tohum-verify-", dir=folder))
    try:
        write_toml(scratch / "recipe.toml", recipe)
        say(f"unbroken run of {steps:,} steps")
        started = time.monotonic()
        finish(scratch, "unbroken")
        seconds = time.monotonic() - started
        say(f"done in {seconds:.0f} s; now the same run, killed {kills} times")
        killed = kill_again_and_again(scratch, kills, random.Random(seed), say)
        finish(scratch, "killed", "--resume")
        hashes = [sha256_file(scratch / name / "last" / "model.safetensors") for name in ("unbroken", "killed")]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Verified(identical=hashes[0] == hashes[1], kills=killed, steps=steps, unbroken_sha256=hashes[0],
                    killed_sha256=hashes[1])


def stored_recipe(run: Path) -> ResolvedRecipe:
    """The resolved recipe of a run folder."""
    path = run / "config.toml"
    if not path.is_file():
        raise CheckpointError(f"{run}: no config.toml; verify-resume takes a run folder that pretrain wrote")
    return validate(ResolvedRecipe, read_toml(path), where=str(path))


def command(scratch: Path, name: str, *more: str) -> list[str]:
    """The pretrain command of one of the two runs."""
    return [sys.executable, "-m", "tohum", "pretrain", "--config", str(scratch / "recipe.toml"), "--out",
            str(scratch / name), "--json", *more]


def finish(scratch: Path, name: str, *more: str) -> dict[str, Any]:
    """Run to the end; returns the result."""
    done = subprocess.run(command(scratch, name, *more), capture_output=True, text=True)
    if done.returncode:
        raise FailedError(f"the {name} run failed with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def kill_again_and_again(scratch: Path, kills: int, rng: random.Random, say: Callable[[str], None]) -> int:
    """Start, wait for a new checkpoint and a random while, SIGKILL; repeat. Returns the kills that hit a live run."""
    hits = 0
    out = scratch / "killed"
    for number in range(kills):
        before = saved_steps(out)
        process = subprocess.Popen(command(scratch, "killed", "--resume"), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and saved_steps(out)[-1:] == before[-1:]:
            time.sleep(POLL_SECONDS)
        seconds = checkpoint_seconds(out)
        if process.poll() is None:
            time.sleep(rng.random() * max(0.05, seconds))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hits += 1
            say(f"kill {number + 1} after step {saved_steps(out)[-1]}")
        process.wait()
        if (out / "result.json").is_file():
            break
    return hits


def checkpoint_seconds(out: Path) -> float:
    """Shortest time between two checkpoints so far, to spread the kills over it; a start lies in the longer ones."""
    times = sorted(p.stat().st_mtime for p in (out / "checkpoints").glob("step-*"))
    return min((after - before for before, after in itertools.pairwise(times)), default=0.5)


