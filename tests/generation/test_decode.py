"""Decoding: ragged rows, cache, context limit, seeds, modes."""

import pytest
import torch

from tohum.errors import ConfigError
from tohum.generation.choice import Choice
from tohum.generation.decode import Decoder, generate
from tohum.generation.mode import evaluating
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network

VOCAB, CONTEXT = 61, 16
GREEDY = Choice(temperature=0)
SAMPLED = Choice(temperature=1.0, top_k=20, top_p=0.95, repetition_penalty=1.1, seed=3)


def build(kind: str) -> Network:
    """A tiny network whose output changes with every token it reads."""
    rotary = {"rope_base": 10_000.0, "qk_norm": True} if kind != "learned" else {"bias": True}
    attention = AttentionSpec(heads=2, kv_heads=1, head_width=8, **rotary)
    hidden = FeedForwardSpec(kind="swiglu", width=48)
    first = attention.replace(window=5) if kind == "window" else attention
    layers = tuple(LayerSpec(attention=spec, feed_forward=hidden) for spec in (first, attention))
    config = ModelConfig(vocab_size=VOCAB, width=32, context=CONTEXT, layers=layers, dropout=0.2,
                         norm=NormSpec(kind="rms", eps=1e-6), learned_positions=kind == "learned")
    torch.manual_seed(8)
    network = Network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval()


@pytest.fixture(params=["rotary", "learned", "window"])
def network(request) -> Network:
    return build(request.param)


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(9)
    return [torch.randint(VOCAB, (length,), generator=generator).tolist() for length in lengths]


def rows(network: Network, texts: list[list[int]], **settings) -> list[list[int]]:
    """The new ids of each row."""
    found: list[list[int]] = [[] for _ in texts]
    for row, token in generate(network, texts, **settings):
        found[row].append(token)
    return found


def by_definition(network: Network, prompt: list[int], count: int) -> list[int]:
    """Greedy decoding with nothing but full passes, the context rule written out."""
    ids, start = list(prompt), 0
    for _ in range(count):
        if len(ids) - start > CONTEXT:
            start = len(ids) - CONTEXT // 2
        with torch.no_grad():
            ids.append(int(network.logits(torch.tensor([ids[start:]]))[0, -1].argmax()))
    return ids[len(prompt):]


@pytest.mark.parametrize("cache", [True, False])
def test_decode_equals_full_passes_beyond_the_context_limit(network, cache):
    for prompt in prompts(1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 40):
        found = rows(network, [prompt], choice=GREEDY, max_tokens=30, cache=cache)[0]
        assert found == by_definition(network, prompt, 30)
        assert len(set(found)) > 5, "a text of few ids proves little"


@pytest.mark.parametrize("choice", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_decode_of_ragged_rows_equals_one_by_one_with_and_without_cache(network, choice):
    texts = prompts(3, 14, 1, 30, 16)
    alone = [rows(network, [text], choice=choice, max_tokens=30)[0] for text in texts]
    assert rows(network, texts, choice=choice, max_tokens=30) == alone
    assert rows(network, texts, choice=choice, max_tokens=30, cache=False) == alone


def test_decode_ends_rows_at_stop_ids_without_disturbing_the_others(network):
    texts = prompts(4, 11, 2, 8)
    whole = rows(network, texts, choice=SAMPLED, max_tokens=40)
    stop = whole[1][3]
    ended = rows(network, texts, choice=SAMPLED, max_tokens=40, stop_ids=[stop])
    for long, short in zip(whole, ended, strict=True):
        cut = long.index(stop) + 1 if stop in long else 40
        assert short == long[:cut]
    assert len(ended[1]) <= 4


def test_decode_finishes_rows_at_different_times_across_the_context_limit(network):
    texts = prompts(14, 3, 15, 8)
    alone = [rows(network, [text], choice=GREEDY, max_tokens=30)[0] for text in texts]
    found: list[list[int]] = [[] for _ in texts]
    limits = [7, 30, 20, 13]
    decoder = Decoder(network, texts, choice=GREEDY, max_tokens=30)
    while decoder.active:
        for row, token in decoder.step():
            found[row].append(token)
            if len(found[row]) == limits[row]:
                decoder.finish(row)
    assert found == [text[:limit] for text, limit in zip(alone, limits, strict=True)]


def test_decode_draws_by_seed_and_sample_number():
    network, text = build("rotary"), prompts(4)[0]
    first, second = rows(network, [text, text], choice=SAMPLED, max_tokens=20, samples=[0, 1])
    again = rows(network, [text, text, text], choice=SAMPLED, max_tokens=20, samples=[1, 1, 0])
    assert first != second
    assert again == [second, second, first]
    assert rows(network, [text], choice=SAMPLED.replace(seed=4), max_tokens=20)[0] != first


def test_decode_leaves_global_randomness_and_modes_alone():
    network = build("rotary").train()
    network.blocks[1].eval()
    before, modes = torch.get_rng_state(), [module.training for module in network.modules()]
    assert rows(network, prompts(3), choice=SAMPLED, max_tokens=8) == rows(build("rotary"), prompts(3), choice=SAMPLED, max_tokens=8)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in network.modules()] == modes
    stream = generate(network, prompts(3), choice=SAMPLED, max_tokens=8)
    next(stream)
    stream.close()
    assert [module.training for module in network.modules()] == modes


def test_evaluating_restores_modes_after_an_error():
    network = build("rotary").train()

    def fail_inside():
        with evaluating(network):
            raise KeyError(network.training)

    with pytest.raises(KeyError, match="False"):
        fail_inside()
    assert all(module.training for module in network.modules())


def test_decode_penalty_makes_repetition_rarer():
    network, text = build("learned"), prompts(4)[0]
    free = rows(network, [text], choice=Choice(temperature=0.3), max_tokens=CONTEXT)[0]
    fresh = rows(network, [text], choice=Choice(temperature=0.3, repetition_penalty=1e6), max_tokens=CONTEXT)[0]
    assert len(set(fresh)) >= CONTEXT - 2 > len(set(free))


def test_decode_chooses_only_ids_of_the_tokenizer():
    network = build("rotary")
    decoder = Decoder(network, prompts(3), choice=Choice(temperature=50.0), max_tokens=200, vocab_size=10)
    found = [token for _ in range(200) for _, token in decoder.step()]
    assert set(found) == set(range(10))


def test_decode_stores_no_more_than_the_text_needs():
    network = build("rotary")
    decoder = Decoder(network, prompts(3, 5), choice=GREEDY, max_tokens=4)
    assert decoder.cache is not None
    assert decoder.cache.length == 9
    assert Decoder(network, prompts(3, 70), choice=GREEDY, max_tokens=4).cache.length == CONTEXT


def test_decode_refuses_prompts_it_cannot_read():
    network = build("rotary")
    with pytest.raises(ConfigError, match="prompt 1 is empty"):
        rows(network, [[1], []], choice=GREEDY, max_tokens=2)
    with pytest.raises(ConfigError, match="prompt 0 holds id 61, but the model has ids 0 to 60"):
        rows(network, [[4, 61, 2]], choice=GREEDY, max_tokens=2)
    with pytest.raises(ConfigError, match="holds id -1"):
        rows(network, [[4, -1, 2]], choice=GREEDY, max_tokens=2)
    assert rows(network, [[1]], choice=GREEDY, max_tokens=0) == [[]]
