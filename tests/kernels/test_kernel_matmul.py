"""Products of matmul.c against torch's in float64: every format, both ways in which k may lie, every edge."""

import pytest
import torch
import torch.nn.functional as F

from tohum.kernels import build
from tohum.kernels import matmul as kernels
from tohum.kernels.linear import Linear, narrow_linear

SHAPES = [(1, 1, 1), (7, 5, 3), (12, 32, 64), (50, 100, 33), (100, 50, 33), (300, 17, 70), (40, 70, 6500), (70, 40, 6500)]


@pytest.fixture(autouse=True)
def _compiled(compiled):
    if not build.possible("matrix products"):
        pytest.skip("no AVX512-BF16")
    compiled("matrix products", build.LANES[0])
    torch.manual_seed(0)


def matrix(rows: int, columns: int, dtype: torch.dtype, turned: bool) -> torch.Tensor:
    """(rows, columns), which lies the other way in memory if turned; a part of a wider one."""
    shape = (columns, rows + 3) if turned else (rows, columns + 3)
    x = torch.randint(-127, 128, shape).to(torch.int8) if dtype is torch.int8 else torch.randn(shape).to(dtype)
    return x[:, :rows].T if turned else x[:, :columns]


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("formats", [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16),
                                     (torch.bfloat16, torch.int8)])
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape, formats, turned):
    rows, columns, inner = shape
    left = matrix(rows, inner, formats[0], turned[0])
    right = matrix(inner, columns, formats[1], turned[1])
    bias, factors = torch.randn(columns), torch.rand(columns)
    exact = left.bfloat16().double() @ right.bfloat16().double()
    limit = 1e-6 * inner**0.5 * exact.abs().max()
    plain = kernels.matmul(left, right, torch.full((rows, columns), torch.nan))
    assert (plain - exact).abs().max() < limit
    scaled = kernels.matmul(left, right, torch.empty(rows, columns), bias=bias, factors=factors)
    assert (scaled - (exact * factors + bias)).abs().max() < 2 * limit + 1e-6
    before = torch.randn(rows, columns + 2)
    wider = before.clone()  # the result is a part of it
    added = kernels.matmul(left, right, wider[:, :columns], add=True)
    assert (added - (exact + before[:, :columns])).abs().max() < 2 * limit + 1e-6
    assert torch.equal(kernels.matmul(left, right, wider[:, :columns]), plain)
    assert torch.equal(wider[:, columns:], before[:, columns:])
    narrow = kernels.matmul(left, right, torch.empty(rows, columns, dtype=torch.bfloat16))
    assert torch.equal(narrow, plain.bfloat16())


def test_a_number_has_the_same_bits_in_any_company_and_on_any_number_of_threads():
    left, right = torch.randn(90, 7000).bfloat16(), torch.randn(7000, 100)
    whole = kernels.matmul(left, right, torch.empty(90, 100))
    for rows in (1, 11, 13, 89):
        assert torch.equal(kernels.matmul(left[:rows], right, torch.empty(rows, 100)), whole[:rows])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(kernels.matmul(left, right, torch.empty(90, 100)), whole)
    finally:
        torch.set_num_threads(threads)


def test_what_is_not_finite_stays_so():
    left, right = torch.ones(20, 40), torch.ones(40, 50)
    left[3, 5], left[4, 6] = float("nan"), float("inf")
    found = kernels.matmul(left, right, torch.empty(20, 50))
    assert found[3].isnan().all()
    assert found[4].isinf().all()
    assert found[5:].eq(40).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(40, 24), (3, 30, 24)])
def test_a_linear_layer_under_autocast(shape, bias):
    layer = Linear(24, 56, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype is torch.bfloat16
    gradient = torch.randn_like(y)
    y.backward(gradient)
    precise = x.detach().bfloat16().double().requires_grad_()
    weight = layer.weight.detach().bfloat16().double().requires_grad_()
    wanted = F.linear(precise, weight, layer.bias.detach().double() if bias else None)
    wanted.backward(gradient.double())
    assert (y - wanted).abs().max() < 2**-8 * wanted.abs().max()
    assert x.grad.dtype is layer.weight.grad.dtype is torch.float32
    torch.testing.assert_close(x.grad.double(), precise.grad, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(layer.weight.grad.double(), weight.grad, rtol=1e-5, atol=1e-4)
    if bias:
        torch.testing.assert_close(layer.bias.grad.double(), gradient.double().flatten(0, -2).sum(0), rtol=1e-5, atol=1e-4)


def test_bytes_pass_gradients_to_what_they_read():
    values, factors = torch.randint(-127, 128, (56, 24)).to(torch.int8), torch.rand(56).bfloat16()
    x = torch.randn(40, 24).bfloat16().requires_grad_()
    y = narrow_linear(x, values, None, factors)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    weight = values.double() * factors.double()[:, None]
    assert (y - x.double() @ weight.T).abs().max() < 2**-8 * (x.double() @ weight.T).abs().max()
    wanted = gradient.double() @ weight
    assert (x.grad - wanted).abs().max() < 2**-7 * wanted.abs().max()


def test_what_it_cannot_take_is_left_to_torch():
    assert kernels.fits(torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.int8))
    assert not kernels.fits(torch.zeros(2, 3).double())
    assert not kernels.fits(torch.zeros(2, 3), torch.zeros(0, 3))
    assert not kernels.fits(torch.zeros(2, 3, device="meta"))
