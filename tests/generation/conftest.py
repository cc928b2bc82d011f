"""Tiny networks are fastest on one thread, above all beside other tests."""


import pytest
import torch

from tohum.loading.folder import save_model
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network
from tohum.tokenizing.training import train

TEXT = "Küçük şişe çağlıyor 🌱, the seed grows. One, two, three!\n" * 4

@pytest.fixture(autouse=True)
def quick(one_thread: None) -> None:
    """Every test of this folder."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder with random weights."""
    tokenizer = train([TEXT], kind="bpe", vocab_size=270)
    attention = AttentionSpec(heads=2, kv_heads=1, head_width=16, rope_base=10_000.0, qk_norm=True)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    config = ModelConfig(vocab_size=tokenizer.vocab_size, width=32, context=24, layers=(layer, layer),
                         norm=NormSpec(kind="rms", eps=1e-6))
    torch.manual_seed(1)
    network = Network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("generate") / "model"
    save_model(folder, config, network.state_dict(), tokenizer)
    return folder
