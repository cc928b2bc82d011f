"""Acceptance: real weights. SmolLM2-135M-Instruct out of a GGUF file of 4-bit numbers."""

from pathlib import Path

import pytest

from tohum.generation.choice import Choice
from tohum.generation.text import generate_text
from tohum.loading.folder import load_model
from tohum.loading.importing import import_model
from tohum.tokenizing.tokenizer import Tokenizer

FILE = Path(__file__).resolve().parents[2] / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [pytest.mark.slow, pytest.mark.pretrained,
              pytest.mark.skipif(not FILE.is_file(), reason="no real weights; fetch them with: make pretrained")]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    out = tmp_path_factory.mktemp("smollm2") / "model"
    assert import_model(str(FILE), out).family == "llama"
    return load_model(out)


def test_the_capital_of_france_is_paris(smollm2):
    found = generate_text(smollm2.network, smollm2.tokenizer, ["The capital of France is"],
                          choice=Choice(temperature=0), max_tokens=8)
    assert found[0].text.startswith(" Paris")


def test_sizes_are_those_of_the_published_model(smollm2):
    config = smollm2.config
    attention = config.layers[0].attention
    assert (len(config.layers), config.width, config.vocab_size, config.tied) == (30, 576, 49152, True)
    assert (attention.heads, attention.kv_heads, attention.rope_base) == (9, 3, 100_000.0)


def test_its_tokenizer_spells_any_text_and_cuts_digits_one_by_one(smollm2):
    tokenizer = smollm2.tokenizer
    for text in ("In 2024, İstanbul'da ağaç dikildi.\n\n\tdef f(x):\r\n", "naïve 🌱 漢字  two  spaces", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [tokenizer.token_text(i) for i in tokenizer.encode("2024")] == ["2", "0", "2", "4"]
    assert tokenizer.special.eos == "<|im_end|>"
    assert "<|im_start|>" in Tokenizer.load(FILE).extra["chat_template"]


def test_greedy_text_does_not_depend_on_the_cache(smollm2):
    from tohum.generation.decode import generate

    prompt = smollm2.tokenizer.prompt_ids("A seed is")
    runs = [[token for _, token in generate(smollm2.network, [prompt], choice=Choice(temperature=0), max_tokens=24,
                                            cache=cache)] for cache in (True, False)]
    assert runs[0] == runs[1]
