"""Explicit and fused attention, and that in bfloat16, give the same values and gradients for every option."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tohum.attention.fused import attend
from tohum.attention.masks import build_masks
from tohum.attention.narrow import suits
from tohum.attention.reference import ScoreRule, attend_explicitly, attend_with_weights, share_heads
from tohum.kernels import build
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network

RULE = ScoreRule(scale=0.3)


def heads(rows=2, query_heads=4, kv_heads=2, tokens=9, width=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    counts = (query_heads, kv_heads, kv_heads)
    return [torch.randn(rows, count, tokens, width, generator=generator, dtype=dtype).requires_grad_()
            for count in counts]


def mask_for(tokens, window=None, documents=None, rows=2):
    return build_masks((window,), torch.zeros(rows, tokens, dtype=torch.int64), documents)[0]


def values_and_gradients(way, parts, mask, rule=RULE):
    context = way(*parts, mask, rule)
    weights = torch.arange(context.numel()).sin().bfloat16().to(context.dtype).reshape(context.shape)
    return [context.detach(), *torch.autograd.grad((context * weights).sum(), parts)]


def by_hand(query, key, value, scale):
    """Softmax attention of one head with Python loops: the book's first chapter on attention."""
    rows = []
    for t in range(query.shape[0]):
        scores = [scale * float(query[t] @ key[s]) for s in range(t + 1)]
        total = sum(math.exp(score) for score in scores)
        rows.append(sum(math.exp(score) / total * value[s] for s, score in enumerate(scores)))
    return torch.stack(rows)


def test_explicit_attention_equals_loops_over_tokens():
    query, key, value = (part.detach() for part in heads(rows=1, query_heads=1, kv_heads=1, tokens=5))
    context, weights = attend_with_weights(query, key, value, mask_for(5, rows=1), RULE)
    torch.testing.assert_close(context[0, 0], by_hand(query[0, 0], key[0, 0], value[0, 0], 0.3))
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 5, dtype=torch.float64))
    assert (weights.triu(1) == 0).all()


def test_grouped_heads_are_neighbours():
    x = torch.arange(2.0).reshape(1, 2, 1, 1)
    assert share_heads(x, 6).flatten().tolist() == [0, 0, 0, 1, 1, 1]


DOCUMENTS = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 2, 2, -1, -1]])


@pytest.mark.parametrize(("window", "documents", "kv_heads"), list(itertools.product(
    (None, 1, 3, 100), (None, DOCUMENTS), (1, 2, 4))))
def test_fused_equals_explicit_in_value_and_gradient(window, documents, kv_heads):
    parts, mask = heads(kv_heads=kv_heads), mask_for(9, window, documents)
    wanted = values_and_gradients(attend_explicitly, parts, mask)
    for ours, theirs in zip(values_and_gradients(attend, parts, mask), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.fixture
def narrow(compiled, one_thread):
    """A skip where the processor does not multiply bfloat16 or there is no compiler; tiny tensors."""
    if not build.possible("matrix products"):
        pytest.skip("no products in bfloat16 on this processor")
    compiled("matrix products", build.LANES[0])


def assert_narrow_is_near(parts, mask, rule=RULE):
    """Values and gradients of parts in bfloat16 against those of the same numbers in float64."""
    assert suits(*parts, mask, 0.0)
    exact = [part.detach().double().requires_grad_() for part in parts]
    wanted = values_and_gradients(attend_explicitly, exact, mask, rule)
    for ours, truth in zip(values_and_gradients(attend, parts, mask, rule), wanted, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours - truth).norm() <= 0.008 * truth.norm() + 0.004
        assert (ours - truth).abs().max() <= 0.03 * truth.abs().max() + 0.004


@pytest.mark.parametrize("width", [1, 8, 17, 64, 80])
@pytest.mark.parametrize("tokens", [1, 2, 12, 13, 31, 32, 33, 95, 96, 97, 205])
def test_narrow_attention_is_the_truth_within_rounding(narrow, tokens, width):
    parts = heads(tokens=tokens, width=width, dtype=torch.bfloat16)
    assert_narrow_is_near(parts, mask_for(tokens), ScoreRule(scale=width**-0.5))


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 1, 40, 200])
@pytest.mark.parametrize("split", [None, 70, 140])
def test_narrow_attention_with_documents_and_windows(narrow, window, split, kv_heads):
    parts = heads(tokens=210, kv_heads=kv_heads, width=16, dtype=torch.bfloat16)
    documents = None if split is None else torch.cat((torch.zeros(2, split), torch.ones(2, 210 - split)), dim=1)
    assert_narrow_is_near(parts, mask_for(210, window, documents))


