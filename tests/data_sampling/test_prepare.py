"""data_sampling.prepare: what is written, when it is found again, and how it refuses."""

import errno
import json

import numpy as np
import pytest

from tohum.config import validate
from tohum.data_sampling import writer
from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.prepare import prepare
from tohum.data_sampling.shards import DataFolder
from tohum.errors import ConfigError, DataError, FailedError
from tohum.files import sha256_file
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

from .conftest import BOOK, lines


def text_of(data: DataFolder, split: str) -> str:
    return "".join(data.texts(split))


def test_a_book_gives_its_last_tenth_of_characters_and_loses_nothing(make):
    data = make({"book.txt": BOOK})
    cut = int(0.9 * len(BOOK))
    assert text_of(data, "train") == BOOK[:cut]
    assert text_of(data, "val") == BOOK[cut:]
    eos = data.tokenizer.eos_id
    assert data.tokens(0, "val")[-1:].tolist() == [eos]
    assert eos not in data.tokens(0, "train")[:].tolist()  # the document goes on after the cut
    assert (data.train_bytes, data.val_bytes) == (len(BOOK[:cut].encode()), len(BOOK[cut:].encode()))


def test_tinyshakespeare_is_split_as_nanogpt_does(shared_data, tmp_path):
    path = shared_data / "text_en" / "tinyshakespeare.txt"
    text = path.read_text()
    tokenizer = train([text], kind="char", vocab_size=None)
    result = prepare([str(path)], tokenizer, tmp_path / "data", PrepareConfig())
    assert (result["train_tokens"], result["val_tokens"]) == (1_003_854, 111_541)  # 111,540 and the end mark
    data = DataFolder.open(tmp_path / "data")
    assert tokenizer.decode(data.tokens(0, "val")[:40].tolist()) == text[int(0.9 * len(text)):][:40]


def test_documents_keep_their_boundaries_and_marks(make):
    data = make({"a.txt": lines(1, 40)}, split="line")
    documents = [data.tokens(0, side)[int(start):int(end)].tolist()
                 for side in ("train", "val")
                 for start, end in zip(data.document_starts(0, side),
                                       [*data.document_starts(0, side)[1:], len(data.tokens(0, side))], strict=True)]
    assert sorted(documents) == sorted(data.tokenizer.document_ids(line) for line in lines(1, 40).splitlines())
    entry = data.sources[0]
    assert (entry.documents, entry.train.documents + entry.val.documents, entry.split_by) == (40, 40, "documents")


@pytest.mark.slow
def test_long_documents_are_encoded_in_stretches_as_if_they_were_whole(shared_data, tmp_path):
    for name in ("text_en/tinyshakespeare.txt", "text_tr/tbmm_tutanak_2020-10-14.txt"):
        text = (shared_data / name).read_text("utf-8")
        tokenizer = train([text[:300_000]], kind="bpe", vocab_size=800)
        prepare([str(shared_data / name)], tokenizer, tmp_path / name, PrepareConfig(val_fraction=0))
        assert DataFolder.open(tmp_path / name).tokens(0, "train")[:].tolist() == tokenizer.document_ids(text)


def test_a_vocabulary_with_its_own_beginning_mark_marks_every_document_once(shared_data, tmp_path):
    tokenizer = Tokenizer.load(shared_data / "tokenizers" / "llama2_tokenizer.model")
    (tmp_path / "a.txt").write_text(lines(1, 40), "utf-8")
    prepare([str(tmp_path / "a.txt")], tokenizer, tmp_path / "lines", PrepareConfig(split="line"))
    ids = DataFolder.open(tmp_path / "lines").tokens(0, "train")[:].tolist()
    assert ids.count(tokenizer.bos_id) == ids.count(tokenizer.eos_id) > 30
    assert ids[:2] != [tokenizer.bos_id] * 2
    prepare([str(tmp_path / "a.txt")], tokenizer, tmp_path / "whole", PrepareConfig())
    whole = DataFolder.open(tmp_path / "whole")
    train_ids, val_ids = (whole.tokens(0, side)[:].tolist() for side in ("train", "val"))
    assert (train_ids.count(1), train_ids.count(2), val_ids.count(1), val_ids.count(2)) == (1, 0, 0, 1)


