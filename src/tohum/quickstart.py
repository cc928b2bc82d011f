"""The whole journey on the embedded corpus: text -> tokenizer -> data -> model -> classifier, assistant -> reports."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tohum.classification.config import ClassifyRecipe
from tohum.classification.run import classify
from tohum.data_sampling.prepare import PrepareConfig, prepare
from tohum.data_sampling.shards import DataFolder
from tohum.documents.source import open_sources
from tohum.errors import ConfigError
from tohum.files import refuse_existing
from tohum.instruction.config import InstructRecipe
from tohum.instruction.run import instruct
from tohum.machine import process_seconds
from tohum.pretraining.config import DataSection, PretrainRecipe, TrainingSection
from tohum.pretraining.corpus import statistics
from tohum.pretraining.run import pretrain
from tohum.report.page import write_report
from tohum.tokenizing.training import train
from tohum.training.run_folder import Request

CORPUS = "python-docs"
VOCAB_SIZE = 4096
PROMPTS = ("The function returns", "A list is", "import os\n")
SHORTEST_SECONDS = 30.0
PRETRAIN_SHARE, CLASSIFY_SHARE, INSTRUCT_SHARE = 0.78, 0.1, 0.08  # of the budget; the rest is for tests and reports
RANK, LR = 16, 3e-3  # a model of a few million parameters takes, and needs, a higher rate than a large one
ANSWERS, ANSWER_TOKENS = 8, 48  # of the assistant's test: an answer of such a small model is to be looked at

Say = Callable[[str], None]


def quickstart(*, budget_seconds: float, out: Path, seed: int, force: bool, say: Say) -> dict[str, Any]:
    """Walk all stages inside the budget, which counts from the start of the process. Returns the `--json` object."""
    if budget_seconds < SHORTEST_SECONDS:
        raise ConfigError(f"--budget {budget_seconds:.0f}s: the journey needs at least {SHORTEST_SECONDS:.0f} s")
    refuse_existing(out, force)
    started = time.perf_counter()
    text_to_shards(out, say)
    say("3-6 embeddings, attention, architecture, pre-training")
    training = TrainingSection(budget=PRETRAIN_SHARE * budget_seconds, seed=seed, prompts=PROMPTS)
    recipe = PretrainRecipe(data=DataSection(folder=str((out / "data").absolute())), training=training)
    trained = pretrain(Request(recipe=recipe, out=out / "run"))
    pages = {"report": str(write_report(out / "run"))}
    tuning = Tuning(out=out, seed=seed, budget_seconds=budget_seconds, say=say)
    classifier, assistant = tuning.classifier(), tuning.assistant()
    pages |= {f"{name}_report": str(write_report(out / name)) for name in ("classifier", "assistant")}
    return {"pretrain": trained, "classify": classifier, "instruct": assistant} | pages | {
        "seconds": round(time.perf_counter() - started, 1), "process_seconds": round(process_seconds(), 1),
        "tokenizer": str(out / "tokenizer"), "data": str(out / "data")}


def text_to_shards(out: Path, say: Say) -> None:
    """Stages 1 and 2."""
    say(f"1 tokenizing: {VOCAB_SIZE:,} byte-level BPE entries from the documentation that Python carries")
    texts = (document.text for source in open_sources([CORPUS]) for document in source.documents())
    tokenizer = train(texts, kind="bpe", vocab_size=VOCAB_SIZE)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out / "tokenizer")
    say("2 data sampling: documents to token windows, a tenth of them kept for validation")
    prepared = prepare([CORPUS], tokenizer, out / "data", PrepareConfig())
    statistics(DataFolder.open(out / "data"))
    say(f"  {prepared['documents']:,} documents, {prepared['train_tokens']:,} training tokens")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Stage 7: two adapters on the model that was just trained."""

    out: Path
    seed: int
    budget_seconds: float
    say: Say

    def sections(self, share: float) -> dict[str, Any]:
        """What both recipes have: one pass over the examples, or as much of it as fits."""
        return {"model": {"folder": str((self.out / "run").absolute())}, "optimizer": {"lr": LR},
                "training": {"seed": self.seed, "epochs": 1, "budget": share * self.budget_seconds, "sample_every": 0},
                "lora": {"rank": RANK}}

    def classifier(self) -> dict[str, Any]:
        """From the opening of a docstring to the package that it documents."""
        self.say("7.0-7.1 LoRA and classification: which package does a docstring document?")
        recipe = ClassifyRecipe.model_validate(self.sections(CLASSIFY_SHARE) | {"data": {"file": CORPUS}})
        return classify(Request(recipe=recipe, out=self.out / "classifier"), self.say)

    def assistant(self) -> dict[str, Any]:
        """Questions about the library, and the docstrings' answers."""
        self.say("7.2 instructions: what does a function do?")
        data = {"file": CORPUS, "answers": ANSWERS, "answer_tokens": ANSWER_TOKENS, "fractions": (0.96, 0.02, 0.02)}
        recipe = InstructRecipe.model_validate(self.sections(INSTRUCT_SHARE) | {"data": data})
        return instruct(Request(recipe=recipe, out=self.out / "assistant"), self.say)