def test_narrow_attention_with_a_mask_for_each_text(narrow):
    assert_narrow_is_near(heads(dtype=torch.bfloat16), mask_for(9, None, DOCUMENTS))


def test_narrow_attention_with_scores_far_apart(narrow):
    parts = [(30 * part.detach()).requires_grad_() for part in heads(tokens=40, width=32, dtype=torch.bfloat16)]
    assert_narrow_is_near(parts, mask_for(40))


def test_narrow_attention_takes_any_strides_and_threads_to_the_same_bits(narrow):
    parts, mask = heads(rows=3, tokens=50, width=16, dtype=torch.bfloat16), mask_for(50, rows=3)
    assert suits(*parts, mask, 0.0)
    wanted = values_and_gradients(attend, parts, mask)
    others = [part.detach().permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3) for part in parts]
    far = [torch.cat((part, part), dim=-1)[..., :16] for part in others]
    torch.set_num_threads(3)
    for same in (others, far):
        assert not any(part.is_contiguous() for part in same)
        found = values_and_gradients(attend, [part.requires_grad_() for part in same], mask)
        for ours, theirs in zip(found, wanted, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("make", [
    lambda context: torch.ones_like(context[:1, :1, :1, :1]).expand_as(context),
    lambda context: context.transpose(2, 3).contiguous().transpose(2, 3),
    lambda context: torch.cat((context, context), dim=1)[:, ::2]], ids=["one number", "turned", "every second head"])
def test_narrow_attention_takes_gradients_of_any_strides(narrow, make):
    parts, mask = heads(tokens=50, width=16, dtype=torch.bfloat16), mask_for(50)
    context = attend(*parts, mask, RULE)
    gradient = make(context.detach())
    assert not gradient.is_contiguous()
    found = torch.autograd.grad(context, parts, gradient, retain_graph=True)
    for ours, theirs in zip(found, torch.autograd.grad(context, parts, gradient.contiguous()), strict=True):
        assert torch.equal(ours, theirs)


def test_without_the_library_torch_does_it(monkeypatch):
    monkeypatch.setattr("tohum.kernels.attention.products", lambda: None)
    parts, mask = heads(tokens=20, width=16, dtype=torch.bfloat16), mask_for(20)
    assert not suits(*parts, mask, 0.0)
    theirs = values_and_gradients(lambda q, k, v, m, rule: scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=rule.scale, enable_gqa=True), parts, mask)
    for a, b in zip(values_and_gradients(attend, parts, mask), theirs, strict=True):
        assert torch.equal(a, b)


def test_a_key_that_is_not_finite_reaches_those_that_read_it_alone(narrow):
    parts, mask = heads(tokens=40, width=16, dtype=torch.bfloat16), mask_for(40)
    with torch.no_grad():
        parts[1][0, 0, 20, 3] = float("nan")
        context = attend(*parts, mask, RULE)
    assert context[0, :2, 20:].isnan().all()
    assert context[0, :2, :20].isfinite().all()
    assert context[0, 2:].isfinite().all()
    assert context[1].isfinite().all()