def test_small_shards_hold_the_same_stream_as_one(make):
    one = make({"a.txt": lines(1, 60)}, split="line", out="one")
    many = make({"a.txt": lines(1, 60)}, split="line", out="many", shard_tokens=97)
    assert len(many.sources[0].train.shards) > 5
    assert {shard.tokens for shard in many.sources[0].train.shards[:-1]} == {97}
    for side in ("train", "val"):
        assert one.tokens(0, side)[:].tolist() == many.tokens(0, side)[:].tolist()
        assert one.document_starts(0, side).tolist() == many.document_starts(0, side).tolist()
    names = sorted(path.name for path in (many.path).glob("shard_*.bin"))
    assert names[:2] == ["shard_00000.bin", "shard_00001.bin"]
    assert len(names) == sum(len(part.shards) for part in (many.sources[0].train, many.sources[0].val))


def test_shards_are_little_endian_16_bit_below_65536_tokens_and_32_bit_from_there(make, characters, tmp_path, monkeypatch):
    data = make({"a.txt": BOOK})
    raw = (data.path / "shard_00000.bin").read_bytes()
    assert np.frombuffer(raw, "<u2")[:20].tolist() == characters.encode(BOOK)[:20]
    for size, width in ((65_535, 2), (65_536, 4)):
        monkeypatch.setattr(type(characters), "vocab_size", property(lambda self, size=size: size))
        prepare([str(tmp_path / "a.txt")], characters, tmp_path / f"v{size}", PrepareConfig())
        wide = DataFolder.open(tmp_path / f"v{size}")
        assert wide.index.dtype == f"uint{8 * width}"
        assert (wide.path / "shard_00000.bin").stat().st_size == width * wide.train_tokens
        assert wide.tokens(0, "train")[:].tolist() == data.tokens(0, "train")[:].tolist()


def test_the_result_holds_what_the_contract_names(tmp_path, characters):
    (tmp_path / "a.txt").write_text(BOOK, "utf-8")
    result = prepare([str(tmp_path / "a.txt")], characters, tmp_path / "out", PrepareConfig())
    assert json.loads(json.dumps(result)) == result
    assert {"documents", "train_tokens", "val_tokens", "fingerprint", "sources"} <= set(result)
    assert result["documents"] == 1
    assert result["sources"][0]["sha256"] == sha256_file(tmp_path / "a.txt")
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index["fingerprint"] == result["fingerprint"]
    assert index["tokenizer"]["sha256"] == characters.sha256


def test_the_same_call_finds_its_result_and_any_change_is_named(tmp_path, characters):
    (tmp_path / "a.txt").write_text(BOOK, "utf-8")
    specs, out = [str(tmp_path / "a.txt")], tmp_path / "out"
    first = prepare(specs, characters, out, PrepareConfig())
    written = (out / "index.json").stat().st_mtime_ns
    again = prepare(specs, characters, out, PrepareConfig())
    assert (first["reused"], again["reused"]) == (False, True)
    assert {**again, "seconds": 0, "reused": 0} == {**first, "seconds": 0, "reused": 0}
    assert (out / "index.json").stat().st_mtime_ns == written

    changes = [(PrepareConfig(val_fraction=0.2), r"val_fraction 0\.1, now 0\.2"), (PrepareConfig(split="line"), "split auto, now line"),
               (PrepareConfig(alpha=0.5), r"alpha 1\.0, now 0\.5"), (PrepareConfig(text_key="body"), "text_key text, now body"),
               (PrepareConfig(shard_tokens=500), "shard_tokens 100000000, now 500"),
               (PrepareConfig(weights={"a": 2}), r"weights None, now \{'a': 2\.0\}")]
    for settings, message in changes:
        with pytest.raises(ConfigError, match=message + r"[^\n]*\n.*--force"):
            prepare(specs, characters, out, settings)
    other = train([BOOK], kind="char", vocab_size=None)
    with pytest.raises(ConfigError, match=f"another tokenizer \\({characters.sha256[:12]}, now {other.sha256[:12]}\\)"):
        prepare(specs, other, out, PrepareConfig())
    (tmp_path / "a.txt").write_text(BOOK + "x", "utf-8")
    with pytest.raises(ConfigError, match="the content of source 'a' changed"):
        prepare(specs, characters, out, PrepareConfig())
    (tmp_path / "b.txt").write_text(BOOK, "utf-8")
    with pytest.raises(ConfigError, match="source 'a' is no longer there; source 'b' is new"):
        prepare([str(tmp_path / "b.txt")], characters, out, PrepareConfig())
    made = prepare(specs, characters, out, PrepareConfig(force=True))
    assert (made["reused"], made["fingerprint"] != first["fingerprint"]) == (False, True)


