"""documents: every source gives the documents that its text holds, and bad input is named with file and line."""

import gzip
import io
import json
import random
import sys
from pathlib import Path

import pytest

from tohum.documents.document import PIECE_CHARACTERS, cut
from tohum.documents.source import open_sources
from tohum.documents.text import raw_lines, read_lines
from tohum.errors import ConfigError, DataError


def texts(spec: Path | str, **settings: str) -> list[str]:
    return [document.text for document in open_sources([str(spec)], **settings)[0].documents()]


def places(spec: Path | str, **settings: str) -> list[str]:
    return [document.place for document in open_sources([str(spec)], **settings)[0].documents()]


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_bytes("Karlı kayın\normanında\n\nyürüyorum gece\n \nvakti\n".encode())
    return path


def test_a_text_file_is_one_document_unless_told(poem):
    assert texts(poem) == ["Karlı kayın\normanında\n\nyürüyorum gece\n \nvakti\n"]
    assert places(poem) == [str(poem)]


def test_lines_and_blank_line_blocks_become_documents_with_their_line(poem):
    assert texts(poem, split="line") == ["Karlı kayın", "ormanında", "yürüyorum gece", "vakti"]
    assert places(poem, split="line")[2] == f"{poem}:4"
    assert texts(poem, split="blank") == ["Karlı kayın\normanında", "yürüyorum gece", "vakti"]
    assert places(poem, split="blank") == [f"{poem}:1", f"{poem}:4", f"{poem}:6"]


def test_windows_line_ends_and_byte_order_mark_disappear_in_every_format(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfbir\r\niki\r\n\r\n\xc3\xbc\xc3\xa7\r\n")
    assert texts(tmp_path / "a.txt") == ["bir\niki\n\nüç\n"]
    assert texts(tmp_path / "a.txt", split="line") == ["bir", "iki", "üç"]
    assert texts(tmp_path / "a.txt", split="blank") == ["bir\niki", "üç"]
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "bir\\r\\niki"}\r\n{"text": "\xc3\xbc\xc3\xa7"}\r\n')
    assert texts(tmp_path / "b.jsonl") == ["bir\niki", "üç"]
    (tmp_path / "c.csv").write_bytes(b'text,n\r\n"bir\r\niki",1\r\n\xc3\xbc\xc3\xa7,2\r\n')
    assert texts(tmp_path / "c.csv") == ["bir\niki", "üç"]


def test_a_line_end_torn_between_two_reads_is_still_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tohum.documents.text.READ_BYTES", 3)
    (tmp_path / "a.txt").write_bytes("aş\r\nğb\r\nışık".encode())
    assert texts(tmp_path / "a.txt") == ["aş\nğb\nışık"]
    assert texts(tmp_path / "a.txt", split="line") == ["aş", "ğb", "ışık"]


def test_lines_that_are_not_decoded_are_the_same_lines(tmp_path, monkeypatch):
    """Whatever mixture of line ends a file has, and wherever a read ends."""
    chance = random.Random(1)
    for number in range(300):
        monkeypatch.setattr("tohum.documents.text.READ_BYTES", chance.randint(3, 9))
        path = tmp_path / f"{number}.txt"
        path.write_text("".join(chance.choices(["a", "ş", "\r", "\n", "\r\n", " "], k=chance.randint(0, 30))), "utf-8",
                        newline="")
        assert [line.decode() for line in raw_lines(path)] == [line.removesuffix("\n") for line in read_lines(path)]


def test_records_apart_by_old_line_ends_and_blank_lines_of_any_spaces_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('"bir"\r"iki"\n\u00a0\u2003\n"üç"\r\n \t\n'.encode())
    assert texts(tmp_path / "a.jsonl") == ["bir", "iki", "üç"]
    assert places(tmp_path / "a.jsonl")[2].endswith(":4")


def test_lines_with_endoftext_separate_documents(tmp_path):
    (tmp_path / "stories.txt").write_text("\nOne.\nTwo.\n<|endoftext|>\n\nThree.\n<|endoftext|>\nFour <|endoftext|>.\n<|endoftext|>")
    assert texts(tmp_path / "stories.txt") == ["One.\nTwo.", "Three.", "Four <|endoftext|>."]
    assert len(texts(tmp_path / "stories.txt", split="file")) == 1


