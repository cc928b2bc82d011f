"""Matrices and norms of the library against torch, in every format and for every number of tokens."""

import pytest
import torch
from torch import nn

from tohum.kernels import build, structs
from tohum.kernels.run import run_linear, run_norm
from tohum.model.int8 import to_bytes


@pytest.fixture(params=build.LANES, ids=lambda lanes: f"{lanes} lanes")
def kernels(request, compiled):
    """The library for vectors of each length that the processor has."""
    if request.param > build.lanes_for():
        pytest.skip("no vectors of 512 bits")
    return compiled("decoding", request.param)


FORMATS = [torch.float32, torch.bfloat16, torch.float16, torch.int8]


def layer(kind: torch.dtype, out: int, width: int, *, bias: bool = True):
    """A matrix struct, the matrix that it stands for in float64, and what must stay alive."""
    weight, kept = torch.randn(out, width), []
    bias = torch.randn(out) if bias else None
    if kind == torch.int8:
        values, factors = to_bytes(weight)
        made = structs.matrix(values, kept, factors=factors, bias=bias)
        return made, values.double() * factors.double()[:, None], bias, kept
    weight = weight.to(kind)
    return structs.matrix(weight, kept, bias=bias), weight.double(), bias, kept


@pytest.mark.parametrize("kind", FORMATS, ids=str)
@pytest.mark.parametrize(("out", "width"), [(1, 8), (7, 24), (61, 40), (61, 48), (64, 576), (300, 64), (8, 1536)])
@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 8, 15, 16, 17, 31])
def test_a_product_is_torch_s_within_rounding(compiled, kind, out, width, tokens):
    kernels = compiled("decoding", build.lanes_for(width))
    torch.manual_seed(out)
    made, weight, bias, kept = layer(kind, out, width)
    x = torch.randn(tokens, width)
    expected = x.double() @ weight.T + bias
    assert len(kept) >= 2
    found = run_linear(kernels, made, x)
    error = 2e-6 if kind != torch.int8 else 3e-5  # whole numbers of 16 bits in place of x
    assert (found - expected).abs().max() < error * width**0.5 * expected.abs().max()


@pytest.mark.parametrize("width", [16, 4096, 24_000])
def test_sums_of_bytes_do_not_overflow(compiled, width):
    """The largest bytes and the largest numbers, all of one sign, and beside them a vector of zeros and a tiny one."""
    values, kept = torch.full((32, width), 127, dtype=torch.int8), []
    values[1] = -128
    made = structs.matrix(values, kept, factors=torch.ones(32))
    x = torch.cat((torch.full((1, width), 3e30), torch.zeros(1, width), torch.full((1, width), 1e-30)))
    found = run_linear(compiled("decoding", build.lanes_for(width)), made, x)
    assert torch.allclose(found.double(), x.double() @ values.T.double(), rtol=1e-4, atol=0)


def test_bytes_of_numbers_that_are_not_finite(kernels):
    made, _, _, _kept = layer(torch.int8, 16, 48)
    x = torch.ones(3, 48)
    x[0, 3], x[2, 5] = float("nan"), float("inf")
    found = run_linear(kernels, made, x)
    assert found[1].isfinite().all()
    assert not found[0].isfinite().any()
    assert not found[2].isfinite().any()


@pytest.mark.parametrize("kind", FORMATS, ids=str)
def test_a_token_s_bits_are_the_same_alone_in_company_and_on_more_threads(kernels, kind):
    torch.manual_seed(0)
    made, _, _, _kept = layer(kind, 333, 80, bias=False)
    x = torch.randn(39, 80)
    alone = torch.cat([run_linear(kernels, made, row[None]) for row in x])
    for count in range(1, 40):
        assert torch.equal(run_linear(kernels, made, x[:count].clone()), alone[:count])
    torch.set_num_threads(3)
    for count in (1, 8, 39):
        assert torch.equal(run_linear(kernels, made, x[:count].clone()), alone[:count])


@pytest.mark.parametrize("kind", ["rms", "layer", "layer without bias"])
def test_a_norm_is_torch_s_within_rounding(kernels, kind):
    torch.manual_seed(1)
    x, weight, bias = torch.randn(5, 80) * 3 + 1, torch.randn(80), torch.randn(80)
    kept = []
    if kind == "rms":
        made, expected = structs.norm(weight, 1e-5, kept), nn.functional.rms_norm(x, (80,), weight, 1e-5)
    else:
        bias = bias if kind == "layer" else None
        made = structs.norm(weight, 1e-5, kept, bias=bias, centred=True)
        expected = nn.functional.layer_norm(x, (80,), weight, bias, 1e-5)
    torch.testing.assert_close(run_norm(kernels, made, x), expected, rtol=2e-6, atol=2e-6)


def test_numbers_that_are_not_finite_stay_so(kernels):
    made, _, _, _kept = layer(torch.float32, 16, 16)
    x = torch.ones(2, 16)
    x[1, 3] = float("nan")
    found = run_linear(kernels, made, x)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()
