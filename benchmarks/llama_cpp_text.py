"""Greedy text of a model by us and by llama.cpp, on our own float32 GGUF export of it.

`python -m benchmarks.llama_cpp_text MODEL [PROMPT …]` exports the model, lets both continue each prompt by 64 tokens
(or to the end of the text), and shows where they first differ, and the distance of the two scores there: less than 0.01
is rounding.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.common import record

from tohum.exporting.export import export_model
from tohum.exporting.llama_cpp import LlamaCpp
from tohum.generation.choice import Choice
from tohum.generation.decode import generate
from tohum.loading.find import find_model
from tohum.loading.folder import LoadedModel, load_model

TOKENS, ROUNDING = 64, 0.01
PROMPTS = ("The capital of France is", "Once upon a time", "def add(a, b):\n", "Water boils when", "In 1969, the first")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One prompt."""

    prompt: str
    same_ids: bool  # of the prompt
    agreeing: int  # tokens before the first difference
    tokens: int
    gap: float | None  # between our two best scores where the texts part

    @property
    def holds(self) -> bool:
        """Equal, or parted by rounding."""
        return self.same_ids and (self.gap is None or self.gap < ROUNDING)


@torch.inference_mode()
def compare(model: LoadedModel, other: LlamaCpp, prompt: str) -> Compared:
    """Continue a prompt twice."""
    ids = model.tokenizer.prompt_ids(prompt)
    plain = model.tokenizer.encode(prompt)
    ours = [token for _, token in generate(model.network, [ids], choice=Choice(temperature=0), max_tokens=TOKENS,
                                           stop_ids=model.stop_ids)]
    theirs = other.greedy(ids, len(ours))
    if ours[-1] in model.stop_ids:  # it was forbidden to end, so that texts have a length
        whole = [*ids, *ours[:-1]]
        theirs[-1] = other.best(whole, [len(whole) - 1])[0]
    agreeing = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
    gap = None
    if agreeing < len(ours):
        scores = model.network.logits(torch.tensor([[*ids, *ours[:agreeing]]]))[0, -1]
        gap = abs(float(scores[ours[agreeing]] - scores[theirs[agreeing]]))
    return Compared(prompt=prompt, same_ids=other.token_ids(prompt) == plain, agreeing=agreeing, tokens=len(ours),
                    gap=gap)


def compare_all(folder: Path, prompts: Sequence[str]) -> list[Compared]:
    """All prompts on one export."""
    with tempfile.TemporaryDirectory() as name:
        export_model(folder, to="gguf", out=Path(name) / "m.gguf", dtype="fp32")
        model = load_model(folder)
        with LlamaCpp(Path(name) / "m.gguf") as other:
            return [compare(model, other, prompt) for prompt in prompts]


def main() -> None:
    """Print and record; leaves with 1 where a difference is more than rounding."""
    folder, _ = find_model(Path(sys.argv[1]))
    rows = compare_all(folder, sys.argv[2:] or PROMPTS)
    record(f"llama_cpp_text_{Path(sys.argv[1]).name}", {"rows": [vars(row) | {"holds": row.holds} for row in rows]})
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
