"""Loss, perplexity, bits per byte: equal to the definition, streamed, without side effects."""

import math
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F

from tohum.data_sampling.batch import IGNORED, Batch
from tohum.data_sampling.loader import text_batches
from tohum.errors import DataError, NonFiniteError
from tohum.evaluation.perplexity import evaluate, summary
from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.network import Network

VOCAB = 97
BYTES = np.array([0, *([1, 2, 3, 4] * 24)], np.int32)  # id 0 is special and spells nothing


def build(vocab: int = VOCAB, **settings) -> Network:
    attention = AttentionSpec(heads=2, kv_heads=2, head_width=8, rope_base=10_000.0)
    layer = LayerSpec(attention=attention, feed_forward=FeedForwardSpec(kind="swiglu", width=48))
    config = ModelConfig(vocab_size=vocab, width=32, context=16, layers=(layer, layer), dropout=0.3,
                         norm=NormSpec(kind="rms", eps=1e-6), **settings)
    torch.manual_seed(0)
    network = Network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def ids(count: int) -> list[int]:
    return torch.randint(VOCAB, (count,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize("soft_cap", [None, 5.0])
def test_perplexity_equals_the_definition(soft_cap):
    network, text = build(logit_soft_cap=soft_cap).eval(), ids(150)
    nats, targets = 0.0, []
    for start in range(0, len(text) - 1, 16):
        inputs, wanted = text[start : start + 16], text[start + 1 : start + 17]
        with torch.no_grad():
            logits = network.logits(torch.tensor([inputs[: len(wanted)]]))[0]
        nats += F.cross_entropy(logits, torch.tensor(wanted), reduction="sum").item()
        targets += wanted
    size = sum(int(BYTES[token]) for token in targets)
    found = evaluate(network, text_batches(text, max_length=16, rows=3), BYTES)
    assert (found.tokens, found.bytes) == (149, size)
    assert found.loss == pytest.approx(nats / 149, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / 149), rel=1e-4)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_perplexity_does_not_depend_on_the_rows_per_batch():
    network, text = build(), ids(400)
    results = [evaluate(network, text_batches(text, max_length=16, rows=rows), BYTES) for rows in (1, 7, 64)]
    assert len({(result.tokens, result.bytes) for result in results}) == 1
    assert [result.loss for result in results] == pytest.approx([results[0].loss] * 3, rel=1e-6)


def test_perplexity_of_equal_scores_is_the_size_of_the_vocabulary():
    network = build()
    torch.nn.init.zeros_(network.final_norm.weight)
    found = evaluate(network, text_batches(ids(60), max_length=16, rows=4), BYTES)
    assert found.perplexity == pytest.approx(VOCAB, rel=1e-5)


def test_perplexity_counts_special_tokens_in_the_loss_but_not_in_the_bytes():
    network = build()
    targets = torch.tensor([[0, 5, IGNORED, IGNORED]])
    batch = Batch(inputs=torch.tensor([[3, 0, 5, 0]]), targets=targets)
    found = evaluate(network, [batch], BYTES)
    assert (found.tokens, found.bytes) == (2, int(BYTES[5]))


def test_perplexity_of_isolated_documents_equals_each_alone():
    network, first, second = build(), ids(6), ids(12)[6:]
    row = Batch(inputs=torch.tensor([first + second]), documents=torch.tensor([[0] * 6 + [1] * 6], dtype=torch.int32),
                targets=torch.tensor([[*first[1:], IGNORED, *second[1:], IGNORED]]),
                positions=torch.tensor([[*range(6), *range(6)]]))
    alone = [evaluate(network, text_batches(text, max_length=16, rows=1), BYTES) for text in (first, second)]
    assert evaluate(network, [row], BYTES).loss == pytest.approx((alone[0].loss + alone[1].loss) / 2, rel=1e-5)


def test_perplexity_leaves_modes_gradients_and_randomness_alone():
    network = build().train()
    network.blocks[0].eval()
    modes, before = [module.training for module in network.modules()], torch.get_rng_state()
    first, second = (evaluate(network, text_batches(ids(50), max_length=16, rows=2), BYTES) for _ in range(2))
    assert first == second  # dropout was off
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_perplexity_in_bfloat16_is_close_to_float32():
    network, text = build(), ids(300)
    exact = evaluate(network, text_batches(text, max_length=16, rows=4), BYTES)
    narrow = evaluate(network, text_batches(text, max_length=16, rows=4), BYTES, dtype=torch.bfloat16)
    assert narrow.loss != exact.loss
    assert narrow.loss == pytest.approx(exact.loss, rel=0.01)


def test_perplexity_memory_is_flat_from_ten_to_a_thousand_batches():
    vocab = 5000
    network, lengths, process = build(vocab=vocab), np.ones(vocab, np.int32), psutil.Process()
    seen: list[int] = []

    def batches(count: int) -> Iterator[Batch]:
        for number in range(count):
            tokens = torch.randint(vocab, (2, 5), generator=torch.Generator().manual_seed(number))
            if number % 10 == 9:
                seen.append(process.memory_info().rss)
            yield Batch(inputs=tokens[:, :-1], targets=tokens[:, 1:])

    evaluate(network, batches(10), lengths)
    after_ten = max(seen)
    evaluate(network, batches(1000), lengths)
    assert max(seen) - after_ten < 20e6  # stored logits of 1,000 batches would be 160 MB


def test_perplexity_refuses_nothing_to_predict_and_broken_weights():
    network = build()
    with pytest.raises(DataError, match="0 tokens to predict"):
        evaluate(network, [], BYTES)
    with pytest.raises(DataError, match="1 tokens to predict that spell 0 bytes"):
        summary(1.0, 1, 0)
    torch.nn.init.constant_(network.final_norm.weight, float("nan"))
    with pytest.raises(NonFiniteError, match="loss over 15 tokens is nan"):
        evaluate(network, text_batches(ids(16), max_length=16, rows=1), BYTES)
    assert network.training
