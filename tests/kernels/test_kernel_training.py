"""The passes of a training step in C against their formulas in float64, forward and backward."""

import pytest
import torch
import torch.nn.functional as F

from tohum.kernels import training as kernels

SHAPES = [(1, 1, 8), (2, 3, 64), (3, 300, 40), (3, 300, 48)]  # the last two are shared among threads; 8 and 16 lanes
FORMATS = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def _compiled(compiled):
    compiled("training")
    torch.manual_seed(0)


def exact(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The same numbers in float64, to be differentiated."""
    return [x.double().requires_grad_() for x in tensors]


def near(found: torch.Tensor, wanted: torch.Tensor, absolute: float = 1e-5) -> None:
    """Equal up to the rounding of the format of what was found."""
    relative = 2**-8 if found.dtype is torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.double(), wanted, rtol=relative, atol=absolute)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(shape, dtype):
    x, gradient, weight = (torch.randn(shape) * 3).to(dtype), torch.randn(shape).to(dtype), torch.randn(shape[-1])
    made, scale = kernels.rms(x, weight, 1e-5)
    dx, dweight = kernels.rms_backward(gradient, x, weight, scale)
    precise, precise_weight = exact(x, weight)
    wanted = F.rms_norm(precise, weight.shape, precise_weight, 1e-5)
    wanted.backward(gradient.double())
    assert made.dtype is dtype
    assert dx.dtype is dtype
    near(made, wanted)
    near(dx, precise.grad)
    near(dweight, precise_weight.grad, 1e-4)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)], ids=["side by side", "transposed"])
@pytest.mark.parametrize("texts_have_positions", [False, True])
def test_rotation_and_its_way_back(order, texts_have_positions, dtype):
    x = torch.randn(3, 40, 5, 32).permute(order).contiguous().permute(order).to(dtype)
    angles = torch.randn((3, 40, 1, 16) if texts_have_positions else (40, 1, 16))
    made = kernels.turn(x, angles.cos(), angles.sin(), back=False)
    first, second = x.double().chunk(2, dim=-1)
    cosines, sines = angles.cos().double(), angles.sin().double()
    near(made, torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1))
    near(kernels.turn(made, angles.cos(), angles.sin(), back=True), x.double(), 1e-5 if dtype is torch.float32 else 0.02)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gated_product(shape, dtype):
    gate, up, gradient = (torch.randn(shape).mul(4).to(dtype) for _ in range(3))
    dgate, dup = kernels.swish_backward(gradient, gate, up)
    precise_gate, precise_up = exact(gate, up)
    wanted = F.silu(precise_gate) * precise_up
    wanted.backward(gradient.double())
    near(kernels.swish(gate, up), wanted)
    near(dgate, precise_gate.grad, 1e-4)
    near(dup, precise_up.grad)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gelu(shape, dtype):
    x, gradient = torch.randn(shape).mul(4).to(dtype), torch.randn(shape).to(dtype)
    (precise,) = exact(x)
    wanted = F.gelu(precise, approximate="tanh")
    wanted.backward(gradient.double())
    near(kernels.gelu(x), wanted)
    near(kernels.gelu_backward(gradient, x), precise.grad)


def test_gelu_of_huge_numbers_is_what_they_go_to():
    found = kernels.gelu(torch.tensor([-1e14, -50.0, 1e14, 50.0] * 4))
    assert found.tolist() == pytest.approx([0.0, 0.0, 1e14, 50.0] * 4, rel=1e-6, abs=1e-20)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("soft_cap", [None, 5.0])
@pytest.mark.parametrize("vocab_size", [3, 8, 50, 1001])
def test_cross_entropy(vocab_size, soft_cap, dtype):
    logits, targets = torch.randn(5, vocab_size).mul(6).to(dtype), torch.randint(0, vocab_size, (5,))
    (precise,) = exact(logits)
    bent = precise if soft_cap is None else soft_cap * torch.tanh(precise / soft_cap)
    wanted = F.cross_entropy(bent, targets, reduction="none")
    wanted.sum().backward()
    losses, sums = kernels.cross_entropy(logits, targets, soft_cap)
    torch.testing.assert_close(losses.double(), wanted.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.double() / sums, precise.grad, rtol=2**-7, atol=2e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_cross_entropy_of_what_is_not_finite_is_not_finite(bad):
    for place in (0, 30, 36):
        logits = torch.randn(2, 37)
        logits[0, place] = bad
        losses, _ = kernels.cross_entropy(logits, torch.tensor([5, 5]), None)
        assert not losses[0].isfinite()
        assert losses[1].isfinite()


def test_a_target_without_a_score_is_refused():
    for target in (-1, 9):
        with pytest.raises(IndexError, match="9 scores"):
            kernels.cross_entropy(torch.zeros(2, 9), torch.tensor([0, target]), None)


def test_the_number_of_threads_changes_no_bit():
    x, weight, gradient = torch.randn(3, 300, 40), torch.randn(40), torch.randn(3, 300, 40)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            made, scale = kernels.rms(x, weight, 1e-5)
            found.append([made, *kernels.rms_backward(gradient, x, weight, scale), kernels.swish(x, gradient),
                          *kernels.cross_entropy(x[0].clone(), torch.arange(300) % 40, None)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_what_it_cannot_take_is_left_to_torch():
    assert kernels.fits(torch.zeros(2, 8), 8)
    assert not kernels.fits(torch.zeros(2, 12), 12)
    assert not kernels.fits(torch.zeros(2, 8, dtype=torch.float64), 8)
    assert not kernels.fits(torch.zeros(0, 8), 8)
    assert not kernels.fits(torch.zeros(2, 8, device="meta"), 8)
