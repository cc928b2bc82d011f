"""The passes of a training step in C against their formulas in float64, forward and backward."""

import pytest
import torch
import torch.nn.functional as F

from tohum.kernels import training as kernels

SHAPES = [(1, 1, 8), (2, 3, 64), (3, 300, 40)]  # the last is shared among threads


@pytest.fixture(autouse=True)
def _compiled(compiled):
    compiled("training")
    torch.manual_seed(0)


def exact(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The same numbers in float64, to be differentiated."""
    return [x.double().requires_grad_() for x in tensors]


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(shape):
    x, weight, gradient = torch.randn(shape) * 3, torch.randn(shape[-1]), torch.randn(shape)
    made, scale = kernels.rms(x, weight, 1e-5)
    dx, dweight = kernels.rms_backward(gradient, x, weight, scale)
    precise, precise_weight = exact(x, weight)
    F.rms_norm(precise, weight.shape, precise_weight, 1e-5).backward(gradient.double())
    torch.testing.assert_close(made.double(), F.rms_norm(precise, weight.shape, precise_weight, 1e-5), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dx.double(), precise.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dweight.double(), precise_weight.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)], ids=["side by side", "transposed"])
@pytest.mark.parametrize("texts_have_positions", [False, True])
def test_rotation_and_its_way_back(order, texts_have_positions):
    x = torch.randn(3, 40, 5, 32).permute(order).contiguous().permute(order)
    angles = torch.randn((3, 40, 1, 16) if texts_have_positions else (40, 1, 16))
    made = kernels.turn(x, angles.cos(), angles.sin(), back=False)
    first, second = x.double().chunk(2, dim=-1)
    cosines, sines = angles.cos().double(), angles.sin().double()
    wanted = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
    torch.testing.assert_close(made.double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(kernels.turn(made, angles.cos(), angles.sin(), back=True), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gated_product(shape):
    gate, up, gradient = torch.randn(shape) * 4, torch.randn(shape), torch.randn(shape)
    dgate, dup = kernels.swish_backward(gradient, gate, up)
    precise_gate, precise_up = exact(gate, up)
    wanted = F.silu(precise_gate) * precise_up
    wanted.backward(gradient.double())
    torch.testing.assert_close(kernels.swish(gate, up).double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dgate.double(), precise_gate.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dup.double(), precise_up.grad, rtol=1e-5, atol=1e-5)


def test_the_number_of_threads_changes_no_bit():
    x, weight, gradient = torch.randn(3, 300, 40), torch.randn(40), torch.randn(3, 300, 40)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            made, scale = kernels.rms(x, weight, 1e-5)
            found.append([made, *kernels.rms_backward(gradient, x, weight, scale), kernels.swish(x, gradient)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_what_it_cannot_take_is_left_to_torch():
    assert kernels.fits(torch.zeros(2, 8), 8)
    assert not kernels.fits(torch.zeros(2, 12), 12)
    assert not kernels.fits(torch.zeros(2, 8, dtype=torch.float64), 8)
    assert not kernels.fits(torch.zeros(0, 8), 8)
    assert not kernels.fits(torch.zeros(2, 8, device="meta"), 8)
