"""Tiny bases, tiny files and runs of a second, for all three stages of fine-tuning."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.finetuning.talking import CHATML, small_tokenizer
from tohum.classification.baseline import Baseline
from tohum.classification.config import ClassifyRecipe
from tohum.classification.run import classify
from tohum.config import resolve
from tohum.documents.document import Document
from tohum.finetuning.config import FinetuneRecipe
from tohum.instruction.config import InstructRecipe
from tohum.instruction.run import instruct
from tohum.loading.folder import save_model
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.preference.config import PreferRecipe
from tohum.preference.run import prefer
from tohum.seeding import generator
from tohum.training.journal import read_lines
from tohum.training.run_folder import Request

WORDS = ("seed", "river", "snow", "tree", "plant", "leaf", "rain", "wind", "root", "stone")
KINDS: dict[str, tuple[type[FinetuneRecipe], Callable[..., dict[str, Any]]]] = {
    "classify": (ClassifyRecipe, classify), "instruct": (InstructRecipe, instruct), "prefer": (PreferRecipe, prefer)}
COMMON = {"training.threads": 1, "training.dtype": "fp32", "training.steps": 5, "training.batch_rows": 4,
          "training.micro_tokens": 4096, "training.eval_every": 0, "training.save_every": 0,
          "training.sample_every": 0, "optimizer.lr": 0.01}
ASKING = {"data.answers": 1, "data.answer_tokens": 4, "data.fractions": (0.8, 0.1, 0.1)}
MOVING = ("seconds", "tokens_per_second")  # of a line of metrics: the clock
WEIGHTS = {"model": "model.safetensors", "adapter": "adapter_model.safetensors"}

# The general text of the card is a few sentences, answers on the way are short, no baseline stands beside a classifier.
SHORTCUTS: dict[str, Any] = {
    "tohum.finetuning.trials.CANARY_TOKENS": 4,
    "tohum.finetuning.trials.general_documents":
        lambda: [Document("The seed waits under the snow, and the river rises. " * 4, "general:1")],
    "tohum.classification.testing.tfidf_baseline": lambda *_: Baseline(note="left out")}


def llama_config(rows: int, *, tied: bool = True, context: int = 128) -> ModelConfig:
    """As Llama: grouped heads, rotary positions, SwiGLU."""
    attention = AttentionSpec(heads=4, kv_heads=2, head_width=8, rope_base=10_000.0)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    return ModelConfig(vocab_size=rows, width=32, context=context, layers=(layer,) * 2, tied=tied,
                       norm=NormSpec(kind="rms", eps=1e-6))


def gpt2_config(rows: int, *, dropout: float = 0.0) -> ModelConfig:
    """As GPT-2, the family whose files keep dropout, and which stores query, key and value as one."""
    attention = AttentionSpec(heads=4, kv_heads=4, head_width=8, bias=True, output_bias=True)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="gelu_tanh", width=64, bias=True))
    return ModelConfig(vocab_size=rows, width=32, context=128, layers=(layer,) * 2, dropout=dropout,
                       attention_dropout=dropout, learned_positions=True,
                       norm=NormSpec(kind="layer", eps=1e-5, bias=True))


def make_base(folder: Path, config: Callable[[int], ModelConfig] = llama_config, *, seed: int = 0,
              template: str | None = CHATML) -> Path:
    """A model folder whose every parameter says something; padding is the end of a turn, as people have it."""
    tokenizer = small_tokenizer("<|im_start|>", "<|im_end|>", eos="<|im_end|>")
    network = Network(config(tokenizer.vocab_size))
    source = generator(seed, "tiny")
    initialise(network, source)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=source))
    save_model(folder, network.config, network.state_dict(), tokenizer)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def words(number: int, count: int) -> str:
    return " ".join(WORDS[(number * 3 + k * k + k) % len(WORDS)] for k in range(count))


def write_labelled(path: Path, rows: int = 40) -> Path:
    """Two classes, one three times as frequent; texts of one to twelve words."""
    lines = [f"{number}. {words(number, 1 + number * 5 % 12)}\t{'rare' if number % 4 == 0 else 'usual'}"
             for number in range(rows)]
    path.write_text("text\tlabel\n" + "\n".join(lines) + "\n", "utf-8")
    return path


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def write_answers(path: Path, rows: int = 30) -> Path:
    """Questions of like length, answers of one to nine words; every third has two turns."""
    return write_rows(path, [{"messages": [
        {"role": "user", "content": f"Say {number}?"}, {"role": "assistant", "content": words(number, 1 + number % 9)},
        *([{"role": "user", "content": "More?"}, {"role": "assistant", "content": words(number + 1, 2)}]
          if number % 3 == 0 else [])]} for number in range(rows)])


def write_pairs(path: Path, rows: int = 30) -> Path:
    """Two answers to each question, of different lengths."""
    return write_rows(path, [{"prompt": f"Say {number}?", "chosen": words(number, 1 + number % 7),
                              "rejected": words(number + 5, 2 + number * 3 % 8)} for number in range(rows)])


def write_singles(path: Path, rows: int = 30, *, flipped: bool = False) -> Path:
    """Answers that are wanted, and a third that are not."""
    return write_rows(path, [{"prompt": f"Say {number}?", "completion": words(number, 1 + number % 7),
                              "label": (number % 3 != 0) is not flipped} for number in range(rows)])


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of run: a stage, the file it learns from, and what differs from the defaults of these tests."""

    kind: str
    data: str
    changes: dict[str, Any] = field(default_factory=dict)

    def recipe(self, base: Path, files: Path, **changes: Any) -> FinetuneRecipe:
        """Changes are written section__key=value."""
        flags = COMMON | ({} if self.kind == "classify" else ASKING) | self.changes
        flags |= {key.replace("__", "."): value for key, value in changes.items()}
        flags |= {"model.folder": str(base), "data.file": str(files / self.data)}
        return resolve(KINDS[self.kind][0], flags=flags)

    def fit(self, base: Path, files: Path, out: Path, *, resume: bool = False, force: bool = False,
            say: Callable[[str], None] = lambda _: None, **changes: Any) -> dict[str, Any]:
        """Train; returns the result."""
        request = Request(recipe=self.recipe(base, files, **changes), out=out, resume=resume, force=force)
        return KINDS[self.kind][1](request, say)