def test_force_replaces_data_folders_only(tmp_path, characters):
    (tmp_path / "a.txt").write_text(BOOK, "utf-8")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not a data folder"):
        prepare([str(tmp_path / "a.txt")], characters, tmp_path / "precious", PrepareConfig(force=True))
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "years of work"


def test_force_keeps_the_old_data_until_the_new_is_complete(make, tmp_path, characters):
    data = make({"a.txt": BOOK})
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="UTF-16"):
        prepare([str(tmp_path / "a.txt")], characters, data.path, PrepareConfig(force=True))
    assert DataFolder.open(data.path).fingerprint == data.fingerprint


def test_fingerprint_is_the_same_on_another_path_and_follows_content_split_and_shares(make, tmp_path):
    files = {"a.txt": BOOK, "b.txt": lines(2, 30)}
    fingerprints = [make(files, out=f"out{n}", **settings).fingerprint for n, settings in enumerate([
        {}, {}, {"val_fraction": 0.2}, {"split": "line"}, {"weights": {"a": 1, "b": 1}}, {"alpha": 0.5}])]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 5


def test_weights_and_alpha_decide_the_shares(make):
    files = {"a.txt": BOOK * 4, "b.txt": BOOK[::-1]}
    plain = make(files, out="plain")
    tokens = [source.train.tokens for source in plain.sources]
    assert [source.share / plain.index.period for source in plain.sources] == pytest.approx(
        [count / sum(tokens) for count in tokens], abs=1e-4)
    assert [source.share for source in make(files, out="weights", weights={"b": 1, "a": 2}).sources] == [2, 1]
    assert [source.share for source in make(files, out="equal", alpha=0).sources] == [1, 1]
    half = make(files, out="half", alpha=0.5)
    assert half.sources[0].share / half.sources[1].share == pytest.approx((tokens[0] / tokens[1]) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(("weights", "message"), [
    ({"a": 1}, "no weight for source 'b'; the sources are a, b"),
    ({"a": 1, "b": 1, "c": 1}, "unknown source 'c'; the sources are a, b"),
])
def test_weights_name_exactly_the_sources(make, weights, message):
    with pytest.raises(ConfigError, match=message):
        make({"a.txt": BOOK, "b.txt": BOOK}, weights=weights)


@pytest.mark.parametrize(("values", "message"), [
    ({"val_fraction": 1.0}, r"val_fraction = 1\.0: input should be less than 1"),
    ({"val_fraction": -0.1}, r"val_fraction = -0\.1"),
    ({"weights": {"a": 0}}, r"weights\.a = 0"),
    ({"alpha": -1}, "alpha = -1"),
    ({"splitt": "line"}, "unknown key 'splitt'; did you mean 'split'"),
])
def test_settings_out_of_range_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        validate(PrepareConfig, values, where="data prepare")


@pytest.mark.parametrize("name", ["two.txt", "two.jsonl"])
def test_two_lines_are_enough(tmp_path, characters, name):
    content = "Bir varmış,\nbir yokmuş.\n" if name.endswith("txt") else '{"text": "Bir varmış,"}\n{"text": "bir yokmuş."}\n'
    (tmp_path / name).write_text(content, "utf-8")
    result = prepare([str(tmp_path / name)], characters, tmp_path / "out", PrepareConfig())
    assert result["train_tokens"] >= 15
    assert result["val_tokens"] >= 2
    assert result["seconds"] < 2


@pytest.mark.parametrize(("text", "settings", "message"), [
    ("a", {}, r"0 training tokens; at least 2 are needed\nadd text, or lower --val-fraction"),
    ("ab" * 5, {"val_fraction": 0.999}, "training tokens; at least 2"),
])
def test_too_little_text_names_a_remedy(make, text, settings, message):
    with pytest.raises(DataError, match=message):
        make({"a.txt": text}, **settings)


def test_a_full_disk_leaves_nothing(make, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", "shard")

    monkeypatch.setattr(writer.HashedFile, "write", full)
    with pytest.raises(FailedError, match="the disk is full"):
        make({"a.txt": BOOK})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt"]


def test_bad_text_in_the_middle_leaves_nothing(make, tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:3: not valid JSON"):
        make({"a.jsonl": '{"text": "a"}\n{"text": "b"}\n{"text": \n'})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]
