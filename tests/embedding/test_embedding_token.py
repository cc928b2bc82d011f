"""The input of the first block: table rows, their scale, learned positions."""

import pytest
import torch

from tohum.embedding.learned import LearnedPositions, NoPositions
from tohum.embedding.token import InputEmbedding, TokenTable


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


@pytest.mark.parametrize("head", [True, False])
def test_rows_that_are_added_in_place_make_the_gradient_of_autograd(head):
    """With a head that reads the table and without, over two passes, ids that repeat and ids that are absent."""
    torch.manual_seed(1)
    found = []
    weight, ids = torch.randn(50, 8), torch.randint(0, 20, (2, 2, 6))
    for adds in (False, True):
        table = TokenTable(50, 8)
        table.weight.data.copy_(weight)
        table.adds_rows = adds
        for part in ids:
            x = table(part)
            x = x @ table.matrix().T if head else x
            x.sin().sum().backward()
        found.append(table.weight.grad)
    assert torch.allclose(*found, atol=1e-5)
    assert found[0].abs().sum() > 1


def test_more_ids_than_rows_are_left_to_autograd():
    table = TokenTable(5, 4)
    table.adds_rows = True
    assert "Embedding" in table(torch.zeros(1, 5, dtype=torch.int64)).grad_fn.name()
    assert "Rows" in table(torch.zeros(1, 4, dtype=torch.int64)).grad_fn.name()
    with torch.no_grad():
        assert table(torch.zeros(1, 4, dtype=torch.int64)).grad_fn is None