def test_scale_multiplies_the_scores():
    torch.manual_seed(0)
    scaled, plain = Network(config_with(scale=2 * 8**-0.5)), Network(config_with())
    weights = scaled.state_dict()
    plain.load_state_dict({name: 2 * value if "query" in name else value for name, value in weights.items()})
    ids = torch.randint(50, (1, 9))
    torch.testing.assert_close(scaled.logits(ids), plain.logits(ids))


def test_bfloat16_on_cpu_is_as_near_to_the_truth_as_the_kernel_of_torch(narrow):
    parts, mask = heads(tokens=200, kv_heads=4, width=16, dtype=torch.bfloat16), mask_for(200)
    exact = values_and_gradients(attend, [p.detach().double().requires_grad_() for p in parts], mask)
    theirs = values_and_gradients(lambda q, k, v, m, rule: scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=rule.scale), parts, mask)
    for a, b, truth in zip(values_and_gradients(attend, parts, mask), theirs, exact, strict=True):
        assert not torch.equal(a, b)  # the two ways were really taken
        assert (a - truth).norm() < 1.5 * (b - truth).norm()


def test_soft_cap_bounds_scores_and_keeps_small_ones():
    query, key, value = (part.detach() for part in heads(kv_heads=4))
    plain = attend_with_weights(query, key, value, mask_for(9), RULE)[1]
    loose = attend_with_weights(query, key, value, mask_for(9), ScoreRule(scale=0.3, soft_cap=1e6))[1]
    tight = attend_with_weights(query, key, value, mask_for(9), ScoreRule(scale=0.3, soft_cap=0.01))[1]
    torch.testing.assert_close(loose, plain)
    assert tight[0, 0, 8].std() < 0.01 * plain[0, 0, 8].std() + 1e-3  # nearly even weights


def config_with(**changes):
    attention = {"heads": 4, "kv_heads": 2, "head_width": 8, "rope_base": 10_000.0} | changes
    layer = LayerSpec(attention=AttentionSpec(**attention), feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    return ModelConfig(vocab_size=50, width=32, context=16, layers=(layer, layer), norm=NormSpec(kind="rms", eps=1e-6))


@pytest.mark.parametrize("changes", [
    {}, {"kv_heads": 4}, {"kv_heads": 1}, {"window": 3}, {"qk_norm": True}, {"bias": True, "output_bias": True},
    {"soft_cap": 5.0}, {"scale": 0.05}, {"rope_base": None}, {"head_width": 6},
    {"qk_norm": True, "window": 4, "soft_cap": 2.0, "bias": True}], ids=str)
@pytest.mark.parametrize("isolated", [False, True])
def test_explicit_network_equals_the_fused_one_in_value_and_every_gradient(changes, isolated):
    torch.manual_seed(0)
    config = config_with(**changes)
    fused, explicit = Network(config).double(), Network(config, explicit=True).double()
    explicit.load_state_dict(fused.state_dict())
    ids = torch.randint(50, (2, 9))
    documents = DOCUMENTS if isolated else None
    outputs = [network.logits(ids, documents=documents) for network in (fused, explicit)]
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    for _network, logits in zip((fused, explicit), outputs, strict=True):
        logits.square().sum().backward()
    for (name, ours), theirs in zip(fused.named_parameters(), explicit.parameters(), strict=True):
        assert ours.grad.abs().sum() > 0 or name.endswith("key.bias"), name  # softmax ignores a common shift
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-9, msg=name)


def test_attention_dropout_changes_training_and_keeps_the_mean():
    torch.manual_seed(0)
    query, key, value = (part.detach().float() for part in heads(rows=1, kv_heads=4, tokens=4))
    value = torch.ones_like(value)
    for way in (attend, attend_explicitly):
        mean = torch.stack([way(query, key, value, mask_for(4, rows=1), RULE, 0.5) for _ in range(600)]).mean(0)
        assert (mean - 1).abs().mean() < 0.1
        assert not torch.equal(way(query, key, value, mask_for(4, rows=1), RULE, 0.5), value)
