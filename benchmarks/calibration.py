"""Runs that the predictor is fitted on: corpora that no reported table uses, several amounts of arithmetic.

`python -m benchmarks.calibration 3e12 4e13` adds runs of that many floating-point operations, each of the shape that
`--budget` would choose, to benchmarks/results/calibration.json (two at a time, one thread each: bits per byte do not
depend on the time a run takes); `python -m benchmarks.fit_predictor` then prints src/tohum/pretraining/constants.py.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, RESULTS, WORK, prepared, record, tohum

from tohum.data_sampling.shards import DataFolder
from tohum.model.counting import flops_per_token
from tohum.pretraining.config import PretrainRecipe
from tohum.pretraining.forecast import FRACTIONS, standing_at
from tohum.pretraining.plan import choose
from tohum.pretraining.resolve import resolve
from tohum.training.journal import read_lines

EN, TR = DATA / "text_en", DATA / "text_tr"
CORPORA: dict[str, tuple[list[str], str, int | None]] = {
    "wikitext": ([str(EN / "wikitext-2-raw.valid.txt")], "bpe", 4096),
    "wikitext-characters": ([str(EN / "wikitext-2-raw.valid.txt")], "char", None),
    "wiki-demo": ([str(EN / "wiki_demo.txt")], "bpe", 4096),
    "web": ([str(EN / "c4_demo.jsonl")], "bpe", 4096),
    "python-source": (["python-source"], "bpe", 4096),
    "libreoffice-tr": ([str(TR / "libreoffice_help_tr.txt")], "bpe", 4096),
    "python-docs-tr": ([str(TR / "python_docs_tr.txt")], "bpe", 4096),
    "taylorswift-characters": ([str(EN / "taylorswift.txt")], "char", None),
    "wiki-demo-characters": ([str(EN / "wiki_demo.txt")], "char", None),
    "web-characters": ([str(EN / "c4_demo.jsonl")], "char", None),
    "libreoffice-tr-characters": ([str(TR / "libreoffice_help_tr.txt")], "char", None),
    "python-docs-tr-characters": ([str(TR / "python_docs_tr.txt")], "char", None),
    "python-source-1k": (["python-source"], "bpe", 1024),
    "treebank-tr": ([str(TR / "twt_wiki_sentences.txt"), str(TR / "twt_web_sentences.txt")], "bpe", 2048),
}


def main() -> None:
    """Measure the given amounts of arithmetic on the named corpora (all unless told)."""
    amounts = [float(a) for a in sys.argv[1:] if a not in CORPORA]
    corpora = [a for a in sys.argv[1:] if a in CORPORA] or list(CORPORA)
    path = RESULTS / "calibration.json"
    rows = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []
    for name in corpora:
        data_of(name)  # before two processes want to make it
    with ThreadPoolExecutor(2) as pool:
        for row in pool.map(lambda job: measure(*job), [(name, amount) for amount in amounts for name in corpora]):
            rows = [old for old in rows if (old["corpus"], old["flops"]) != (row["corpus"], row["flops"])] + [row]
            print(row, flush=True)
            record("calibration", {"rows": rows})


def data_of(name: str) -> Path:
    """The corpus' data folder."""
    sources, kind, size = CORPORA[name]
    return prepared(name, sources, kind=kind, vocab_size=size)


def measure(name: str, flops: float) -> dict[str, Any]:
    """One run, as a row."""
    data, run = data_of(name), WORK / f"calibration-{name}-{flops:g}"
    folder = DataFolder.open(data)
    recipe, config = resolve(choose(PretrainRecipe(), folder, flops), folder)
    batch_tokens = recipe.training.batch_tokens
    steps = max(1, round(flops / (flops_per_token(config, config.context) * batch_tokens)))
    result = tohum("pretrain", "--data", data, "--depth", recipe.model.depth, "--steps", steps, "--set",
                   f"training.batch_tokens={batch_tokens}", "--set", "training.threads=1", "--out", run, "--force")
    return {"corpus": name, "flops": flops, "depth": recipe.model.depth} | observed(run, data, result)


def observed(run: Path, data: Path, result: dict[str, Any]) -> dict[str, Any]:
    """What the fit needs of one run."""
    index = json.loads((data / "index.json").read_text("utf-8"))
    train = [source["train"] for source in index["sources"]]
    per_token = sum(part["text_bytes"] for part in train) / sum(part["tokens"] for part in train)
    lines = read_lines(run / "metrics.jsonl")
    return {"bits_per_byte": result["val_bits_per_byte"], "parameters": result["parameters"],
            "steps": result["steps"], "tokens": result["tokens"],
            "size": {"parameters": result["parameters"],
                     "bytes_seen": result["tokens"] * per_token,
                     "bytes_unique": sum(part["text_bytes"] for part in train)},
            "statistics": json.loads((data / "statistics.json").read_text("utf-8")),
            "standing": {str(f): standing_at(f, result["steps"], lines) for f in FRACTIONS}}


if __name__ == "__main__":
    main()
