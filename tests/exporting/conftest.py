"""A tiny model with a tokenizer of its own, as a model folder."""

from pathlib import Path

import pytest
import torch

from tohum.loading.folder import save_model
from tohum.model.network import Network
from tohum.model.presets import from_depth
from tohum.tokenizing.gguf_fields import SAMPLE
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

CHATML = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
          "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    """Byte-level BPE with the pattern of Qwen2."""
    return train([SAMPLE, "the seed waits under the snow and the river rises " * 20], kind="bpe", vocab_size=400)


def make_folder(folder: Path, words: Tokenizer | None, rows: int, *, dtype: torch.dtype = torch.float32) -> Path:
    """Two layers whose every parameter was moved away from its initial value."""
    torch.manual_seed(0)
    network = Network(from_depth(2, rows, 256))
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    save_model(folder, network.config, network.state_dict(), words, dtype=dtype)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, words: Tokenizer) -> Path:
    """The table has three rows more than the tokenizer has entries."""
    made = make_folder(tmp_path_factory.mktemp("model") / "m", words, words.vocab_size + 3)
    (made / "chat_template.jinja").write_text(CHATML, "utf-8")
    return made
