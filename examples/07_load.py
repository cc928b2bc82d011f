"""Stage 7, loading: a network -> a Hugging Face folder -> the same network, bit for bit."""

import json
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

from tohum.errors import CheckpointError
from tohum.loading.folder import load_model, save_model
from tohum.model.network import Network
from tohum.model.presets import PRESETS

torch.manual_seed(0)
ids = torch.tensor([[3, 1, 4, 1, 5]])
for preset in ("tiny-gpt2", "tiny-qwen3", "tiny-gemma2"):
    config = PRESETS[preset]()
    network = Network(config).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder, config, network.state_dict(), None)
        stored = json.loads((folder / "config.json").read_text())["model_type"]
        same = torch.equal(load_model(folder).network.logits(ids), network.logits(ids))
        print(f"{preset}: stored as '{stored}', the same logits after loading: {same}")

        if preset == "tiny-gpt2":  # one stored tensor holds three of ours, transposed
            with safe_open(folder / "model.safetensors", framework="pt") as file:
                print("  c_attn.weight", file.get_slice("transformer.h.0.attn.c_attn.weight").get_shape())
            print("  query.weight ", list(network.blocks[0].attention.query.weight.shape))

        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
        try:
            load_model(folder)
        except CheckpointError as error:
            print("  half of the file:", str(error).replace(name, "DIR")[:70], "…")
