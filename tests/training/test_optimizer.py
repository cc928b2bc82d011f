"""AdamW and Muon against torch's own, grouping, and state that survives a save."""

import pytest
import torch
from torch import nn

from tohum.training.optimizer import Muon, Optimizer, OptimizerConfig, orthogonalise


class Toy(nn.Module):
    """Parameters named as the network's are."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(8, 16), "down": nn.Linear(16, 8, bias=False)})
                                    for _ in range(2))


def toy_with_gradients(seed: int = 0) -> Toy:
    torch.manual_seed(seed)
    toy = Toy()
    for p in toy.parameters():
        p.grad = torch.randn_like(p)
    return toy


def test_muon_equals_torchs_muon():
    torch.manual_seed(0)
    ours = {f"blocks.{i}.w": nn.Parameter(torch.randn(24, 16)) for i in range(3)}
    theirs = [nn.Parameter(p.detach().clone()) for p in ours.values()]
    config = OptimizerConfig(lr=0.02, weight_decay=0.1, momentum=0.95)
    muon, reference = Muon(ours, config, torch.bfloat16), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95)
    for _ in range(4):
        for mine, other in zip(ours.values(), theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        muon.step(1.0)
        reference.step()
    for mine, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-3, rtol=0)  # bfloat16 inside, in another order of sums


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_orthogonalising_brings_all_singular_values_near_one(shape, dtype):
    torch.manual_seed(1)
    made = orthogonalise(torch.randn(shape).to(dtype))
    assert made.dtype == dtype
    values = torch.linalg.svdvals(made.float())
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_matrices_of_blocks_go_to_muon_and_all_else_to_adamw():
    optimizer = Optimizer(Toy(), OptimizerConfig(kind="muon"))
    assert sorted(optimizer.muon.parameters) == ["blocks.0.down.weight", "blocks.0.up.weight",
                                                 "blocks.1.down.weight", "blocks.1.up.weight"]
    assert sorted(optimizer.adamw.parameters) == ["blocks.0.up.bias", "blocks.1.up.bias", "embedding.weight"]


def test_adamw_has_the_bits_of_torchs_fused_adamw():
    ours, theirs = toy_with_gradients(), toy_with_gradients()
    optimizer = Optimizer(ours, OptimizerConfig(kind="adamw", lr=0.01, weight_decay=0.1))
    matrices, vectors = ([p for p in theirs.parameters() if (p.ndim >= 2) is wanted] for wanted in (True, False))
    reference = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=0.01, betas=(0.9, 0.95), eps=1e-10, fused=True)
    for step in range(5):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = None if step == 2 and a.ndim == 1 else torch.randn_like(a)  # without one it is left out
            b.grad = a.grad if a.grad is None else a.grad.clone()
        optimizer.step(1.0)
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert all(p.grad is None for p in ours.parameters())


def test_biases_and_norms_are_not_decayed():
    toy = toy_with_gradients()
    for p in toy.parameters():
        p.grad = torch.zeros_like(p)
    before = {name: p.detach().clone() for name, p in toy.named_parameters()}
    Optimizer(toy, OptimizerConfig(kind="adamw", lr=0.1, weight_decay=0.5)).step(1.0)
    after = dict(toy.named_parameters())
    assert torch.equal(after["blocks.0.up.bias"], before["blocks.0.up.bias"])
    torch.testing.assert_close(after["embedding.weight"], before["embedding.weight"] * 0.95)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_restored_state_gives_the_same_bits_as_no_interruption(kind):
    config = OptimizerConfig(kind=kind)
    whole, broken = toy_with_gradients(), toy_with_gradients()
    first, second = Optimizer(whole, config), Optimizer(broken, config)
    gradients = [[torch.randn_like(p) for p in whole.parameters()] for _ in range(4)]

    def run(toy, optimizer, some):
        for step in some:
            for p, g in zip(toy.parameters(), step, strict=True):
                p.grad = g.clone()
            optimizer.step(0.5)

    run(whole, first, gradients)
    run(broken, second, gradients[:2])
    again = Optimizer(broken, config)
    again.restore({name: value.clone() for name, value in second.state().items()})
    run(broken, again, gradients[2:])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


def test_restoring_state_of_another_shape_is_refused():
    toy = toy_with_gradients()
    state = Optimizer(toy, OptimizerConfig()).state()
    state["adamw.embedding.weight.exp_avg"] = torch.zeros(1)  # which a copy would spread over all rows
    with pytest.raises(KeyError, match=r"embedding\.weight\.exp_avg: shape"):
        Optimizer(toy, OptimizerConfig()).restore(state)


def test_restoring_incomplete_state_is_refused():
    toy = toy_with_gradients()
    optimizer = Optimizer(toy, OptimizerConfig())
    optimizer.step(1.0)
    state = {k: v for k, v in optimizer.state().items() if "embedding" not in k}
    with pytest.raises(KeyError, match="embedding"):
        Optimizer(toy, OptimizerConfig()).restore(state)
