"""Stage 6: plan and train a small model for some seconds on the text that Python carries, stop it, resume it."""

import tempfile
from pathlib import Path

from tohum.data_sampling.prepare import PrepareConfig, prepare
from tohum.documents.source import open_sources
from tohum.pretraining.config import DataSection, PretrainRecipe, TrainingSection
from tohum.pretraining.run import Request, pretrain
from tohum.tokenizing.training import train
from tohum.training.journal import read_lines

with tempfile.TemporaryDirectory() as folder:
    work = Path(folder)
    texts = (document.text for source in open_sources(["python-docs"]) for document in source.documents())
    tokenizer = train(texts, kind="bpe", vocab_size=1024)
    prepare(["python-docs"], tokenizer, work / "data", PrepareConfig())

    training = TrainingSection(steps=60, batch_tokens=2048, save_every=20, eval_every=20, prompts=("The function",))
    recipe = PretrainRecipe(model={"depth": 1}, data=DataSection(folder=str(work / "data")), training=training)
    result = pretrain(Request(recipe=recipe, out=work / "run"))
    print(f"{result['steps']} steps, {result['tokens']:,} tokens: {result['val_bits_per_byte']:.3f} bits per byte")

    # Losing the result and the last checkpoint loses 20 steps of work, and not one bit of the outcome.
    (work / "run" / "result.json").unlink()
    for path in sorted((work / "run" / "checkpoints" / "step-00000060").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (work / "run" / "checkpoints" / "step-00000060").rmdir()
    again = pretrain(Request(recipe=recipe, out=work / "run", resume=True))
    assert again["model_sha256"] == result["model_sha256"]
    print("resumed from step 40: the same weights,", again["model_sha256"][:16])
    print(read_lines(work / "run" / "samples.jsonl")[-1]["text"][:200])
