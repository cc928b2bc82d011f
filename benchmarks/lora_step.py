"""One fine-tuning step on SmolLM2-135M against transformers + peft: `python -m benchmarks.lora_step [lora|full]`.

Four rows of 256 tokens, every token a target; LoRA of rank 16 on all linears, and a full step with float32 AdamW. Each
side runs in processes of its own, in alternation; the median of the rounds counts. The peer's formats are all asked in
the first round, those that came near the fastest in the others. Formats that this processor has no arithmetic for
(bf16 without AVX-512 BF16 or AMX) are left out and named. The row that is not named stays as it is.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, WORK, record, tohum
from benchmarks.rows import merged, row

from tohum.machine import has_bf16_arithmetic

GGUF = ROOT / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS = 4  # the first is not counted
NEAR = 4 / 3  # a format that is slower by more in the first round is not the fastest
KINDS = {"lora": ("bf16", "autocast", "fp32"), "full": ("autocast", "fp32")}
NAMES = {"lora": "LoRA step, rank 16 on all linears", "full": "full step"}
GOALS, MEMORY_GOALS = {"lora": 1.5, "full": 1.3}, {"lora": 0.5, "full": 0.85}

COMMON = """
import resource, sys, time, torch
def measured(step, tokens):
    times = []
    for _ in range({steps}):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    times = sorted(times[1:])
    import json
    print(json.dumps({{"tokens_per_second": tokens / times[len(times) // 2],
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}}))
ids = torch.randint(0, 49152, (4, 257), generator=torch.Generator().manual_seed(1))
folder, kind, what = sys.argv[1:4]
"""
OURS = COMMON + """
from pathlib import Path
from tohum.kernels.memory import tune_memory
tune_memory()
from tohum.data_sampling.batch import Batch
from tohum.loading.folder import load_model
from tohum.lora.adapter import add_lora
from tohum.lora.config import LoraConfig
from tohum.training.objective import Precision, language_objective
from tohum.training.optimizer import Optimizer, OptimizerConfig
network = load_model(Path(folder)).network
if what == "lora":
    add_lora(network, LoraConfig(rank=16), torch.Generator().manual_seed(0))
network.train()
optimizer = Optimizer(network, OptimizerConfig(kind="adamw", lr=1e-5))
precision = Precision(dtype=torch.float32 if kind == "fp32" else torch.bfloat16, device=torch.device("cpu"))
objective = language_objective(network, precision)
batch = Batch(inputs=ids[:, :-1], targets=ids[:, 1:].contiguous())
def step():
    (objective(batch) / 1024).backward()
    torch.nn.utils.clip_grad_norm_([p for p in network.parameters() if p.grad is not None], 1.0)
    optimizer.step(1.0)
measured(step, 1024)
"""
THEIRS = COMMON + """
import contextlib, warnings
warnings.filterwarnings("ignore")
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
if what == "lora":
    from peft import LoraConfig, get_peft_model
    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=linears, task_type="CAUSAL_LM"))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
rows = ids[:, :-1].contiguous()
def step():
    with torch.autocast("cpu", dtype=torch.bfloat16) if kind == "autocast" else contextlib.nullcontext():
        loss = model(input_ids=rows, labels=rows).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
measured(step, 1024)
"""


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[[], *KINDS], metavar="lora|full", help="both without")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    base = WORK / "smollm2"
    if not base.is_dir():
        tohum("import", GGUF, "--out", base)
    narrow = has_bf16_arithmetic()
    mine = "bf16" if narrow else "fp32"
    rows = []
    for what in options.parts or KINDS:
        found: dict[str, list[dict[str, Any]]] = {"ours": []} | {
            kind: [] for kind in KINDS[what] if narrow or kind == "fp32"}
        for _ in range(options.rounds):
            found["ours"].append(run(OURS, base, mine, what))
            for kind in asked(found):
                found[kind].append(run(THEIRS, base, kind, what))
        rows.append(compared(what, found, mine))
    record("lora_step", {"rows": merged("lora_step", rows),
                         "left_out": [] if narrow else ["bf16, autocast: no bf16 arithmetic here"]})


def asked(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Formats of the peer for the next round: all, then those that may be the fastest."""
    theirs = {kind: runs[0]["tokens_per_second"] for kind, runs in found.items() if kind != "ours" and runs}
    if not theirs:
        return [kind for kind in found if kind != "ours"]
    return [kind for kind, rate in theirs.items() if rate * NEAR >= max(theirs.values())]


def compared(what: str, found: dict[str, list[dict[str, Any]]], ours_format: str) -> dict[str, Any]:
    """Medians, beside their best."""
    rows = {name: {key: median(entry[key] for entry in entries) for key in entries[0]}
            for name, entries in found.items()}
    ours, theirs = rows.pop("ours"), rows
    rounds = len(found["ours"])  # of a format that is too slow there is one alone
    best = max((kind for kind in theirs if len(found[kind]) == rounds),
               key=lambda kind: theirs[kind]["tokens_per_second"])
    memory = min(kind["peak_memory_bytes"] for kind in theirs.values())
    return row(f"{NAMES[what]}, SmolLM2-135M, 4 x 256 tokens", part=what, unit="tokens/s",
               ours=ours["tokens_per_second"], peer=theirs[best]["tokens_per_second"],
               peer_name=f"transformers + peft {best}", goal=GOALS[what],
               memory=ours["peak_memory_bytes"], peer_memory=memory, packages=("transformers", "peft"),
               memory_ratio=ours["peak_memory_bytes"] / memory, memory_goal=MEMORY_GOALS[what],
               format=ours_format, theirs=theirs)


def run(code: str, base: Path, kind: str, what: str) -> dict[str, Any]:
    """One process."""
    command = [sys.executable, "-c", code.replace("{steps}", str(STEPS)).replace("{{", "{").replace("}}", "}"),
               str(base), kind, what]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
