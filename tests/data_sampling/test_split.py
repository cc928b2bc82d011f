"""data_sampling.split: by content, about the wanted fraction, and never a leak."""

import random

import numpy as np
import pytest

from tohum.data_sampling.split import FEWEST_DOCUMENTS, Piece, Splitter, scan
from tohum.documents.document import Document


def split(sources: list[list[str]], val_fraction: float = 0.1) -> tuple[Splitter, list[list[Piece]]]:
    streams = [[Document(text, f"{n}") for n, text in enumerate(texts)] for texts in sources]
    splitter = Splitter([scan(documents) for documents in streams], val_fraction)
    return splitter, [list(splitter.pieces(n, documents)) for n, documents in enumerate(streams)]


def side(pieces: list[Piece], name: str) -> list[str]:
    return [piece.text for piece in pieces if piece.side == name]


def words(seed: int, count: int, longest: int = 200) -> list[str]:
    draw = random.Random(seed)
    return [f"{seed}-{n} " + "x" * draw.randrange(longest) for n in range(count)]


@pytest.mark.parametrize("count", [20, 21, 50, 300, 5000])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_about_the_wanted_fraction_of_characters_validates(count, fraction):
    texts = words(1, count)
    _, [pieces] = split([texts], fraction)
    assert sorted(side(pieces, "train") + side(pieces, "val")) == sorted(texts)
    found = sum(map(len, side(pieces, "val"))) / sum(map(len, texts))
    assert abs(found - fraction) < max(0.01, 1.5 / count)
    assert side(pieces, "val")
    assert side(pieces, "train")


def test_one_giant_document_does_not_swallow_the_validation_split():
    _, [pieces] = split([["y" * 100_000, *words(1, 200, longest=100)]], 0.05)
    assert 2000 < sum(map(len, side(pieces, "val"))) < 8000


def test_copies_stay_on_one_side_within_and_across_sources():
    texts = words(1, 60)
    sources = [texts * 3, words(2, 40) + texts[:30]]
    _, (first, second) = split(sources, 0.3)
    train = set(side(first, "train")) | set(side(second, "train"))
    val = set(side(first, "val")) | set(side(second, "val"))
    assert not train & val
    assert len(side(first, "train")) + len(side(first, "val")) == 180


def test_the_split_does_not_depend_on_the_order_of_documents():
    texts = words(3, 100)
    _, [pieces] = split([texts])
    _, [shuffled] = split([texts[::-1]])
    assert set(side(pieces, "val")) == set(side(shuffled, "val"))


def test_few_documents_give_their_last_characters():
    texts = ["a" * 50, "b" * 30, "c" * 20]
    splitter, [pieces] = split([texts], 0.1)
    assert splitter.by_characters(0)
    assert pieces == [Piece("a" * 50, "train", True, True), Piece("b" * 30, "train", True, True),
                      Piece("c" * 10, "train", True, False), Piece("c" * 10, "val", False, True)]


def test_a_cut_between_two_documents_tears_neither():
    _, [pieces] = split([["a" * 90, "b" * 10]], 0.1)
    assert pieces == [Piece("a" * 90, "train", True, True), Piece("b" * 10, "val", True, True)]


def test_nineteen_documents_are_cut_and_twenty_are_split():
    assert split([words(1, FEWEST_DOCUMENTS - 1)])[0].by_characters(0)
    assert not split([words(1, FEWEST_DOCUMENTS)])[0].by_characters(0)
    assert split([words(1, 5) * 100])[0].by_characters(0)


def test_copies_of_a_document_of_a_small_source_are_left_out_everywhere_else():
    book = "once upon a time " * 50
    splitter, (small, large, again) = split([[book, book], [*words(1, 30), book, book], [book, "z" * 100]])
    assert "".join(piece.text for piece in small) == book
    assert book not in side(large, "train") + side(large, "val")
    assert "".join(piece.text for piece in again) == "z" * 100
    assert splitter.dropped == [1, 2, 1]


def test_a_document_in_pieces_is_split_as_if_it_were_whole():
    texts = words(4, 40)
    whole = [Document(text, "") for text in texts]
    torn = [part for text in texts for part in (Document(text[:3], "", continues=True), Document(text[3:], ""))]
    scans = [scan(whole), scan(torn)]
    assert scans[0].documents == scans[1].documents == 40
    assert np.array_equal(scans[0].by_bucket, scans[1].by_bucket)
    pieces = [list(Splitter([found], 0.2).pieces(0, documents))
              for found, documents in zip(scans, (whole, torn), strict=True)]
    assert "".join(side(pieces[0], "val")) == "".join(side(pieces[1], "val"))
    assert [piece.starts for piece in pieces[1]] == [True, False] * 40
    assert [piece.ends for piece in pieces[1]] == [False, True] * 40


def test_without_validation_everything_trains():
    for texts in (words(1, 5), words(1, 50)):
        _, [pieces] = split([texts], 0.0)
        assert side(pieces, "train") == texts
