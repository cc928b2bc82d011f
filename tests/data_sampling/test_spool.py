"""data_sampling.spool: a large source, read once, becomes what reading it twice would make of it."""

import json
import random

import numpy as np
import pytest

from tohum.data_sampling import encoder, spool
from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.prepare import prepare
from tohum.data_sampling.shards import DataFolder
from tohum.data_sampling.split import Splitter, scan
from tohum.documents.source import open_sources

BOOK = "once upon a time there was a seed under the snow. " * 4


def texts(count: int) -> list[str]:
    draw = random.Random(3)
    return [f"{n} " + "ığdır word " * draw.randrange(40) for n in range(count)]


@pytest.mark.parametrize("val_fraction", [0.0, 0.2])
@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_each_document_goes_where_two_readings_would_put_it(tmp_path, characters, monkeypatch, val_fraction, at_once):
    monkeypatch.setattr(encoder, "STRETCH_CHARACTERS", 50)
    monkeypatch.setattr(encoder, "BATCH_PIECES", 9)
    monkeypatch.setattr(spool, "READ_DOCUMENTS", at_once)
    monkeypatch.setattr(spool, "READ_TOKENS", at_once)
    (tmp_path / "book.txt").write_text(BOOK)
    many = texts(60)
    many = [*many, BOOK, many[5], BOOK]  # one document of the small source, twice, and a copy of its own
    with (tmp_path / "web.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in many)
    paths = [str(tmp_path / "book.txt"), str(tmp_path / "web.jsonl")]
    prepare(paths, characters, tmp_path / "data", PrepareConfig(val_fraction=val_fraction, shard_tokens=900))
    data = DataFolder.open(tmp_path / "data")

    sources = open_sources(paths)
    splitter = Splitter([scan(source.documents()) for source in sources], val_fraction)
    pieces = list(splitter.pieces(1, sources[1].documents()))
    for side in ("train", "val"):
        mine = [piece.text for piece in pieces if piece.side == side]
        ids = [characters.document_ids(text) for text in mine]
        assert data.tokens(1, side)[:].tolist() == [token for part in ids for token in part]
        assert data.document_starts(1, side).tolist() == np.cumsum([0, *map(len, ids)])[:-1].tolist()
        assert data.sources[1].part(side).text_bytes == sum(len(text.encode()) for text in mine)
    assert data.sources[1].copies_left_out == 2
    assert data.sources[1].documents == 63
    assert not list((tmp_path / "data").glob("waiting*"))


def test_a_document_in_pieces_goes_where_it_would_go_whole(tmp_path, characters, monkeypatch):
    folder = tmp_path / "books"
    folder.mkdir()
    for n, text in enumerate(texts(30)):
        (folder / f"{n:02d}.txt").write_text(text * 20)
    found = []
    for name in ("whole", "torn"):
        prepare([str(folder)], characters, tmp_path / name, PrepareConfig(val_fraction=0.2))
        found.append(DataFolder.open(tmp_path / name))
        monkeypatch.setattr("tohum.documents.text.PIECE_CHARACTERS", 100)
    assert found[0].sources == found[1].sources  # with the hashes of all files
    assert found[1].sources[0].split_by == "documents"
    assert found[1].sources[0].val.documents
    assert found[1].sources[0].documents == 30
