"""The network as a whole: causality, documents, positions, norm places, dtypes, compilation."""

import pytest
import torch

from tohum.errors import ConfigError
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS

TINY = [name for name in PRESETS if name.startswith("tiny-")]


def build(name, dtype=torch.float64, **changes):
    network = Network(PRESETS[name]().replace(**changes))
    initialise(network, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():  # scales of one and biases of zero prove nothing
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.to(dtype).eval()


def ids_for(network, rows=2, tokens=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(network.config.vocab_size, (rows, tokens), generator=generator)


@pytest.mark.parametrize("name", TINY)
def test_logits_depend_on_earlier_tokens_and_on_no_later_one(name):
    network = build(name)
    ids = ids_for(network)
    changed = ids.clone()
    changed[:, 10] = (changed[:, 10] + 1) % network.config.vocab_size
    before, after = network.logits(ids), network.logits(changed)
    torch.testing.assert_close(after[:, :10], before[:, :10], rtol=0, atol=1e-12)
    assert ((after - before)[:, 10:].abs().amax(-1) > 1e-9).all()


@pytest.mark.parametrize("name", TINY)
def test_documents_packed_in_a_row_equal_documents_alone(name):
    network = build(name)
    one, two = ids_for(network, rows=1, tokens=9, seed=1), ids_for(network, rows=1, tokens=6, seed=2)
    packed = torch.cat((one, two, torch.zeros(1, 3, dtype=torch.int64)), dim=1)
    documents = torch.tensor([[0] * 9 + [1] * 6 + [-1] * 3])
    positions = torch.tensor([[*range(9), *range(6), 0, 0, 0]])
    found = network.logits(packed, documents=documents, positions=positions)
    torch.testing.assert_close(found[:, :9], network.logits(one), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[:, 9:15], network.logits(two), rtol=1e-10, atol=1e-10)
    assert torch.isfinite(found).all()
    assert not torch.allclose(network.logits(packed)[:, 9:15], network.logits(two))


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_receives_a_gradient(name):
    network = build(name).train()
    network.logits(ids_for(network)).square().mean().backward()
    still = [n for n, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    assert still in ([], [n for n in still if n.endswith("key.bias")])  # softmax ignores a common shift


def test_parameter_names_are_the_fixed_ones():
    names = set(Network(PRESETS["tiny-gpt2"]().replace(tied=False)).state_dict())
    layer = {f"attention.{part}.{kind}" for part in ("query", "key", "value", "output") for kind in ("weight", "bias")}
    layer |= {f"{part}.{kind}" for part in ("attention_norm", "feed_forward_norm", "feed_forward.up",
                                            "feed_forward.down") for kind in ("weight", "bias")}
    assert names == {f"blocks.{i}.{name}" for i in (0, 1) for name in layer} | {
        "embedding.token.weight", "embedding.position.weight", "final_norm.weight", "final_norm.bias", "head.weight"}
    gemma = set(Network(PRESETS["tiny-gemma2"]()).state_dict())
    assert {"blocks.1.attention_post_norm.weight", "blocks.1.feed_forward_post_norm.weight",
            "blocks.1.feed_forward.gate.weight"} <= gemma
    assert "head.weight" not in gemma
    qwen = set(Network(PRESETS["tiny-qwen3"]()).state_dict())
    assert {"blocks.0.attention.query_norm.weight", "blocks.0.attention.key_norm.weight"} <= qwen


@pytest.mark.parametrize("places", ["pre", "post", "both"])
def test_norm_places_are_where_they_say(places):
    network = build("tiny-qwen3", layers=tuple(layer.replace(norm_places=places)
                                               for layer in PRESETS["tiny-qwen3"]().layers[:1]))
    block, x = network.blocks[0], torch.randn(1, 5, 32, dtype=torch.float64)
    rotations, masks, _ = network.shared_parts(torch.zeros(1, 5, dtype=torch.int64), None, None, None)

    def half(stream, layer, before, after, *arguments):
        inner = before(stream) if places in ("pre", "both") else stream
        outer = layer(inner, *arguments)
        return stream + (after(outer) if places in ("post", "both") else outer)

    expected = half(x, block.attention, block.attention_norm, block.attention_post_norm, rotations[0], masks[0])
    expected = half(expected, block.feed_forward, block.feed_forward_norm, block.feed_forward_post_norm)
    torch.testing.assert_close(block(x, rotations[0], masks[0]), expected)


def test_a_tied_head_is_the_token_table_and_an_untied_one_is_not():
    tied, untied = Network(PRESETS["tiny-qwen3"]()), Network(PRESETS["tiny-arcee"]())
    assert tied.head_weight is tied.embedding.token.weight
    assert untied.head_weight is not untied.embedding.token.weight
    hidden = torch.randn(2, 3, 32)
    torch.testing.assert_close(untied.to_logits(hidden), hidden @ untied.head.weight.T)


def test_logits_are_the_head_of_hidden_and_stay_within_the_soft_cap():
    network = build("tiny-gemma2", logit_soft_cap=0.5)
    ids = ids_for(network)
    hidden = network.hidden(ids)
    expected = 0.5 * torch.tanh(hidden @ network.embedding.token.weight.T / 0.5)
    torch.testing.assert_close(network.logits(ids), expected)
    assert network.logits(ids).abs().max() <= 0.5


@pytest.mark.parametrize("name", TINY)
def test_attention_maps_are_causal_weights_that_make_the_same_network(name):
    network = build(name)
    ids = ids_for(network, tokens=20)
    maps = network.attention_maps(ids)
    assert [tuple(part.shape) for part in maps] == [(2, 4, 20, 20)] * 2
    for weights, layer in zip(maps, network.config.layers, strict=True):
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 20, dtype=torch.float64))
        assert (weights.triu(1) == 0).all()
        if layer.attention.window:
            assert (weights.tril(-layer.attention.window) == 0).all()


@pytest.mark.parametrize("name", TINY)
def test_autocast_to_bfloat16_stays_near_float32_in_value_and_gradient(name):
    losses = []
    for autocast in (False, True):
        network = build(name, torch.float32, dropout=0.0, attention_dropout=0.0).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = network.logits(ids_for(network, tokens=40)).float()
        loss = torch.logsumexp(logits, -1).mean()
        loss.backward()
        losses.append((loss.item(), torch.stack([p.grad.norm() for p in network.parameters()])))
    assert losses[0][0] != losses[1][0]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)
    torch.testing.assert_close(losses[1][1].norm(), losses[0][1].norm(), rtol=0.05, atol=0)


