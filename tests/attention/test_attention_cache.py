"""Key/value cache: on = off, for chunks, ragged rows, windows, padding on either side, and reused rows."""

import pytest
import torch

from tohum.attention.cache import CacheSize, KeyValueCache
from tohum.errors import ConfigError
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network

CONTEXT = 24


def build(seed=0, **options):
    """Two layers: the first with the window that is asked for, the second sees everything."""
    window, rope_base = options.pop("window", None), options.pop("rope_base", 10_000.0)
    torch.manual_seed(seed)
    attention = AttentionSpec(heads=4, kv_heads=2, head_width=8, rope_base=rope_base, qk_norm=True, **options)
    hidden = FeedForwardSpec(kind="swiglu", width=48)
    layers = tuple(LayerSpec(attention=attention.replace(window=w), feed_forward=hidden) for w in (window, None))
    config = ModelConfig(vocab_size=50, width=32, context=CONTEXT, layers=layers, norm=NormSpec(kind="rms", eps=1e-6),
                         learned_positions=rope_base is None)
    return Network(config).double().eval().requires_grad_(False)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


KINDS = [{}, {"window": 3}, {"window": 1}, {"window": 100}, {"rope_base": None, "window": 5}, {"soft_cap": 2.0, "window": 3}]
CUTS = [(20,), (1,) * 20, (7, 1, 1, 5, 1, 5), (2, 6, 4, 8), (19, 1)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_cached_passes_equal_one_whole_pass(kind, cuts):
    network, ids = build(**kind), torch.randint(50, (2, 20))
    cache, parts, start = network.new_cache(2, CONTEXT), [], 0
    for size in cuts:
        parts.append(network.logits(ids[:, start : start + size], cache=cache))
        cache.advance(size)
        start += size
    same(torch.cat(parts, dim=1), network.logits(ids))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cache_length", [16, CONTEXT])
def test_ragged_rows_equal_rows_one_by_one(kind, side, cache_length):
    network, lengths = build(**kind), [2, 7, 5]
    texts = [torch.randint(50, (1, n + 6)) for n in lengths]
    wanted = [network.logits(text)[0, n - 1 :] for text, n in zip(texts, lengths, strict=True)]
    ids, documents = torch.full((3, 7), 49), torch.full((3, 7), -1)
    positions = torch.zeros(3, 7, dtype=torch.int64)
    for row, (text, n) in enumerate(zip(texts, lengths, strict=True)):
        columns = slice(7 - n, 7) if side == "left" else slice(0, n)
        ids[row, columns], documents[row, columns], positions[row, columns] = text[0, :n], 0, torch.arange(n)
    cache = network.new_cache(3, cache_length)
    logits = network.logits(ids, positions=positions, documents=documents, cache=cache)
    assert torch.isfinite(logits).all()  # padding too: what it computes is nobody's business, but no NaN
    counts = torch.tensor(lengths)
    cache.advance(counts)
    last = torch.full((3,), 6) if side == "left" else counts - 1
    found = [logits[torch.arange(3), last]]
    for step in range(6):
        new = torch.stack([text[0, n + step] for text, n in zip(texts, lengths, strict=True)])[:, None]
        found.append(network.logits(new, cache=cache)[:, 0])
        cache.advance(1)
    for row in range(3):
        same(torch.stack(found, dim=1)[row], wanted[row])


@pytest.mark.parametrize("window", [None, 3])
def test_rows_that_have_ended_may_idle_as_padding(window):
    network, ids = build(window=window), torch.randint(50, (2, 12))
    cache = network.new_cache(2, 12)
    network.logits(ids[:, :4], cache=cache)
    cache.advance(4)
    active = torch.tensor([[0], [-1]])  # the second row stands still
    for column in range(4, 8):
        network.logits(ids[:, column : column + 1], documents=active, cache=cache)
        cache.advance(torch.tensor([1, 0]))
    assert cache.lengths.tolist() == [8, 4]
    new = torch.stack([ids[0, 8:9], ids[1, 4:5]])
    found = network.logits(new, cache=cache)[:, 0]
    whole = network.logits(ids)
    same(found, torch.stack([whole[0, 8], whole[1, 4]]))


def test_padding_with_any_position_computes_no_nan():
    network, ids = build(window=3, soft_cap=2.0), torch.randint(50, (2, 12))
    cache = network.new_cache(2, 12)
    network.logits(ids[:, :8], cache=cache)
    cache.advance(8)
    padding, positions = torch.tensor([[0, 0], [-1, -1]]), torch.tensor([[8, 9], [0, 0]])  # far outside its window
    found = network.logits(ids[:, 8:10], documents=padding, positions=positions, cache=cache)
    assert torch.isfinite(found).all()
    same(found[0], network.logits(ids)[0, 8:10])


@pytest.mark.parametrize("window", [None, 3])
def test_reset_forgets_the_old_text(window):
    network, cache = build(window=window), None
    cache = network.new_cache(1, CONTEXT)
    network.logits(torch.randint(50, (1, 17)), cache=cache)
    cache.advance(17)
    cache.reset()
    ids, parts = torch.randint(50, (1, 9)), []
    for piece in ids.split([4, 1, 1, 3], dim=1):
        parts.append(network.logits(piece, cache=cache))
        cache.advance(piece.shape[1])
    same(torch.cat(parts, dim=1), network.logits(ids))


@pytest.mark.parametrize("window", [None, 3])
def test_one_row_may_start_anew_beside_others(window):
    network, ids, other = build(window=window), torch.randint(50, (2, 10)), torch.randint(50, (1, 6))
    cache = network.new_cache(2, CONTEXT)
    network.logits(ids[:, :9], cache=cache)
    cache.advance(9)
    cache.advance(torch.tensor([0, -9]))  # the second row is free
    both = torch.full((2, 6), 0)
    both[0, :1], both[1] = ids[0, 9:], other[0]
    padding = torch.tensor([[0, -1, -1, -1, -1, -1], [0] * 6])
    found = network.logits(both, documents=padding, cache=cache)
    same(found[0, 0], network.logits(ids[:1])[0, 9])
    same(found[1], network.logits(other)[0])


def test_single_precision_and_bfloat16_caches():
    network, ids = build().float(), torch.randint(50, (1, 12))
    cache, half = network.new_cache(1, 12), network.new_cache(1, 12, torch.bfloat16)
    for length, store in ((12, cache), (12, half)):
        parts = []
        for column in range(length):
            parts.append(network.logits(ids[:, column : column + 1], cache=store))
            store.advance(1)
        whole = network.logits(ids)
        limit = (1e-6 if store is cache else 5e-3) * whole.abs().max().item()  # of their size: about 40
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=limit)
    assert half.bytes * 2 == cache.bytes


def test_layers_with_a_window_store_only_the_window():
    size = {"kv_heads": 2, "head_width": 8}
    cache = KeyValueCache([CacheSize(**size), CacheSize(**size, window=4)], 3, 100, dtype=torch.float32,
                          device=torch.device("cpu"))
    assert cache.bytes == 2 * 3 * (101 + 5) * 2 * 8 * 4


def test_a_full_cache_says_what_to_do():
    network = build()
    cache = network.new_cache(1, 8)
    network.logits(torch.zeros(1, 6, dtype=torch.int64), cache=cache)
    cache.advance(6)
    with pytest.raises(ConfigError, match="6 cached tokens and 3 new ones, but this cache was made for 8"):
        network.logits(torch.zeros(1, 3, dtype=torch.int64), cache=cache)
    with pytest.raises(ConfigError, match="16 tokens, but this cache was made for 8"):
        cache.advance(10)
    with pytest.raises(ConfigError, match="25 tokens, but this model's context is 24"):
        network.new_cache(1, 25)
