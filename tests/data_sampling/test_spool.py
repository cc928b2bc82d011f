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


def test_a_document_in_pieces_has_one_beginning_and_the_hash_of_the_whole(tmp_path, characters, monkeypatch):
    monkeypatch.setattr("tohum.documents.text.PIECE_CHARACTERS", 100)
    folder = tmp_path / "books"
    folder.mkdir()
    for n, text in enumerate(texts(30)):
        (folder / f"{n:02d}.txt").write_text(text * 20)
    prepare([str(folder)], characters, tmp_path / "data", PrepareConfig(val_fraction=0.2))
    entry = DataFolder.open(tmp_path / "data").sources[0]
    assert entry.train.documents + entry.val.documents == entry.documents == 30
    assert entry.split_by == "documents"
    assert entry.val.documents
    whole = sum(len((text * 20).encode()) for text in texts(30))
    assert whole - 30 <= entry.train.text_bytes + entry.val.text_bytes <= whole  # a file's last blank may go
