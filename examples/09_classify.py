"""Stage 7.1, classification: labelled lines -> a classifier with its report, read at the last real token of a text."""

import sys
import tempfile
from pathlib import Path

import torch

from tohum.classification.config import ClassifyRecipe
from tohum.classification.predict import load_predictor
from tohum.classification.run import classify
from tohum.loading.folder import save_model
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import from_depth
from tohum.tokenizing.training import train
from tohum.training.run_folder import Request

WEATHER = ("snow", "rain", "wind", "hail", "frost", "fog")
GARDEN = ("seed", "root", "leaf", "tree", "rose", "moss")
SAID, TIMES = ("the {} came", "we saw the {}", "so much {}", "they liked the {}"), ("early", "in May", "again", "late")
rows = [f"{label},{said.format(word)} {time}" for label, known in (("weather", WEATHER), ("garden", GARDEN))
        for word in known for said in SAID for time in TIMES]
words = train(rows, kind="bpe", vocab_size=300)
network = Network(from_depth(1, words.vocab_size, 256))
initialise(network, torch.Generator().manual_seed(0))

with tempfile.TemporaryDirectory() as name:
    work = Path(name)
    (work / "lines.csv").write_text("label,text\n" + "\n".join(rows), "utf-8")
    save_model(work / "base", network.config, network.state_dict(), words)
    recipe = ClassifyRecipe.model_validate({
        "model": {"folder": str(work / "base")}, "data": {"file": str(work / "lines.csv")},
        "training": {"steps": 120, "eval_every": 60}, "optimizer": {"lr": 5e-3}, "lora": {"rank": 8}})
    result = classify(Request(recipe=recipe, out=work / "run"), lambda line: print(line, file=sys.stderr))
    print(f"accuracy {result['accuracy']:.0%}, always '{result['test']['majority_label']}' "
          f"{result['majority_baseline']:.0%}; temperature {result['test']['temperature']:.2f}")
    predictor = load_predictor(work / "run", device=torch.device("cpu"))
    for text in ("so much frost in May", "we saw the tree again"):
        print(f"{text}: {predictor.probabilities([text]).round(3).tolist()} of {', '.join(predictor.labels)}")
