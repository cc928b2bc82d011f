"""Filters equal the logits processors of transformers."""

import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tohum.errors import NonFiniteError
from tohum.generation import filters
from tohum.generation.choice import Choice, choose, draw, filtered

ROWS, VOCAB = 6, 300
NO_IDS = torch.zeros(ROWS, 1, dtype=torch.int64)


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("value", [0.1, 0.8, 1.0, 2.5])
def test_filters_temperature_equals_transformers(logits, value):
    assert torch.equal(filters.temperature(logits, value), TemperatureLogitsWarper(value)(NO_IDS, logits))


@pytest.mark.parametrize("count", [1, 2, 40, 299, 300, 5000])
def test_filters_top_k_equals_transformers(logits, count):
    kept = filters.top_k(logits, count)
    assert torch.equal(kept, TopKLogitsWarper(count)(NO_IDS, logits))
    assert (kept.isfinite().sum(dim=-1) == min(count, VOCAB)).all()


@pytest.mark.parametrize("mass", [1e-6, 0.3, 0.5, 0.9, 0.999])
def test_filters_top_p_equals_transformers(logits, mass):
    kept = filters.top_p(logits, mass)
    assert torch.equal(kept, TopPLogitsWarper(mass)(NO_IDS, logits))
    assert (kept.isfinite().sum(dim=-1) >= 1).all()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_filters_min_p_equals_transformers(logits, share):
    assert torch.equal(filters.min_p(logits, share), MinPLogitsWarper(share)(NO_IDS, logits))


@pytest.mark.parametrize("penalty", [0.7, 1.2, 3.0])
def test_filters_repetition_penalty_equals_transformers(logits, penalty):
    ids = torch.randint(VOCAB, (ROWS, 20), generator=torch.Generator().manual_seed(1))
    seen = torch.zeros(ROWS, VOCAB, dtype=torch.bool).scatter_(1, ids, True)
    ours = filters.repetition_penalty(logits, seen, penalty)
    assert torch.equal(ours, RepetitionPenaltyLogitsProcessor(penalty)(ids, logits))
    assert not torch.equal(ours, logits)


def test_filters_together_equal_transformers_in_its_order(logits):
    choice = Choice(temperature=0.7, top_k=50, top_p=0.9, min_p=0.02)
    theirs = logits
    for processor in (TemperatureLogitsWarper(0.7), TopKLogitsWarper(50), TopPLogitsWarper(0.9), MinPLogitsWarper(0.02)):
        theirs = processor(NO_IDS, theirs)
    assert torch.equal(filtered(logits, choice), theirs)
    assert 1 < theirs.isfinite().sum(dim=-1).float().mean() < 50


def test_filters_keep_what_the_table_in_the_docstring_says():
    logits = torch.tensor([[0.50, 0.25, 0.15, 0.07, 0.03]]).log()
    for kept in (filters.top_k(logits, 3), filters.top_p(logits, 0.8), filters.min_p(logits, 0.2)):
        assert kept.isfinite().tolist() == [[True, True, True, False, False]]


def test_draw_gives_each_token_its_share():
    probabilities = torch.tensor([[0.1, 0.0, 0.6, 0.3, 0.0]])
    uniforms = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    ids = draw(probabilities.expand(10_000, -1), uniforms)
    shares = torch.bincount(ids, minlength=5) / 10_000
    torch.testing.assert_close(shares, probabilities[0], atol=1e-3, rtol=0)
    assert shares[1] == 0
    assert shares[4] == 0


def test_draw_never_takes_a_token_without_probability_at_either_end():
    probabilities = torch.tensor([[0.0, 0.4, 0.6, 0.0]])
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(probabilities.expand(2, -1), ends).tolist() == [1, 2]


def test_choose_takes_the_best_token_at_temperature_zero(logits):
    ids = choose(logits, None, Choice(temperature=0), torch.zeros(ROWS))
    assert torch.equal(ids, logits.argmax(dim=-1))


def test_choose_refuses_scores_that_are_not_finite(logits):
    for value in (float("nan"), float("inf")):
        broken = logits.clone()
        broken[2, 7] = value
        with pytest.raises(NonFiniteError, match="not finite"):
            choose(broken, None, Choice(), torch.zeros(ROWS))
