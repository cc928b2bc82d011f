"""The input of the first block: table rows, their scale, learned positions."""

import torch

from tohum.embedding.learned import LearnedPositions, NoPositions
from tohum.embedding.token import InputEmbedding


def test_lookup_equals_the_product_with_one_hot_rows():
    torch.manual_seed(0)
    embedding = InputEmbedding(11, 4, scale=1.0, position=NoPositions(), dropout=0.0)
    ids = torch.tensor([[3, 0, 10], [3, 3, 7]])
    one_hot = torch.nn.functional.one_hot(ids, 11).float()
    torch.testing.assert_close(embedding(ids, None), one_hot @ embedding.token.weight)


def test_scale_multiplies_tokens_but_not_positions():
    torch.manual_seed(0)
    embedding = InputEmbedding(11, 4, scale=3.0, position=LearnedPositions(8, 4), dropout=0.0)
    ids = torch.tensor([[3, 5]])
    expected = 3 * embedding.token.weight[ids] + embedding.position.weight[:2]
    torch.testing.assert_close(embedding(ids, None), expected)


def test_learned_positions_given_one_by_one_equal_the_slice_and_may_restart():
    torch.manual_seed(0)
    table, x = LearnedPositions(8, 4), torch.randn(2, 5, 4)
    torch.testing.assert_close(table(x, torch.arange(5).expand(2, 5)), table(x, None))
    restarted = table(x, torch.tensor([[0, 1, 0, 1, 2]] * 2))
    torch.testing.assert_close(restarted[:, 2], x[:, 2] + table.weight[0])
    assert not torch.allclose(restarted, table(x, None))


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    embedding = InputEmbedding(11, 64, scale=1.0, position=NoPositions(), dropout=0.5)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    assert (embedding(ids, None) == 0).float().mean() > 0.2
    assert torch.equal(embedding.eval()(ids, None), embedding.token.weight[ids])
