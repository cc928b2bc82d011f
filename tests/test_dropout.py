"""Dropout against its definition: shares, means and independence; one mask forward and backward, on any way to it."""

import pytest
import torch

from tohum import dropout
from tohum.dropout import Dropout, draws, drop, dropped


def key(seed: int) -> torch.Tensor:
    """Of one call."""
    return torch.randint(-2**31, 2**31, (2,), dtype=torch.int32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_the_share_that_is_dropped_and_the_mean_that_is_kept(rate):
    torch.manual_seed(1)
    x = torch.ones(1000, 512)
    made = dropped(x, rate)
    spread = (rate * (1 - rate) / x.numel()) ** 0.5
    assert (made == 0).double().mean().item() == pytest.approx(rate, abs=5 * spread)
    assert made[made != 0].unique().tolist() == pytest.approx([1 / (1 - rate)])
    assert made.double().mean().item() == pytest.approx(1, abs=5 * spread / (1 - rate))
    assert (made == 0).double().mean(dim=0).sub(rate).abs().max() < 6 * (rate * (1 - rate) / 1000) ** 0.5


def test_draws_are_uniform_bit_by_bit_and_those_of_places_and_keys_are_independent():
    count = 1 << 18
    first, second = draws(key(1), count), draws(key(2), count)
    limit = 6 / count**0.5  # six standard deviations of a mean of +1 and -1
    for one, other in [(first, second), (first[1:], first[:-1]), (first[512:], first[:-512])]:
        signs = [2.0 * (numbers[:, None] >> torch.arange(31) & 1) - 1 for numbers in (one, other)]
        assert signs[0].mean(dim=0).abs().max() < limit
        assert (signs[0].T @ signs[1] / len(one)).abs().max() < limit
    neighbours = draws(key(1) + torch.tensor([1, 0], dtype=torch.int32), count)
    assert abs(torch.corrcoef(torch.stack([first, neighbours]).double())[0, 1].item()) < limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 300, 40), (3, 300, 48)])
def test_compiled_kernels_drop_what_torch_drops(shape, dtype, compiled, monkeypatch):
    compiled("training")
    torch.manual_seed(0)
    x = torch.randn(shape).mul(3).to(dtype)
    x[..., 0], x[..., 1] = torch.inf, torch.nan
    fast = drop(x, key(3), 0.25)
    monkeypatch.setattr(dropout.kernels, "fits", lambda *_: False)
    slow = drop(x, key(3), 0.25)
    assert fast.dtype is slow.dtype is dtype
    torch.testing.assert_close(fast, slow, rtol=0, atol=0, equal_nan=True)


def test_the_gradient_is_dropped_where_the_number_was():
    torch.manual_seed(0)
    x = torch.randn(4, 64, requires_grad=True)
    made = dropped(x, 0.5)
    made.backward(torch.ones_like(made))
    assert torch.equal(x.grad == 0, made == 0)
    assert x.grad.unique().tolist() == [0, 2]


def test_gradients_of_numbers_that_do_not_stand_side_by_side():
    torch.manual_seed(0)
    x = torch.randn(5, 3, 8, dtype=torch.float64).transpose(0, 1).requires_grad_()

    def same(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)
        return dropped(x, 0.4)

    assert torch.autograd.gradcheck(same, x)
    narrow = x.detach().float()
    torch.testing.assert_close(same(narrow), same(narrow.contiguous()), rtol=0, atol=0)


def test_the_generator_decides_and_evaluation_keeps_everything():
    layer, x = Dropout(0.5), torch.randn(4, 64)
    torch.manual_seed(5)
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert layer.eval()(x) is x


def test_the_result_does_not_depend_on_the_number_of_threads():
    x, threads, made = torch.randn(64, 1024), torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            made.append(drop(x, key(1), 0.3))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*made)


@pytest.mark.slow
def test_compiled_too_the_gradient_is_dropped_where_the_number_was_and_the_generator_decides():
    run = torch.compile(lambda x: dropped(x, 0.25), fullgraph=True)

    def made() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        x = torch.ones(512, 128, requires_grad=True)
        y = run(x)
        y.backward(torch.ones_like(y))
        return y.detach(), x.grad

    (first, gradient), (again, _) = made(), made()
    assert torch.equal(first, again)
    assert torch.equal(first, gradient)
    assert (first == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
