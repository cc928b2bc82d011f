"""Answers as branches of their prompt: laid out as told, and scored as if each stood in a row of its own."""

import numpy as np
import pytest
import torch

from tohum.data_sampling.batch import IGNORED
from tohum.finetuning.batches import Order
from tohum.finetuning.examples import Example, ExampleSet
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import PRESETS
from tohum.preference.batches import PairBatches, SingleBatches
from tohum.preference.objective import PreferenceObjective
from tohum.preference.trees import Trees
from tohum.training.objective import Precision
from tohum.training.ranks import Ranks

P, Q, A, B, C, D = 11, 12, 21, 22, 23, 24


def text(prompt, answer):
    ids = [*prompt, *answer]
    targets = [IGNORED] * len(prompt) + list(answer)
    return Example(ids=ids[:-1], targets=targets[1:])


def sets(*pairs):
    """(prompt of the chosen, chosen, prompt of the rejected, rejected) -> both sets."""
    return [ExampleSet(text(*pair[start : start + 2]) for pair in pairs) for start in (0, 2)]


def test_rows_are_laid_out_as_the_picture_says():
    five, three = [P] * 6, [Q] * 4  # the last token of a prompt stands in each branch
    trees = Trees(sets((five, [A] * 3, five, [B] * 2), (three, [C], three, [D] * 3)))
    assert trees.trunks.tolist() == [5, 3]
    (numbers, rows, answers), = trees.passes(np.arange(2), micro_tokens=100, context=100)
    assert numbers == [0, 1]
    assert rows.documents.tolist() == [[0] * 10 + [1] * 7]
    assert rows.branches.tolist() == [[0] * 5 + [1] * 3 + [2] * 2 + [0] * 3 + [1] + [2] * 3]
    assert rows.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 0, 1, 2, 3, 3, 4, 5]]
    assert answers.tolist() == [[-1] * 5 + [0] * 3 + [2] * 2 + [-1] * 3 + [1] + [3] * 3]
    assert rows.targets[0, 5:10].tolist() == [A, A, A, B, B]
    assert (rows.targets[0, :5] == IGNORED).all()


def test_what_has_no_common_beginning_has_no_trunk():
    trees = Trees(sets(([P, Q], [A], [Q, Q], [B]), ([P], [A, B], [P], [A, C])))
    assert trees.trunks.tolist() == [0, 0]
    assert trees.lengths.tolist() == [4, 4]


def random_pairs(count, vocab_size, longest=12, seed=1):
    chance = np.random.default_rng(seed)

    def tokens():
        return chance.integers(1, vocab_size, chance.integers(1, longest)).tolist()

    pairs = []
    for number in range(count):
        prompt, other = tokens(), tokens()
        chosen = tokens()
        rejected = chosen + tokens() if number == 1 else tokens()  # one answer begins like the other
        pairs.append((prompt, chosen, other if number == 2 else prompt, rejected))
    return sets(*pairs)


def one_by_one(network, examples):
    """Summed log-probabilities of the targets of each example, each in a row of its own."""
    found = []
    for start, size in zip(examples.starts, examples.lengths, strict=True):
        ids, targets = (torch.from_numpy(part[start : start + size].astype(np.int64)) for part in (examples.ids, examples.targets))
        scores = network(ids[None]).log_softmax(-1)[0]
        known = targets != IGNORED
        found.append(scores[known].gather(1, targets[known][:, None]).sum())
    return torch.stack(found)


@pytest.fixture(params=["tiny-llama", "tiny-gpt2", "tiny-gemma2", "tiny-gemma3", "tiny-exaone4"])
def network(request):
    config = PRESETS[request.param]().replace(dropout=0.0, attention_dropout=0.0)
    layers = tuple(layer if layer.attention.window is None else layer.replace(attention=layer.attention.replace(window=5))
                   for layer in config.layers)
    made = Network(config.replace(layers=layers))
    initialise(made, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    return made.double()


def objective_of(network, method="simpo"):
    precision = Precision(dtype=torch.float64, device=torch.device("cpu"))
    return PreferenceObjective(network, precision, method=method, beta=2.0, gamma=0.5, ranks=Ranks())


@pytest.mark.parametrize(("micro_tokens", "context"), [(1000, 128), (60, 128), (1, 128), (1000, 30)])
def test_a_tree_scores_its_answers_as_rows_of_their_own_do(network, micro_tokens, context):
    chosen, rejected = random_pairs(9, 250)
    order = np.array([4, 0, 1, 2, 8, 3, 2, 5, 6, 7])  # one of them twice, as where an epoch ends
    expected = torch.stack([one_by_one(network, chosen), one_by_one(network, rejected)])  # (2, 9)
    source = PairBatches(chosen=chosen, rejected=rejected, micro_tokens=micro_tokens, context=context,
                         order=Order(9, key="", rows_per_step=9))
    seen = []
    numbers = (group for group, _, _ in source.trees.passes(order, micro_tokens=micro_tokens, context=context))
    for group, batch in zip(numbers, source.batches(order), strict=True):
        assert batch.rows.inputs.shape[1] <= context
        found, counts = objective_of(network).log_probabilities(batch)
        torch.testing.assert_close(found.view(2, -1), expected[:, group], rtol=0, atol=1e-10)
        for side, examples in enumerate((chosen, rejected)):
            lengths = [(examples.targets[s : s + n] != IGNORED).sum() for s, n in zip(examples.starts[group], examples.lengths[group], strict=True)]
            assert counts.view(2, -1)[side].tolist() == lengths
        seen += group
    assert sorted(seen) == sorted(order.tolist())


def test_gradients_are_those_of_rows_of_their_own(network):
    chosen, rejected = random_pairs(5, 250, seed=2)
    source = PairBatches(chosen=chosen, rejected=rejected, micro_tokens=1000, context=128, order=Order(5, key="", rows_per_step=5))
    (batch,) = source.batches(np.arange(5))
    objective_of(network).log_probabilities(batch)[0].square().sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    (one_by_one(network, chosen).square().sum() + one_by_one(network, rejected).square().sum()).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-9)


def test_single_answers_are_branches_without_a_trunk(network):
    answers, strangers = random_pairs(6, 250, seed=5)
    objective = objective_of(network, "kto")
    taken = []
    source = SingleBatches(answers=answers, desirable=np.array([True, False] * 3), mismatched=strangers, context=128,
                           micro_tokens=40, order=Order(6, key="", rows_per_step=6),
                           kl=lambda batches: taken.append(batches) or torch.zeros(()))
    batches = list(source.in_order())
    assert len(batches) > 1
    expected = one_by_one(network, answers)
    groups = [group for group, _, _ in source.trees[0].passes(np.arange(6), micro_tokens=40, context=128)]
    for group, batch in zip(groups, batches, strict=True):
        torch.testing.assert_close(objective.log_probabilities(batch)[0], expected[group], rtol=0, atol=1e-10)
        assert batch.desirable.tolist() == [number % 2 == 0 for number in group]
    assert sum(batch.count for batch in taken[0]) == 6


def test_a_prompt_is_read_once_for_both_answers():
    chosen, rejected = sets(*[([P] * 40, [A] * 5, [P] * 40, [B] * 5)] * 8)
    passes = list(Trees([chosen, rejected]).passes(np.arange(8), micro_tokens=1024, context=1024))
    read = sum(rows.inputs.numel() for _, rows, _ in passes)
    assert read <= 8 * (39 + 5 + 5) * 1.05
    assert 1.7 * read < 2 * 8 * 44  # a row for each answer
