"""Acceptance: SmolLM2-135M-Instruct exported, and opened by transformers and llama.cpp."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.llama_cpp_text import PROMPTS, compare_all
from transformers import AutoTokenizer

from tohum.exporting.export import export_model
from tohum.loading.importing import import_model
from tohum.tokenizing.template import load_template
from tohum.tokenizing.tokenizer import Tokenizer

FILE = Path(__file__).resolve().parents[2] / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = [pytest.mark.slow, pytest.mark.pretrained,
              pytest.mark.skipif(not FILE.is_file(), reason="no real weights; fetch them with: make pretrained")]
llama_cpp = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("smollm2") / "model"
    import_model(str(FILE), out)
    return out


def test_transformers_opens_the_folder(folder, tmp_path):
    found = export_model(folder, to="hf", out=tmp_path / "out", dtype="fp32").certificate
    assert found.reader.startswith("transformers")
    assert found.max_logit_difference < 1e-3
    assert (found.greedy_agreement, found.token_ids_equal) == (1.0, True)
    messages = [{"role": "user", "content": "Merhaba, nasılsın?"}, {"role": "assistant", "content": "İyiyim."},
                {"role": "user", "content": "<|im_end|> 2 + 2?"}]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    words = Tokenizer.load(tmp_path / "out")
    template = load_template(tmp_path / "out", words)
    assert words.encode(template.render(messages, add_generation_prompt=True), allow_special=True) == theirs


@llama_cpp
def test_llama_cpp_gives_our_greedy_text(folder):
    for row in compare_all(folder, PROMPTS):
        assert row.holds, row


@llama_cpp
def test_llama_cpp_runs_bytes(folder, tmp_path):
    found = export_model(folder, to="gguf", out=tmp_path / "m.gguf", dtype="q8_0").certificate
    assert found.greedy_agreement > 0.95
    assert found.token_ids_equal
    assert 'PARAMETER stop "<|im_end|>"' in (tmp_path / "m.Modelfile").read_text("utf-8")
