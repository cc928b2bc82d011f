"""Text generation: whole characters, stop strings, ends, order of results."""

import pytest
import torch

from tohum.errors import ConfigError
from tohum.generation import text as text_module
from tohum.generation.choice import Choice
from tohum.generation.decode import generate
from tohum.generation.text import Continuation, Ends, Generated, generate_text
from tohum.loading.llama2c import read_llama2c
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

TEXT = "Küçük şişe ığdır'da çağlıyor 🌱🌲, the seed grows. One, two, three!\n\n" * 4
SAMPLED = Choice(temperature=1.0, top_k=100, seed=11)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train([TEXT], kind="bpe", vocab_size=270)


@pytest.fixture(scope="module")
def network(tokenizer) -> Network:
    attention = AttentionSpec(heads=2, kv_heads=1, head_width=8, rope_base=10_000.0, qk_norm=True)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    config = ModelConfig(vocab_size=tokenizer.vocab_size + 13, width=32, context=32, layers=(layer, layer),
                         norm=NormSpec(kind="rms", eps=1e-6))
    torch.manual_seed(1)
    network = Network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def fed(tokenizer: Tokenizer, ids: list[int], stops: list[str], prompt: str = "The") -> tuple[Generated, list[str]]:
    """A continuation that is given its ids by hand."""
    pieces: list[str] = []
    row = Continuation(0, tokenizer.prompt_ids(prompt), tokenizer, Ends(texts=stops), lambda _, piece: pieces.append(piece))
    for token in ids:
        if row.push(token):
            break
    return row.finish(), pieces


def test_text_streams_whole_characters_only(tokenizer):
    ids = tokenizer.encode("ığ 🌱🌲 日本 şç")
    result, pieces = fed(tokenizer, ids, [])
    assert len(ids) > len("ığ 🌱🌲 日本 şç"), "the test needs characters of several tokens"
    assert result.text == "".join(pieces) == "ığ 🌱🌲 日本 şç"
    assert not any("\ufffd" in piece for piece in pieces)
    assert result == Generated(text="ığ 🌱🌲 日本 şç", token_ids=ids, finish_reason="length",
                               prompt_tokens=len(tokenizer.prompt_ids("The")))


def test_text_shows_an_unfinished_character_only_at_the_very_end(tokenizer):
    ids = tokenizer.encode("ok 日")[:-1]
    result, pieces = fed(tokenizer, ids, [])
    assert "".join(pieces[:-1]) == "ok "
    assert result.text.startswith("ok ")
    assert set(result.text[3:]) == {"\ufffd"}


def test_text_ends_before_a_stop_string_that_crosses_tokens(tokenizer):
    ids = tokenizer.encode("one, two.\n\nthree")
    result, pieces = fed(tokenizer, ids, ["\n\nth", "zz"])
    assert result.text == "".join(pieces) == "one, two."
    assert result.finish_reason == "stop"
    assert tokenizer.decode(result.token_ids).startswith("one, two.\n\nth")
    assert len(result.token_ids) < len(ids)


def test_text_finds_a_stop_string_with_letters_of_several_bytes(tokenizer):
    result, pieces = fed(tokenizer, tokenizer.encode("bir ağaç 🌲 var"), ["ç 🌲"])
    assert result.text == "".join(pieces) == "bir ağa"


def test_text_ends_at_the_end_token_and_keeps_it_out(tokenizer):
    ids = tokenizer.encode("one")
    result, _ = fed(tokenizer, [*ids, tokenizer.eos_id, *ids], ["one two"])
    assert result.text == "one"  # held back until then, as it could have become "one two"
    assert result.token_ids == ids
    assert result.finish_reason == "stop"


def test_text_of_many_prompts_equals_each_alone(network, tokenizer, monkeypatch):
    prompts = ["", "the seed", "Küçük şişe ığdır'da çağlıyor, the seed grows and grows", "🌱"]

    def texts(wanted: list[str]) -> list[Generated]:
        return generate_text(network, tokenizer, wanted, choice=SAMPLED, max_tokens=40, ends=Ends(texts=["e"]))

    together = texts(prompts)
    assert len({result.text for result in together}) == 4
    for prompt, result in zip(prompts, together, strict=True):
        assert texts([prompt]) == [result]
        assert result.prompt_tokens == len(tokenizer.prompt_ids(prompt))
    monkeypatch.setattr(text_module, "ROWS_AT_ONCE", 3)
    assert texts(prompts) == together


def test_text_of_a_repeated_prompt_is_another_sample(network, tokenizer):
    def texts(wanted: list[str]) -> list[str]:
        return [result.text for result in generate_text(network, tokenizer, wanted, choice=SAMPLED, max_tokens=20)]

    first, second, third = texts(["the"] * 3)
    assert len({first, second, third}) == 3
    assert texts(["One", "the", "the"])[1:] == [first, second]


def test_text_equals_its_ids_and_its_stream(network, tokenizer):
    pieces: dict[int, str] = {}
    results = generate_text(network, tokenizer, ["the", "One"], choice=SAMPLED, max_tokens=30, ends=Ends(texts=["z", "\n"]),
                            on_text=lambda row, piece: pieces.update({row: pieces.get(row, "") + piece}))
    assert [pieces.get(row, "") for row in range(2)] == [result.text for result in results]
    for result in results:
        assert not {"z", "\n"} & set(result.text)
        assert all(token < tokenizer.vocab_size for token in result.token_ids)
        assert tokenizer.decode(result.token_ids).startswith(result.text.rstrip("\ufffd"))


def test_text_uses_the_same_ids_as_decoding(network, tokenizer):
    choice = Choice(temperature=0)
    ids = [token for _, token in generate(network, [tokenizer.prompt_ids("the")], choice=choice, max_tokens=12)]
    result = generate_text(network, tokenizer, ["the"], choice=choice, max_tokens=12)[0]
    if tokenizer.eos_id not in ids and max(ids) < tokenizer.vocab_size:
        assert result.token_ids == ids
    assert result.finish_reason == "length"


def test_text_of_a_published_model_continues_as_published(shared_data):
    config, weights = read_llama2c(shared_data / "models" / "stories260K.bin")
    story, tokenizer = Network(config), Tokenizer.load(shared_data / "models" / "stories260K_tok512.bin")
    story.load_state_dict(weights)
    story.eval()
    whole = generate_text(story, tokenizer, [""], choice=Choice(temperature=0), max_tokens=70)[0]
    assert whole.text.startswith("Once upon a time, there was a little girl named Lily. She loved to play outside "
                                 "in the park. One day, she saw a big, red ball. She wanted to play with it")
    assert whole.text == tokenizer.decode(whole.token_ids)
    rest = generate_text(story, tokenizer, ["Once upon a time, there was"], choice=Choice(temperature=0), max_tokens=12)
    assert rest[0].text.startswith(" a little girl named Lily.")  # the space belongs to the new text


def test_text_leaves_training_mode_and_global_randomness_alone(network, tokenizer):
    network.train()
    before = torch.get_rng_state()
    generate_text(network, tokenizer, ["the"], choice=SAMPLED, max_tokens=5)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)
    network.eval()


def test_text_refuses_an_empty_stop_string(network, tokenizer):
    with pytest.raises(ConfigError, match="stop string is empty"):
        generate_text(network, tokenizer, ["the"], choice=SAMPLED, max_tokens=5, ends=Ends(texts=[""]))
