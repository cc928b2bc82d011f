"""tohum.load: three lines to generate and to score."""

import pytest
import torch

import tohum
from tohum.errors import CheckpointError, ConfigError
from tohum.finetuning.adapter_folder import AdapterFiles, Base
from tohum.generation.text import generate_text
from tohum.handle import Choice
from tohum.loading.folder import load_model
from tohum.lora.adapter import add_lora, lora_layers
from tohum.lora.config import LoraConfig

from .exporting.conftest import make_folder
from .exporting.conftest import words as words_fixture

words = words_fixture


@pytest.fixture(scope="module")
def model(tmp_path_factory, words):
    return tohum.load(make_folder(tmp_path_factory.mktemp("m") / "m", words, words.vocab_size))


def test_generate_gives_the_text_that_the_command_gives(model):
    loaded = model.loaded
    expected = generate_text(loaded.network, loaded.tokenizer, ["the seed"], choice=Choice(temperature=0), max_tokens=12)
    assert model.generate("the seed", temperature=0, max_tokens=12) == expected[0].text
    assert model.generate(["the seed", "a river"], temperature=0, max_tokens=3)[0] == expected[0].text[
        : len(model.generate("the seed", temperature=0, max_tokens=3))]
    with pytest.raises(ConfigError, match="temprature"):
        model.generate("the seed", temprature=0)


def test_logprobs_are_those_of_the_definition(model):
    found = model.logprobs("the seed waits")
    ids = model.loaded.tokenizer.prompt_ids("the seed waits")
    assert found.token_ids == ids[1:]
    assert "".join(found.texts) == "the seed waits"[len(model.loaded.tokenizer.decode(ids[:1])):]
    for place, (token, value) in enumerate(zip(found.token_ids, found.logprobs, strict=True), start=1):
        with torch.no_grad():  # one token at a time, from the text before it alone
            scores = model.loaded.network.logits(torch.tensor([ids[:place]]))[0, -1].double()
        assert value == pytest.approx(float(scores.log_softmax(-1)[token]), abs=1e-4)
    with pytest.raises(ConfigError, match="two or more"):
        model.logprobs("t")


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        tohum.load(tmp_path / "nothing")


@pytest.fixture(scope="module")
def tuned(model, tmp_path_factory):
    """Two adapters on the model's folder, in files."""
    folders = {}
    for number, name in enumerate(("first", "second")):
        network = load_model(model.loaded.folder).network
        add_lora(network, LoraConfig(rank=2), torch.Generator().manual_seed(number))
        for layer in lora_layers(network).values():
            layer.lora_b.data.normal_(generator=torch.Generator().manual_seed(number + 5)).mul_(0.5)
        folders[name] = tmp_path_factory.mktemp("a") / name
        folders[name].mkdir()
        AdapterFiles(base=Base.of(model.loaded.folder), lora=LoraConfig(rank=2),
                     tokenizer=model.loaded.tokenizer).save(folders[name], network)
    return folders


def test_adapters_are_switched_by_name_and_give_what_each_gives_alone(model, tuned):
    plain = model.logprobs("the seed waits").logprobs
    several = tohum.load(model.loaded.folder, adapters=tuned)
    assert several.logprobs("the seed waits").logprobs == plain
    for name, folder in tuned.items():
        several.use(name)
        found = several.logprobs("the seed waits").logprobs
        assert found != plain
        assert found == pytest.approx(tohum.load(folder).logprobs("the seed waits").logprobs, abs=1e-4)
    several.use(None)
    assert several.logprobs("the seed waits").logprobs == plain
    with pytest.raises(ConfigError, match="no adapter 'third'; there are first, second"):
        several.use("third")


def test_an_adapter_of_other_weights_is_refused(tuned, words, tmp_path):
    other = make_folder(tmp_path / "other", words, words.vocab_size + 1)
    with pytest.raises(CheckpointError, match="was trained on weights"):
        tohum.load(other, adapters=tuned)
