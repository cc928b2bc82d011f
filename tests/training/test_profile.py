"""--profile: the parts of a step add up to its time."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import record_function

from tohum.attention.fused import attend
from tohum.attention.masks import CAUSAL
from tohum.attention.reference import ScoreRule
from tohum.kernels import build
from tohum.kernels.linear import Linear
from tohum.training.profile import PARTS, STEPS, WARM_STEPS, StepProfile


def test_parts_are_told_apart_and_add_up(tmp_path, capfd):
    said = []
    profile = StepProfile(tmp_path, said.append, cuda=False)
    x = torch.randn(256, 256, requires_grad=True)
    q = torch.randn(1, 2, 256, 64)
    for _ in range(WARM_STEPS + STEPS + 2):
        y = x @ x
        F.scaled_dot_product_attention(q, q, q)
        with record_function("loss"):
            loss = (y @ x).square().mean()
        loss.backward()
        with record_function("optimizer"):
            x.data.mul_(0.99)
        x.grad = None
        profile.stepped()
    found = json.loads((tmp_path / "profile.json").read_text())
    assert tuple(found["parts"]) == PARTS
    for name in ("matrix products", "attention", "loss", "optimizer"):
        assert found["parts"][name] > 0
    assert sum(found["parts"].values()) == pytest.approx(found["seconds_per_step"], rel=0.05)
    assert found["gflops_per_second_of_products"] > 0
    assert len(said) == 1
    assert "matrix products" in said[0]
    assert capfd.readouterr().err == ""  # torch's profiler would tell that it starts and stops


def test_products_and_attention_of_our_kernels_are_counted(tmp_path, compiled):
    if not build.possible("matrix products"):
        pytest.skip("no products in bfloat16 on this processor")
    compiled("matrix products", build.LANES[0])
    profile, x = StepProfile(tmp_path, print, cuda=False), torch.randn(256, 128, dtype=torch.bfloat16)
    layer, q = Linear(128, 64).bfloat16(), torch.randn(1, 2, 256, 64, dtype=torch.bfloat16, requires_grad=True)
    for _ in range(WARM_STEPS + STEPS + 1):
        layer(x).square().mean().backward()
        attend(q, q, q, CAUSAL, ScoreRule(scale=0.1)).sum().backward()
        profile.stepped()
    found = json.loads((tmp_path / "profile.json").read_text())
    assert found["parts"]["attention"] > 0
    counted = found["gflops_per_second_of_products"] * found["parts"]["matrix products"] * 1e9
    assert counted == pytest.approx(2 * 2 * 256 * 128 * 64 + 2 * 256 * 64)  # y, dW and the sum for the bias
