"""Stage 7.2, instructions: questions with answers -> what is learned of them, some steps, an answer that ends."""

import json
import tempfile
from pathlib import Path

import torch

from tohum.cli.chat import find_template, reply
from tohum.generation.choice import Choice
from tohum.handle import load_at
from tohum.instruction.config import InstructRecipe
from tohum.instruction.run import instruct
from tohum.loading.folder import save_model
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import from_depth
from tohum.tokenizing.training import train
from tohum.training.run_folder import Request

COLOURS = {"snow": "white", "a leaf": "green", "coal": "black", "a poppy": "red", "the sky": "blue", "gold": "yellow"}
rows = [{"instruction": f"Colour of {thing}?", "output": f"It is {colour}."} for thing, colour in COLOURS.items()]
words = train([json.dumps(row) for row in rows] * 9, kind="bpe", vocab_size=300)
network = Network(from_depth(1, words.vocab_size, 256))
initialise(network, torch.Generator().manual_seed(0))

with tempfile.TemporaryDirectory() as name:
    work = Path(name)
    (work / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    save_model(work / "base", network.config, network.state_dict(), words)
    recipe = InstructRecipe.model_validate({
        "model": {"folder": str(work / "base")}, "training": {"steps": 60, "train": "all"}, "optimizer": {"lr": 1e-2},
        "data": {"file": str(work / "rows.jsonl"), "answer_tokens": 16, "fractions": (0.7, 0, 0.3)}})
    result = instruct(Request(recipe=recipe, out=work / "run"), print)
    print(f"loss {result['train_loss']:.3f}; {result['test']['ended_fraction']:.0%} of the answers end by themselves")
    model = load_at(work / "run", "cpu", "fp32")
    reply(model, find_template(model, None), [{"role": "user", "content": "Colour of snow?"}],
          Choice(temperature=0), 16)
