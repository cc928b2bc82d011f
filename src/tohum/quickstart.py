"""The whole journey on the embedded corpus, each step one call: text -> tokenizer -> data -> model -> report."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tohum.data_sampling.prepare import PrepareConfig, prepare
from tohum.data_sampling.shards import DataFolder
from tohum.documents.source import open_sources
from tohum.errors import ConfigError
from tohum.files import refuse_existing
from tohum.machine import process_seconds
from tohum.pretraining.config import DataSection, PretrainRecipe, TrainingSection
from tohum.pretraining.corpus import statistics
from tohum.pretraining.run import Request, pretrain
from tohum.report.page import write_report
from tohum.tokenizing.training import train

CORPUS = "python-docs"
VOCAB_SIZE = 4096
PROMPTS = ("The function returns", "A list is", "import os\n")
SHORTEST_SECONDS = 30.0


def quickstart(*, budget_seconds: float, out: Path, seed: int, force: bool,
               say: Callable[[str], None]) -> dict[str, Any]:
    """Walk all stages inside the budget, which counts from the start of the process. Returns the `--json` object."""
    if budget_seconds < SHORTEST_SECONDS:
        raise ConfigError(f"--budget {budget_seconds:.0f}s: the journey needs at least {SHORTEST_SECONDS:.0f} s")
    refuse_existing(out, force)
    started = time.perf_counter()
    say(f"1 tokenizing: {VOCAB_SIZE:,} byte-level BPE entries from the documentation that Python carries")
    texts = (document.text for source in open_sources([CORPUS]) for document in source.documents())
    tokenizer = train(texts, kind="bpe", vocab_size=VOCAB_SIZE)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out / "tokenizer")
    say("2 data sampling: documents to token windows, a tenth of them kept for validation")
    prepared = prepare([CORPUS], tokenizer, out / "data", PrepareConfig())
    statistics(DataFolder.open(out / "data"))
    say(f"  {prepared['documents']:,} documents, {prepared['train_tokens']:,} training tokens")
    say("3-6 embeddings, attention, architecture, pre-training")
    training = TrainingSection(budget=budget_seconds, seed=seed, prompts=PROMPTS)
    recipe = PretrainRecipe(data=DataSection(folder=str((out / "data").absolute())), training=training)
    result = pretrain(Request(recipe=recipe, out=out / "run"))
    page = write_report(out / "run")
    return {"pretrain": result, "report": str(page), "seconds": round(time.perf_counter() - started, 1),
            "process_seconds": round(process_seconds(), 1), "tokenizer": str(out / "tokenizer"),
            "data": str(out / "data")}

