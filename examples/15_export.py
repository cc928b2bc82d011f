"""Stage 15, exporting: a model -> a GGUF file for llama.cpp and Ollama, and what the certificate says of it."""

import tempfile
from pathlib import Path

import torch

from tohum.exporting.export import export_model
from tohum.gguf import read_gguf
from tohum.loading.folder import save_model
from tohum.model.network import Network
from tohum.model.presets import from_depth
from tohum.tokenizing.training import train

torch.manual_seed(0)
words = train(["the seed waits under the snow, and the river rises " * 9], kind="bpe", vocab_size=280)
network = Network(from_depth(2, words.vocab_size, 128))

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    save_model(folder / "model", network.config, network.state_dict(), words)
    for dtype in ("fp32", "fp16", "q8_0"):
        done = export_model(folder / "model", to="gguf", out=folder / f"{dtype}.gguf", dtype=dtype)
        found, size = done.certificate, done.out.stat().st_size
        print(f"{dtype}: {size:,} bytes, scores within {found.max_logit_difference:.1g} "
              f"({found.allowed_difference:.1g} allowed), {found.greedy_agreement:.0%} of greedy tokens agree")
    head = read_gguf(folder / "q8_0.gguf")
    print("llama.cpp calls it", head.values["general.architecture"])
    print("and cuts text as", head.values["tokenizer.ggml.pre"])
    print((folder / "q8_0.Modelfile").read_text("utf-8"))
