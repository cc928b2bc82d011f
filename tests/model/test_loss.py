"""Chunked cross-entropy equals the plain one in value and gradient, and its memory does not grow."""

import pytest
import torch
import torch.nn.functional as F

from tohum.data_sampling.batch import IGNORED
from tohum.model.loss import chunk_rows, chunks, cross_entropy_sum, token_losses


def plain(hidden, head, targets, soft_cap):
    logits = hidden @ head.T
    if soft_cap:
        logits = soft_cap * torch.tanh(logits / soft_cap)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize("most", [1, 5, 1000])
def test_chunked_loss_equals_the_plain_loss_in_value_and_gradients(soft_cap, most):
    torch.manual_seed(0)
    hidden = torch.randn(3, 7, 16, dtype=torch.float64, requires_grad=True)
    head = torch.randn(29, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(29, (3, 7))
    targets[0, :3] = targets[2, 5] = IGNORED
    expected = plain(hidden, head, targets, soft_cap) * 0.37
    wanted = torch.autograd.grad(expected, (hidden, head))
    loss = cross_entropy_sum(hidden, head, targets, dtype=torch.float64, soft_cap=soft_cap,
                             chunk_elements=most * 29) * 0.37
    found = torch.autograd.grad(loss, (hidden, head))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, wanted)
    with torch.no_grad():
        value = cross_entropy_sum(hidden, head, targets, dtype=torch.float64, soft_cap=soft_cap)
    torch.testing.assert_close(value * 0.37, expected)


@pytest.mark.parametrize(("rows", "frozen", "sizes"), [(0, False, []), (512, False, [512]), (513, False, [257, 256]),
                                                       (1024, True, [342, 342, 340]), (384, True, [384])])
def test_chunks_are_of_one_size_and_smaller_where_the_head_is_frozen(rows, frozen, sizes):
    most = chunk_rows(50_000, "cpu", 2, frozen=frozen)
    found = list(chunks(torch.zeros(rows, 2), torch.zeros(7, 2), most, torch.bfloat16))
    assert [buffer.shape[0] for _, buffer in found] == sizes
    assert [here.stop - here.start for here, _ in found] == sizes
    assert sizes == [] or found[-1][0].stop == rows


def test_a_batch_without_targets_has_loss_zero_and_zero_gradients():
    hidden = torch.randn(2, 3, 8, requires_grad=True)
    head = torch.randn(5, 8, requires_grad=True)
    loss = cross_entropy_sum(hidden, head, torch.full((2, 3), IGNORED), dtype=torch.float32)
    loss.backward()
    assert loss == 0
    assert not hidden.grad.any()


def test_bf16_products_keep_the_loss_close():
    torch.manual_seed(0)
    hidden, head = torch.randn(64, 32), torch.randn(50, 32) * 0.1
    targets = torch.randint(50, (64,))
    exact = cross_entropy_sum(hidden, head, targets, dtype=torch.float32)
    rough = cross_entropy_sum(hidden, head, targets, dtype=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert abs(rough - exact) / exact < 0.01


def test_no_tensor_of_tokens_times_vocabulary_is_ever_made():
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for value in out if isinstance(out, tuple | list) else [out]:
                if isinstance(value, torch.Tensor):
                    largest = max(largest, value.numel())
            return out

    hidden = torch.randn(4096, 8, requires_grad=True)
    head = torch.randn(512, 8, requires_grad=True)
    with Sizes():
        cross_entropy_sum(hidden, head, torch.randint(512, (4096,)), dtype=torch.float32,
                          chunk_elements=64 * 512).backward()
    assert largest <= 64 * 512  # against 4096 * 512 for plain logits


def test_a_second_backward_pass_is_refused_not_wrong():
    hidden, head = torch.randn(6, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    loss = cross_entropy_sum(hidden, head, torch.arange(6), dtype=torch.float32)
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second backward pass"):
        loss.backward()


@pytest.mark.parametrize("wanted", ["sum", "each"])
@pytest.mark.parametrize("elements", [None, 41 * 7])
def test_products_in_bfloat16_change_gradients_by_rounding_alone(wanted, elements):
    """Chunks of six rows, whose parts of the head's gradient are added up."""
    torch.manual_seed(0)
    hidden = torch.randn(16, 30).T.requires_grad_()  # (30, 16), its columns side by side
    head, targets = torch.randn(41, 16, requires_grad=True), torch.randint(0, 41, (30,), dtype=torch.int32)
    precise = [x.detach().double().requires_grad_() for x in (hidden, head)]
    F.cross_entropy(precise[0] @ precise[1].T, targets.long(), reduction="sum").backward()
    if wanted == "sum":
        loss = cross_entropy_sum(hidden, head, targets, dtype=torch.bfloat16, chunk_elements=elements)
    else:
        loss = token_losses(hidden, head, targets.long(), dtype=torch.bfloat16, chunk_elements=elements).sum()
    loss.backward()
    for mine, exact in zip((hidden, head), precise, strict=True):
        assert (mine.grad - exact.grad).abs().max() < 0.03 * exact.grad.abs().max()
