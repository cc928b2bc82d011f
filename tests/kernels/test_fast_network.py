"""The fast form of a network equals the network, for every family, cache and format; what it cannot do is torch's."""

import copy

import pytest
import torch

from tohum.generation import fast
from tohum.generation.choice import Choice
from tohum.generation.decode import Decoder, generate
from tohum.generation.fast import FastNetwork, fast_network
from tohum.generation.int8 import decode_in_bytes
from tohum.model.network import Network
from tohum.model.presets import PRESETS

FAMILIES = [name for name in PRESETS if name.startswith("tiny")]
FORMATS = ["fp32", "bf16", "fp16", "int8"]


def network_of(name: str, kind: str = "fp32", **changes) -> Network:
    """Random, every parameter away from its first value, logits not tiny."""
    torch.manual_seed(5)
    network = Network(PRESETS[name]().replace(**changes)).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    if kind == "int8":
        return decode_in_bytes(network)
    return network.to({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind])


def read(model, cache, ids: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    """Logits (B, T, V) of ids (B, T), read piece by piece."""
    found, start = [], 0
    with torch.inference_mode():
        for end in [*cuts, ids.shape[1]]:
            found.append(model.to_logits(model.hidden(ids[:, start:end], cache=cache)))
            cache.advance(end - start)
            start = end
    return torch.cat(found, dim=1)


def fast_of(network: Network, rows: int, length: int) -> FastNetwork:
    made = fast_network(network, network.new_cache(rows, length))
    assert made is not None
    return made


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_is_the_network_s_within_rounding(kernels, name):
    """Past the windows, one by one and, where nothing is forgotten, several at once."""
    network = network_of(name)
    ids = torch.randint(256, (3, 60))
    with torch.inference_mode():
        expected = network.logits(ids)
    assert expected.std() > 0.3
    cuts = [range(1, 60), [1, 2, 40]] if not network.new_cache(1, 60).forgets else [range(1, 60)]
    for places in cuts:
        model = fast_of(network, 3, 60)
        found = read(model, model.cache, ids, list(places))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_narrow_numbers_are_read_exactly(kernels, name, kind):
    """The kernels compute in float32 with the narrow weights: nearer to that than torch, which rounds on the way."""
    narrow = network_of(name, kind)
    wide = copy.deepcopy(narrow).float()
    ids = torch.randint(256, (2, 30))
    with torch.inference_mode():
        expected, rounded = wide.logits(ids), narrow.logits(ids).float()
    model = fast_of(narrow, 2, 30)
    found = read(model, model.cache, ids, list(range(1, 30)))
    assert (found - expected).abs().mean() < 1.1 * (rounded - expected).abs().mean()
    assert (found - expected).abs().max() < 0.3 * expected.std()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "tiny-qwen3-moe"])
def test_a_token_s_bits_are_the_same_alone_and_beside_others(kernels, name, kind):
    network = network_of(name, kind)
    ids = torch.randint(256, (5, 20))
    together = fast_of(network, 5, 20)
    found = read(together, together.cache, ids, list(range(1, 20)))
    for row in range(5):
        model = fast_of(network, 1, 20)
        assert torch.equal(read(model, model.cache, ids[row:row + 1], list(range(1, 20)))[0], found[row])
    if not together.cache.forgets:
        model = fast_of(network, 5, 20)
        torch.set_num_threads(2)
        assert torch.equal(read(model, model.cache, ids, [3, 4, 11]), found)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["tiny-llama", "tiny-gpt2", "tiny-olmo2"])
def test_guesses_change_no_token_in_any_format(kernels, name, kind):
    network, prompt = network_of(name, kind, context=64), [5, 6, 7, 8, 9] * 4
    runs = [list(generate(network, [prompt], choice=Choice(temperature=0, lookup=lookup), max_tokens=100))
            for lookup in (0, 3, 30)]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("name", FAMILIES)
def test_ragged_rows_that_end_one_after_another_are_torch_s(kernels, name, monkeypatch):
    network = network_of(name, context=32)
    prompts = [[3], list(range(20)), [7, 8, 9], list(range(40, 70))]

    def run() -> list[tuple[int, int]]:
        decoder, found = Decoder(network, prompts, choice=Choice(temperature=0), max_tokens=25), []
        while decoder.active:
            found += decoder.step()
            if len(found) > 30:
                decoder.finish(1)
        return found

    fast_ids = run()
    monkeypatch.setattr(fast, "library", lambda *_: None)
    assert run() == fast_ids


def test_what_the_kernels_do_not_know_is_left_to_torch(kernels):
    def made(network: Network) -> FastNetwork | None:
        return fast_network(network, network.new_cache(1, 16))

    assert made(network_of("tiny-llama")) is not None
    assert fast_network(network_of("tiny-llama"), None) is None
    assert made(Network(PRESETS["tiny-llama"](), explicit=True).eval()) is None  # the definition is asked for
    assert made(network_of("tiny-llama").double()) is None
    odd = PRESETS["tiny-llama"]().replace(width=36)
    assert made(Network(odd).eval()) is None
    hooked = network_of("tiny-llama")
    hooked.blocks[1].feed_forward.up.register_forward_hook(lambda *_: None)
    assert made(hooked) is None
    other = network_of("tiny-llama")
    other.blocks[0].attention.query = torch.nn.Sequential(other.blocks[0].attention.query)
    assert made(other) is None


def test_passes_that_do_not_suit_are_torch_s(kernels, monkeypatch):
    network = network_of("tiny-gemma3")
    model = fast_of(network, 2, 100)
    monkeypatch.setattr(model, "library", None)  # whoever calls it fails
    with torch.inference_mode():
        for ids in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 70, dtype=torch.int64)):
            assert torch.equal(model.hidden(ids, cache=model.cache), network.hidden(ids, cache=network.new_cache(2, 100)))


def test_training_sees_nothing_of_it(kernels):
    """Weights that change between two texts are seen; the structs hold no copies of float32 matrices."""
    network = network_of("tiny-llama")
    model = fast_of(network, 1, 16)
    ids = torch.tensor([[1, 2, 3]])
    before = read(model, model.cache, ids, [])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    model.cache.reset()
    after = read(model, model.cache, ids, [])
    assert not torch.equal(before, after)
    with torch.inference_mode():
        torch.testing.assert_close(after, network.logits(ids), rtol=1e-4, atol=1e-4)


def test_a_cache_of_another_format_is_read_and_written(kernels):
    network, ids = network_of("tiny-qwen3"), torch.randint(256, (1, 12))
    for kind in (torch.bfloat16, torch.float16):
        model = fast_network(network, network.new_cache(1, 12, kind))
        assert model is not None
        found = read(model, model.cache, ids, list(range(1, 12)))
        slow = network.new_cache(1, 12, kind)
        expected = read(network, slow, ids, list(range(1, 12)))
        assert (found - expected).abs().max() < 0.02 * expected.std()
        assert model.cache.keys[0].dtype == kind
        assert (model.cache.keys[1].float() - slow.keys[1].float()).abs().max() < 0.05


@pytest.mark.parametrize("threads", [1, 3])
def test_many_tokens_in_bytes_have_the_bits_of_each_alone(kernels, threads):
    """Beyond sixteen the threads share the vectors' whole numbers."""
    torch.set_num_threads(threads)
    network = network_of("tiny-llama", "int8")
    ids = torch.randint(network.config.vocab_size, (1, 40))
    whole, single = (read(fast := fast_of(network, 1, 40), fast.cache, ids, cuts) for cuts in ([], list(range(1, 40))))
    assert torch.equal(whole, single)