def write_files(folder: Path) -> Path:
    """A file for every case."""
    folder.mkdir(parents=True, exist_ok=True)
    write_labelled(folder / "labelled.tsv")
    write_answers(folder / "answers.jsonl")
    write_pairs(folder / "pairs.jsonl")
    write_singles(folder / "singles.jsonl")
    return folder


CASES = {
    "classify": Case(kind="classify", data="labelled.tsv"),
    "classify-all": Case(kind="classify", data="labelled.tsv", changes={"training.train": "all"}),
    "classify-last-block": Case(kind="classify", data="labelled.tsv", changes={"training.train": "last-block"}),
    "classify-head": Case(kind="classify", data="labelled.tsv", changes={"training.train": "head"}),
    "instruct": Case(kind="instruct", data="answers.jsonl"),
    "instruct-bytes": Case(kind="instruct", data="answers.jsonl", changes={"lora.base_format": "int8"}),
    "instruct-padded": Case(kind="instruct", data="answers.jsonl", changes={"data.packing": "padded"}),
    "instruct-all": Case(kind="instruct", data="answers.jsonl", changes={"training.train": "all"}),
    "dpo": Case(kind="prefer", data="pairs.jsonl", changes={"preference.method": "dpo"}),
    "orpo": Case(kind="prefer", data="pairs.jsonl", changes={"preference.method": "orpo"}),
    "simpo": Case(kind="prefer", data="pairs.jsonl", changes={"preference.method": "simpo"}),
    "kto": Case(kind="prefer", data="singles.jsonl", changes={"preference.method": "kto"}),
    "kto-pairs": Case(kind="prefer", data="pairs.jsonl", changes={"preference.method": "kto"}),
}


def step_lines(run: Path) -> list[dict[str, Any]]:
    """The steps of a run, without what the clock says."""
    return [line for line in metrics(run) if line["kind"] == "step"]


def metrics(run: Path) -> list[dict[str, Any]]:
    """All lines but for events, without what the clock says."""
    return [{key: value for key, value in line.items() if key not in MOVING}
            for line in read_lines(run / "metrics.jsonl") if line["kind"] != "event"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds."""
    found = [run / "last" / name for name in WEIGHTS.values() if (run / "last" / name).is_file()]
    return load_file(found[0])


def same_bits(one: Path, other: Path) -> bool:
    """The weights of two runs, and the state of their optimizers."""
    pairs = [(weights(one), weights(other)), tuple(
        load_file(run / "last" / "training" / "optimizer.safetensors") for run in (one, other))]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def largest_difference(one: Path, other: Path) -> float:
    """Between the weights of two runs."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)