def test_records_of_every_format_give_the_same_texts(tmp_path):
    import pyarrow
    import pyarrow.parquet
    import zstandard

    rows = [{"id": 1, "text": "İstanbul, \"şehir\""}, {"id": 2, "text": "ığdır\nili"}, {"id": 3, "text": ""},
            {"id": 4, "text": "son"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(lines))
    (tmp_path / "d.json").write_text(json.dumps(rows, indent=2), "utf-8")
    (tmp_path / "e.json").write_bytes(lines)
    (tmp_path / "f.csv").write_text('id,text\n1,"İstanbul, ""şehir"""\n2,"ığdır\nili"\n3,\n4,son\n', "utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "g.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert texts(path) == ["İstanbul, \"şehir\"", "ığdır\nili", "son"], path.name
        assert texts(path, split="record") == texts(path)
    assert places(tmp_path / "a.jsonl") == [f"{tmp_path / 'a.jsonl'}:{line}" for line in (1, 2, 4)]
    assert places(tmp_path / "d.json")[1] == f"{tmp_path / 'd.json'}:6"
    assert places(tmp_path / "g.parquet")[2] == f"{tmp_path / 'g.parquet'}:4"


def test_tsv_fields_keep_their_quotes_and_another_key_can_be_named(tmp_path):
    (tmp_path / "a.tsv").write_text('label\tmessage\nham\t"quoted\nspam\tWin!\n')
    assert texts(tmp_path / "a.tsv", text_key="message") == ['"quoted', "Win!"]


def test_csv_may_be_separated_by_semicolons_and_commas_in_a_text_do_not_mislead(tmp_path):
    (tmp_path / "a.csv").write_text('id;text\n1;"one, two"\n2;three, four, five\n')
    assert texts(tmp_path / "a.csv") == ["one, two", "three, four, five"]
    (tmp_path / "b.csv").write_text('id,text\n1,a; b\n2,c; d; e\n')
    assert texts(tmp_path / "b.csv") == ["a; b", "c; d; e"]


def test_json_strings_are_documents_and_lone_surrogates_become_replacement_signs(tmp_path):
    (tmp_path / "a.json").write_text('["one", {"text": "two \\ud83d\\ude00"}, "bad \\ud83d"]')
    assert texts(tmp_path / "a.json") == ["one", "two 😀", "bad �"]


def test_json_list_is_read_in_pieces_of_any_size(tmp_path, monkeypatch):
    rows = [{"text": f"document {n}", "more": [n, 1.5, {"x": None}]} for n in range(50)]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    for size in (1, 7, 64):
        monkeypatch.setattr("tohum.documents.text.READ_BYTES", size)
        assert texts(tmp_path / "a.json") == [row["text"] for row in rows]


def test_a_folder_is_read_recursively_in_sorted_order_without_hidden_binary_and_empty_files(tmp_path):
    for name, content in {"b/x.txt": b"second", "a.txt": b"first", "b/y.jsonl": b'{"text": "third"}\n', "c.png": b"\x89PNG\0",
                          ".hidden": b"no", "b/.git/z.txt": b"no", "empty.txt": b""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = open_sources([str(tmp_path)])[0]
    found = list(source.documents())
    assert [document.text for document in found] == ["first", "second", "third"]
    assert [document.place for document in found] == ["a.txt", "b/x.txt", "b/y.jsonl:1"]
    assert [path.name for path in source.skipped] == ["c.png", "empty.txt"]
    assert source.name == tmp_path.name


def test_stdin_is_read_twice_and_recognises_jsonl(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bir\n\niki\n")))
    source = open_sources(["-"], split="blank")[0]
    assert [d.text for d in source.documents()] == [d.text for d in source.documents()] == ["bir", "iki"]
    assert [d.place for d in source.documents()] == ["stdin:1", "stdin:3"]
    assert source.name == "stdin"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "bir"}\n')))
    assert [d.text for d in open_sources(["-"])[0].documents()] == ["bir"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "bir"}\n{"txt": 1}\n')))
    with pytest.raises(DataError, match=r"^stdin:2: no key 'text'"):
        list(open_sources(["-"])[0].documents())


def test_a_long_file_comes_in_pieces_that_join_to_the_whole(tmp_path):
    whole = "".join(f"Line {n} of a long file.\n" for n in range(150_000))
    (tmp_path / "long.txt").write_text(whole)
    pieces = list(open_sources([str(tmp_path / "long.txt")])[0].documents())
    assert "".join(piece.text for piece in pieces) == whole
    assert [piece.continues for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert len(pieces) > 2
    assert max(len(piece.text) for piece in pieces) <= 2 * PIECE_CHARACTERS


def test_cut_never_tears_a_word_where_blanks_allow_it():
    assert cut("aaa bbb\nccc ddd", 9) == ("aaa bbb\n", "ccc ddd") or cut("aaa bbb\nccc ddd", 9)[0].endswith("c")
    head, tail = cut("word " * 40, 100)
    assert (head[-1], tail[0]) == ("d", " ")
    head, tail = cut("word\n" * 40, 100)
    assert (head[-1], tail[0]) == ("\n", "w")
    assert cut("x" * 30, 10) == ("x" * 10, "x" * 20)


def test_sha256_follows_the_bytes_and_the_names(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("one")
    (tmp_path / "a" / "y.txt").write_text("two")
    first = open_sources([str(tmp_path / "a")])[0].sha256()
    assert open_sources([str(tmp_path / "a")])[0].sha256() == first
    (tmp_path / "a" / "y.txt").rename(tmp_path / "a" / "z.txt")
    assert open_sources([str(tmp_path / "a")])[0].sha256() != first


def test_sources_with_the_same_short_name_get_longer_ones(tmp_path):
    for name in ("en/text.txt", "tr/text.txt", "tr/other.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b'{"text": "x"}') if name.endswith("gz") else b"x")
    specs = [str(tmp_path / name) for name in ("en/text.txt", "tr/text.txt", "tr/other.jsonl.gz")]
    assert [source.name for source in open_sources(specs)] == ["en/text", "tr/text", "other"]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("empty.txt", b"", r"empty\.txt: empty file"),
    ("blank.txt", b" \n\n", r"blank\.txt: no text in it"),
    ("image.txt", b"\x89PNG\r\n\0\0abc", r"image\.txt: binary file \(zero byte at offset 6\)"),
    ("latin.txt", "iyi\ngün caf\xe9\n".encode("latin-1"), r"latin\.txt:2: byte 0xfc at offset 5 is not UTF-8"),
    ("wide.txt", "merhaba".encode("utf-16"), r"wide\.txt: UTF-16 text; expected UTF-8"),
    ("torn.txt", "ş".encode()[:1], r"torn\.txt:1: byte 0xc5 at offset 0 is not UTF-8"),
    ("bad.jsonl", b'{"text": "a"}\n\n{"text": b}\n', r"bad\.jsonl:3: not valid JSON: Expecting value at column 10"),
    ("key.jsonl", b'{"text": "a"}\n{"body": "b", "id": 1}\n', r"key\.jsonl:2: no key 'text'; the keys that are there: body, id"),
    ("type.jsonl", b'{"text": ["a"]}\n', r"type\.jsonl:1: 'text' is a list; expected a string"),
    ("number.jsonl", b"3\n", r"number\.jsonl:1: a JSON number; expected an object"),
    ("open.json", b'[{"text": "a"},\n{"text": "b"}\n', r"open\.json:3: not valid JSON: the list has no end"),
    ("torn.json", b'[{"text": "a"},\n{"text": "b\n', r"torn\.json:2: not valid JSON"),
    ("object.json", b'{\n "text": "a"\n}\n', r"object\.json: one JSON object over many lines; expected a list of records"),
    ("column.csv", b"label,body\n1,a\n", r"column\.csv:2: no key 'text'; the keys that are there: label, body"),
    ("ragged.csv", b"text,n\na,1\nb\n", r"ragged\.csv:3: 1 fields; the header has 2: text, n"),
    ("ragged.tsv", b"text\tn\na\t1\nb\t2\t3\n", r"ragged\.tsv:3: 3 fields; the header has 2"),
    ("no.parquet", b"PAR0", r"no\.parquet: not a Parquet file"),
    ("cut.txt.gz", gzip.compress(b"hello" * 100, mtime=0)[:20], r"cut\.txt\.gz: damaged archive"),
    ("no.txt.gz", b"hello", r"no\.txt\.gz: damaged archive"),
])
def test_bad_input_is_named_with_file_line_and_key(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        texts(tmp_path / name)
    assert 1 <= len(str(error.value).splitlines()) <= 3


def test_missing_column_of_a_parquet_file_names_the_columns(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"body": ["a"], "id": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'text'; the columns that are there: body, id"):
        texts(tmp_path / "a.parquet")


def test_sources_that_cannot_be_opened_are_refused_at_once(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.txt: no such file or folder"):
        open_sources([str(tmp_path / "nowhere.txt")])
    with pytest.raises(DataError, match=r"python_docs: no such file or folder; did you mean 'python-docs'\?"):
        open_sources(["python_docs"])
    with pytest.raises(DataError, match="no files; expected text"):
        open_sources([str(tmp_path)])
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ConfigError, match=r"a\.txt: plain text has no records"):
        open_sources([str(tmp_path / "a.txt")], split="record")
    with pytest.raises(ConfigError, match="is given twice"):
        open_sources([str(tmp_path / "a.txt")] * 2)
    with pytest.raises(ConfigError, match="split 'word' is unknown"):
        open_sources([str(tmp_path / "a.txt")], split="word")
    with pytest.raises(ConfigError, match="no source given"):
        open_sources([])


@pytest.mark.parametrize(("name", "module"), [("a.parquet", "pyarrow"), ("a.txt.zst", "zstandard")])
def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r'pip install "tohum\[data\]"') as error:
        texts(tmp_path / name)
    assert len(str(error.value).splitlines()) == 1