def test_dropout_is_active_in_training_and_absent_in_evaluation():
    network = build("tiny-gpt2", dropout=0.2, attention_dropout=0.2)
    ids = ids_for(network)
    assert torch.equal(network.logits(ids), network.logits(ids))
    network.train()
    assert not torch.equal(network.logits(ids), network.logits(ids))


def test_texts_longer_than_the_context_are_refused():
    network = build("tiny-qwen3", context=16)
    with pytest.raises(ConfigError, match="17 tokens, but this model's context is 16"):
        network.logits(torch.zeros(1, 17, dtype=torch.int64))


def test_layers_with_equal_settings_share_tables_and_masks():
    network = Network(PRESETS["tiny-gemma2"]())
    assert len(network.rotaries) == 1
    assert network.windows == (16, None)
    assert len(Network(PRESETS["tiny-qwen3"]()).windows) == 1


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", ["tiny-gemma2", "tiny-qwen3", "tiny-gpt2"])
def test_the_whole_network_compiles_without_a_graph_break(name, autocast):
    network = build(name, torch.float32, dropout=0.0, attention_dropout=0.0)
    ids = ids_for(network)
    documents = torch.tensor([[0] * 8 + [1] * 12] * 2)
    torch.compiler.reset()
    compiled = torch.compile(network.logits, fullgraph=True, backend="aot_eager")
    for arguments in ({}, {"documents": documents}):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, wanted = compiled(ids, **arguments), network.logits(ids, **arguments)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-1 if autocast else 1e-5)  # two steps of bf16 at 4
        found.float().square().mean().backward()
