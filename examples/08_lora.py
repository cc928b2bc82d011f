"""Stage 7.0, LoRA: the base stays frozen, two small matrices learn, the adapter is saved, merging changes no score."""

import tempfile
from pathlib import Path

import torch

from tohum.finetuning.adapter_folder import AdapterFiles, Base, load_adapted
from tohum.loading.folder import save_model
from tohum.lora.adapter import adapters_off, add_lora
from tohum.lora.config import LoraConfig
from tohum.lora.merge import merge
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import from_depth
from tohum.tokenizing.training import train

texts = ["the river rises and the snow melts", "the snow rises and the river melts"]
words, lora = train(texts * 9, kind="bpe", vocab_size=270), LoraConfig(rank=8)
first, second = (torch.tensor([words.encode(text)]) for text in texts)
network = Network(from_depth(1, words.vocab_size, 128))
initialise(network, torch.Generator().manual_seed(0))
with tempfile.TemporaryDirectory() as name:
    for ids, rate in ((first, 3e-3), (second, 1e-2)):  # the base learns the first text, its adapter the second
        if ids is second:
            save_model(Path(name) / "base", network.config, network.state_dict(), words)
            base = network.logits(second).detach()
            add_lora(network, lora, torch.Generator().manual_seed(0))
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=rate)
        for _ in range(150):
            optimizer.zero_grad()
            (loss := torch.nn.functional.cross_entropy(network.logits(ids)[0, :-1], ids[0, 1:])).backward()
            optimizer.step()
        print(f"{sum(p.numel() for p in trained):,} parameters trained: loss {loss.item():.3f}")
    with adapters_off(network):
        print("adapters off, the base is as it was:", torch.equal(network.logits(second), base))
    AdapterFiles(base=Base.of(Path(name) / "base"), lora=lora, tokenizer=words).save(Path(name), network)
    again, tuned = load_adapted(Path(name))[0].network, network.logits(second)
    print(f"{merge(again).layers} layers merged: scores differ by {(again.logits(second) - tuned).abs().max():.1g}")
