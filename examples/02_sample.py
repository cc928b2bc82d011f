"""Text becomes (inputs, targets): shards on disk, windows, isolated packing, and an order that is computed."""

import json
import tempfile
from pathlib import Path

import numpy as np

from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.loader import TrainBatches
from tohum.data_sampling.order import Permutation
from tohum.data_sampling.prepare import prepare
from tohum.data_sampling.shards import DataFolder
from tohum.tokenizing.training import train

tales = ["Bir varmış, bir yokmuş.", "Develer tellal iken, pireler berber iken.", "Az gittim, uz gittim."] * 30
rhymes = [f"{n} portakal, {n} yaprak, sepette {n} fındık." for n in range(40)]
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "tales.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in tales))
    (folder / "rhymes.txt").write_text("\n".join(rhymes), "utf-8")
    specs = [str(folder / "tales.jsonl"), str(folder / "rhymes.txt")]
    settings = PrepareConfig(split="line", weights={"tales": 1, "rhymes": 2})
    prepare(specs, train(tales + rhymes, kind="char", vocab_size=None), folder / "data", settings)

    data = DataFolder.open(folder / "data")
    for source in data.sources:
        print(f"{source.name}: share {source.share}/{data.index.period}, {source.documents} documents by "
              f"{source.split_by}, {source.train.tokens} + {source.val.tokens} tokens")

    # A step is a pure function of its number: nothing is shuffled, nothing has to be remembered.
    for packing in ("concatenated", "isolated"):
        batches = TrainBatches(data, max_length=48, packing=packing, seed=1, rows_per_step=2, micro_batch=2)
        (batch,) = batches.step(1000)
        print(f"{packing}, step 1000 in epoch {batches.epoch(1000):.1f}:",
              repr(data.tokenizer.decode(batch.inputs[0].tolist())))
    print("documents of that row:", "".join("·" if n < 0 else str(n) for n in batch.documents[0].tolist()))

print("ten windows in two epochs:", *(Permutation(10, f"seed 1, epoch {n}").at(np.arange(10)) for n in (0, 1)))
