"""Masks: who may read whom, and that no matrix is made where order alone decides."""

import torch

from tohum.attention.masks import CAUSAL, EVERYTHING, as_matrix, build_masks

IDS = torch.zeros(1, 6, dtype=torch.int64)


def picture(mask):
    scores = torch.zeros(1, 1, 6, 6)
    matrix = as_matrix(mask, scores).expand(1, 1, 6, 6)[0, 0]
    return ["".join("x" if seen else "." for seen in row) for row in matrix.tolist()]


def test_plain_batches_need_no_matrix():
    assert build_masks((None, 6, 100), IDS, None) == (CAUSAL, CAUSAL, CAUSAL)


def test_causal_mask_reads_itself_and_what_was_before():
    assert picture(CAUSAL) == ["x.....", "xx....", "xxx...", "xxxx..", "xxxxx.", "xxxxxx"]


def test_window_counts_the_token_itself():
    assert picture(build_masks((2,), IDS, None)[0]) == ["x.....", "xx....", ".xx...", "..xx..", "...xx.", "....xx"]


def test_documents_do_not_read_each_other():
    documents = torch.tensor([[0, 0, 0, 1, 1, 1]])
    assert picture(build_masks((None,), IDS, documents)[0]) == [
        "x.....", "xx....", "xxx...", "...x..", "...xx.", "...xxx"]


def test_window_and_documents_together():
    documents = torch.tensor([[0, 0, 0, 0, 1, 1]])
    assert picture(build_masks((2,), IDS, documents)[0]) == ["x.....", "xx....", ".xx...", "..xx..", "....x.", "....xx"]


def test_branches_read_themselves_and_their_trunk():
    zeros, branches = torch.zeros_like(IDS), torch.tensor([[0, 0, 1, 1, 2, 2]])
    positions = torch.tensor([[0, 1, 2, 3, 2, 3]])
    assert picture(build_masks((None,), IDS, zeros, branches, positions)[0]) == [
        "x.....", "xx....", "xxx...", "xxxx..", "xx..x.", "xx..xx"]
    assert picture(build_masks((3,), IDS, zeros, branches, positions)[0]) == [
        "x.....", "xx....", "xxx...", ".xxx..", "xx..x.", ".x..xx"]


def test_trees_do_not_read_each_other():
    documents, branches = torch.tensor([[0, 0, 0, 1, 1, 1]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
    positions = torch.tensor([[0, 1, 1, 0, 1, 1]])
    assert picture(build_masks((None,), IDS, documents, branches, positions)[0]) == [
        "x.....", "xx....", "x.x...", "...x..", "...xx.", "...x.x"]


def test_padding_reads_something_so_that_no_softmax_is_empty():
    documents = torch.tensor([[-1, -1, 0, 0, 0, -1]])
    mask = build_masks((None,), IDS, documents)[0]
    assert picture(mask) == ["x.....", "xx....", "..x...", "..xx..", "..xxx.", "xx...x"]
    assert as_matrix(mask, torch.zeros(1, 1, 6, 6)).any(-1).all()


def test_one_mask_is_made_for_each_window():
    first, second, third = build_masks((2, 3, None), IDS, torch.zeros_like(IDS))
    assert picture(first) != picture(second) != picture(third)


def test_everything_is_readable_without_a_rule():
    assert picture(EVERYTHING) == ["xxxxxx"] * 6
