"""Candidates for the defaults of short runs: `python -m benchmarks.tuning screen|confirm [CANDIDATE ...]`, two rounds.

    screen     60 s on 2 corpora, seeds 1 and 2                        4 minutes a candidate, 15 an hour
    confirm    1, 3 and 10 minutes on 3 corpora, seeds 1, 2 and 3      126 minutes a candidate

Corpora that no reported table uses. A candidate survives the first round if it is better than the defaults on every
corpus by more than its seeds are apart; only what survives the second one changes a default, and docs/log.md says what
did not. `--corpora` and `--budgets` leave out what a candidate cannot change. Runs are kept in
benchmarks/results/tuning.json and are not repeated while the defaults for their text and budget are what they were.
"""

import argparse
import json
import tomllib
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.calibration import data_of
from benchmarks.common import RESULTS, WORK, record, shown, tohum

from tohum.data_sampling.shards import DataFolder
from tohum.machine import has_bf16_arithmetic
from tohum.model.counting import flops_per_token
from tohum.pretraining.config import PretrainRecipe
from tohum.pretraining.plan import choose
from tohum.pretraining.resolve import resolve
from tohum.units import parse_seconds

DEFAULTS = "defaults"
CANDIDATES: dict[str, dict[str, object]] = {
    DEFAULTS: {},
    "batch 1024": {"training.batch_tokens": 1024},
    "batch 4096": {"training.batch_tokens": 4096},
    "windows 128": {"data.max_length": 128},
    "windows 512": {"data.max_length": 512},
    "depth 2": {"model.depth": 2},
    "depth 3": {"model.depth": 3},
    "depth 4": {"model.depth": 4},
    "depth 5": {"model.depth": 5},
    "muon 0.015": {"optimizer.lr": 0.015},
    "muon 0.02": {"optimizer.lr": 0.02},
    "muon 0.03": {"optimizer.lr": 0.03},
    "embeddings 0.006": {"optimizer.embedding_lr": 0.006},
    "embeddings 0.03": {"optimizer.embedding_lr": 0.03},
    "weight decay 0.3": {"optimizer.weight_decay": 0.3},
    "adamw": {"optimizer.kind": "adamw"},
}
FORMAT = "bf16" if has_bf16_arithmetic() else "fp32"  # a machine without bf16 arithmetic makes a third of the steps
NOMINAL_FLOPS_PER_SECOND = 3e11  # for which the defaults are written down
ROUNDS = {"screen": (("60s",), ("wikitext-characters", "libreoffice-tr"), (1, 2)),
          "confirm": (("1m", "3m", "10m"), ("wikitext-characters", "libreoffice-tr", "web"), (1, 2, 3))}


def main() -> None:
    """Measure what is asked and not there, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("round", choices=ROUNDS)
    parser.add_argument("candidates", nargs="*", default=list(CANDIDATES), metavar="CANDIDATE",
                        help=f"all unless told: {', '.join(CANDIDATES)}")
    parser.add_argument("--corpora", nargs="*", help="those of the round unless told")
    parser.add_argument("--budgets", nargs="*", help="those of the round unless told")
    options = parser.parse_args()
    if unknown := set(options.candidates) - set(CANDIDATES):
        parser.error(f"no candidate {', '.join(unknown)}; there are {', '.join(CANDIDATES)}")
    budgets, corpora, seeds = ROUNDS[options.round]
    budgets, corpora = tuple(options.budgets or budgets), tuple(options.corpora or corpora)
    for corpus in corpora:
        data_of(corpus)
    for run in product(dict.fromkeys([DEFAULTS, *options.candidates]), budgets, corpora, seeds):
        measured(*run)
    for budget in budgets:
        print(table(budget, corpora, runs()))


def runs() -> list[dict[str, Any]]:
    """Those that were made."""
    path = RESULTS / "tuning.json"
    return json.loads(path.read_text("utf-8"))["runs"] if path.is_file() else []


def measured(candidate: str, budget: str, corpus: str, seed: int) -> None:
    """One run, unless it is there."""
    key = {"candidate": candidate, "budget": budget, "corpus": corpus, "seed": seed, "dtype": FORMAT,
           "defaults": defaults_of(corpus, budget)}
    done = runs()
    if any(key.items() <= run.items() for run in done):
        return
    given = [part for name, value in CANDIDATES[candidate].items() for part in ("--set", f"{name}={value}")]
    out = WORK / "tuning"
    found = tohum("pretrain", "--data", data_of(corpus), "--budget", budget, "--seed", seed, *given, "--out", out,
                  "--force")
    kept = tomllib.loads((out / "config.toml").read_text("utf-8"))
    record("tuning", {"runs": [*done, key | shown(found, "val_bits_per_byte", "parameters", "steps", "tokens") | {
        "depth": kept["model"]["depth"]}]})


@cache
def defaults_of(corpus: str, budget: str) -> str:
    """What a run without candidate does, on a machine of nominal speed: runs of other defaults are no comparison."""
    data = DataFolder.open(Path(data_of(corpus)))
    flops = parse_seconds(budget) * NOMINAL_FLOPS_PER_SECOND
    chosen = choose(PretrainRecipe(), data, flops)
    resolved, config = resolve(chosen, data)
    tokens = flops / flops_per_token(config, resolved.data.max_length)
    steps = int(tokens / resolved.training.batch_tokens)
    resolved, _ = resolve(chosen.replace(training=chosen.training.replace(steps=steps).model_dump()), data)
    o = resolved.optimizer
    return (f"depth {resolved.model.depth}, {steps} steps of {resolved.training.batch_tokens} tokens in windows of "
            f"{resolved.data.max_length}, {o.kind} {o.lr:.4f}, embeddings {o.embedding_lr:.4f}, weight decay "
            f"{o.weight_decay}, momentum {o.momentum}, dropout {resolved.model.dropout}")


def table(budget: str, corpora: tuple[str, ...], done: list[dict[str, Any]]) -> str:
    """Markdown: the mean over the seeds, the distance between them, and steps."""
    lines = [f"| {budget} | " + " | ".join(corpora) + " |", "|---" * (len(corpora) + 1) + "|"]
    for candidate in CANDIDATES:
        cells = []
        for corpus in corpora:
            wanted = {"candidate": candidate, "budget": budget, "corpus": corpus, "dtype": FORMAT,
                      "defaults": defaults_of(corpus, budget)}
            here = [run for run in done if wanted.items() <= run.items()]
            values, depths = [run["val_bits_per_byte"] for run in here], sorted({run["depth"] for run in here})
            cells.append(f"{mean(values):.3f} (± {(max(values) - min(values)) / 2:.3f}; depth "
                         f"{' or '.join(map(str, depths))}, {mean(run['steps'] for run in here):,.0f} steps)"
                         if here else "")
        if any(cells):
            lines.append(f"| {candidate} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
