"""classification: any labelled file gives the same rows, the guess of its columns is shown, and bad input is named."""

import gzip
import json
from pathlib import Path

import pytest

from tohum.classification.rows import Labelled, LabelledRow, read_labelled
from tohum.errors import DataError

ROWS = [("Merhaba dünya, nasılsın \"bugün\"?", "iyi"), ("This is quite bad, really", "kötü"),
        ("a third text of four", "iyi"), ("one more to read here", "kötü"), ("and the very last one", "iyi")]


def pairs(labelled: Labelled) -> list[tuple[str, str]]:
    return [(row.text, row.label) for row in labelled.rows]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_are_the_same_from_every_format(tmp_path):
    import pyarrow
    import pyarrow.parquet

    records = [{"id": n, "label": label, "text": text} for n, (text, label) in enumerate(ROWS)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    quoted = [text.replace('"', '""') for text, _ in ROWS]
    write(tmp_path / "a.jsonl", lines)
    write(tmp_path / "b.json", json.dumps(records, indent=1))
    write(tmp_path / "c.csv", "text,label\r\n" + "".join(f'"{q}",{label}\r\n' for q, (_, label) in zip(quoted, ROWS, strict=True)))
    write(tmp_path / "d.csv", "\ufeff" + "".join(f'{label};"{q}"\n' for q, (_, label) in zip(quoted, ROWS, strict=True)))
    write(tmp_path / "e.tsv", "".join(f"{label}\t{text}\r\n" for text, label in ROWS))
    write(tmp_path / "f.txt", "".join(f"{text}\t{label}\n" for text, label in ROWS))
    write(tmp_path / "g.jsonl.gz", gzip.compress(lines.encode()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "h.parquet")
    for path in sorted(tmp_path.iterdir()):
        labelled = read_labelled(path)
        assert pairs(labelled) == ROWS, path.name
        assert labelled.labels == ("iyi", "kötü")
        assert labelled.dropped == {}
    assert read_labelled(tmp_path / "e.tsv").rows[1].place == f"{tmp_path / 'e.tsv'}:2"
    assert read_labelled(tmp_path / "c.csv").rows[1].place == f"{tmp_path / 'c.csv'}:3"


def test_guess_says_which_columns_were_taken_and_why(tmp_path):
    headless = read_labelled(write(tmp_path / "a.tsv", "".join(f"{label}\t{text}\n" for text, label in ROWS))).guess
    assert (headless.text_columns, headless.label_column, headless.header) == ((2,), 1, False)
    assert headless.describe().startswith("text: column 2, label: column 1, no header, because 'iyi' of the first row "
                                          "comes again below it in column 1")
    named = read_labelled(write(tmp_path / "b.csv", "Yorum,Puan\n" + "".join(f'"{t[:9]} b c",{len(label)}\n' for t, label in ROWS)
                                .replace('""', ""))).guess
    assert (named.text_columns, named.label_column, named.header) == ((1,), 2, True)
    assert "text: column 1 'Yorum', label: column 2 'Puan', header in the first row" in named.describe()


@pytest.mark.parametrize(("first", "header"), [
    ("label\ttext", True), ("duygu\tcümle", True), ("good\ta film of great beauty", False), ("class\tgood", True)])
def test_header_is_told_from_a_first_row(tmp_path, first, header):
    body = "good\tit was a joy to see\nbad\tit was no joy at all\ngood\tone more of these films\nbad\tnever again this film\n"
    labelled = read_labelled(write(tmp_path / "a.tsv", first + "\n" + body))
    assert labelled.guess.header is header
    assert len(labelled.rows) == (4 if header else 5)


def test_two_columns_of_sentences_are_joined_and_one_can_be_chosen(tmp_path):
    path = write(tmp_path / "news.csv", '"3","Stocks fall on Monday","Shares fell in late trade"\n"1","Talks go on today",'
                 '"Both sides meet again, they say"\n"3","Oil is up again","A barrel costs more"\n"1","A vote was held",""\n')
    joined = read_labelled(path)
    assert joined.rows[0].text == "Stocks fall on Monday\nShares fell in late trade"
    assert joined.rows[3].text == "A vote was held"
    assert "--text-column takes one only" in joined.guess.describe()
    one = read_labelled(path, text_column="3")
    assert one.rows[0].text == "Shares fell in late trade"
    assert one.dropped == {"empty text": 1}
    assert "you chose the text" in one.guess.describe()
    assert read_labelled(path, text_column="3,2").rows[0].text == "Shares fell in late trade\nStocks fall on Monday"


def test_title_goes_before_the_text_when_both_are_named(tmp_path):
    records = [{"title": f"Title {n}", "text": f"body of it {n}", "label": n % 2, "url": f"http://x/{n}"} for n in range(6)]
    labelled = read_labelled(write(tmp_path / "a.jsonl", "".join(json.dumps(r) + "\n" for r in records)))
    assert labelled.rows[0].text == "Title 0\nbody of it 0"
    assert read_labelled(tmp_path / "a.jsonl", text_column="text").rows[0].text == "body of it 0"
    assert read_labelled(tmp_path / "a.jsonl", text_column="title,text") .rows == labelled.rows


def test_columns_are_chosen_by_name_or_number_and_a_name_means_a_header(tmp_path):
    path = write(tmp_path / "a.csv", "note,kind,colour\nthe first of them,x,red\nthe next of them,y,blue\n"
                                     "a third of them,x,blue\na fourth of them,y,red\n")
    with pytest.raises(DataError, match=r"columns 2 'kind', 3 'colour' could all be the label\n.*--label-column 2"):
        read_labelled(path)
    assert read_labelled(path, label_column="colour").labels == ("blue", "red")
    assert read_labelled(path, label_column="2").labels == ("x", "y")
    with pytest.raises(DataError, match=r"no column 'color'; did you mean 'colour'\?\nthe columns that are there: note, kind, colour"):
        read_labelled(path, label_column="color")
    with pytest.raises(DataError, match="no column 4; there are 3, numbered from 1"):
        read_labelled(path, label_column="4")
    with pytest.raises(DataError, match="column 2 cannot be both the text and the label"):
        read_labelled(path, label_column="2", text_column="kind")
    headless = write(tmp_path / "b.tsv", "".join(f"{label}\t{text}\n" for text, label in ROWS))
    with pytest.raises(DataError, match=r"b\.tsv:1: no column 'label' in the first row: iyi, .*\nthe file has no header; give --label-column a number from 1 to 2"):
        read_labelled(headless, label_column="label")


def test_labels_of_several_words_are_told_from_texts_by_coming_back(tmp_path):
    lines = [f"not good at all,number {n} was a waste of time" if n % 2 else f"rather good I think,number {n} was fun to see"
             for n in range(10)]
    labelled = read_labelled(write(tmp_path / "a.csv", "".join(line + "\n" for line in lines)))
    assert labelled.labels == ("not good at all", "rather good I think")
    assert labelled.rows[0].text == "number 0 was fun to see"


def test_numbers_booleans_and_missing_texts_of_records(tmp_path):
    records = [{"text": "a b c", "label": 10}, {"text": "d e f", "label": 2}, {"text": None, "label": 2}, {"label": 2},
               {"text": " ", "label": 10}, {"text": "g h i", "label": 2}]
    labelled = read_labelled(write(tmp_path / "a.jsonl", "".join(json.dumps(r) + "\n" for r in records)))
    assert labelled.labels == ("2", "10")
    assert labelled.dropped == {"empty text": 3}
    assert labelled.rows[2] == LabelledRow(text="g h i", label="2", place=f"{tmp_path / 'a.jsonl'}:6")
    truths = "".join(json.dumps({"text": f"t {n}", "label": n % 2 == 0}) + "\n" for n in range(4))
    assert read_labelled(write(tmp_path / "b.jsonl", truths)).labels == ("false", "true")


def test_short_texts_are_what_is_not_the_label(tmp_path):
    names = ["Ayşe", "Bob", "Cem", "Dora", "Eve", "Filiz", "Gül", "Hans"]
    path = write(tmp_path / "names.csv", "".join(f"{name},{'tr' if n % 2 == 0 else 'en'}\n" for n, name in enumerate(names)))
    assert pairs(read_labelled(path))[:2] == [("Ayşe", "tr"), ("Bob", "en")]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("one.csv", "text,label\na b c,x\nd e f,x\n", r"one\.csv: one class only, 'x', in 2 rows; expected two or more"),
    ("gap.tsv", "label\ttext\nx\ta b c\n\td e f\ny\tg h i\n\tj k l\n",
     r"gap\.tsv:3: no label in column 1 \(and 1 more rows\); fill it in or delete the row"),
    ("gap.jsonl", '{"text": "a b c", "label": 1}\n{"text": "d e f"}\n', r"gap\.jsonl:2: no label in column 2"),
    ("lists.jsonl", '{"text": "a b c", "label": [1, 2]}\n{"text": "d e f", "label": [1]}\n',
     r"lists\.jsonl:1: column 2 holds a list; expected a string or a number"),
    ("ragged.csv", "a b c,x\nd, e, f,y\n", r"ragged\.csv:2: 4 fields; the first row has 2"),
    ("latin.csv", "text,label\ncaf\xe9 au lait,x\n".encode("latin-1"), r"latin\.csv:2: byte 0xe9 at offset 14 is not UTF-8\nif it is Latin-1"),
    ("single.csv", "text\na b c\n", r"single\.csv: one column only; expected a text and a label"),
    ("empty.csv", "", r"empty\.csv: empty file"),
    ("head.csv", "text,label\n", r"head\.csv: no row with a text|head\.csv: "),
    ("string.json", '["a", "b"]', r"string\.json:1: a JSON string; expected an object with a text and a label"),
    ("book.txt", "It was a dark night.\n", r"book\.txt: no table that is known by its suffix '\.txt'"),
    ("score.csv", "text,label\n" + "".join(f"text number {n} here,{n * 0.37:.2f}\n" for n in range(40)),
     r"score\.csv: 40 different labels in 40 rows: numbers to predict \(regression\), not classes"),
    ("ids.csv", "text,label\n" + "".join(f"text number {n} here,id{n}\n" for n in range(40)),
     r"40 different labels in 40 rows: ids or free text, not classes"),
    ("many.jsonl", '{"q": "a b c d", "a1": "e f g h", "a2": "i j k l", "label": 1}\n{"q": "m n o p", "a1": "q r s t", "a2": "u v w x", "label": 0}\n',
     r"columns 1 'q', 2 'a1', 3 'a2' could all be the text\nname it by name or number from 1: --text-column 1"),
])
def test_bad_input_is_named_with_file_line_and_remedy(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_labelled(write(tmp_path / name, content))
    assert 1 <= len(str(error.value).splitlines()) <= 3


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_labelled(tmp_path / "none.csv")
    with pytest.raises(DataError, match="a folder; give one file"):
        read_labelled(tmp_path)


@pytest.mark.parametrize(("name", "rows", "labels", "text", "label", "header"), [
    ("sms_spam.tsv", 5574, ("ham", "spam"), (2,), 1, False),
    ("ag_news_test.csv", 7600, ("1", "2", "3", "4"), (2, 3), 1, False),
    ("fsmtsa_turkish_sentiment.csv", 15853, ("0", "1", "2"), (1,), 2, True),
])
def test_real_sets_are_read_without_a_flag(shared_data, name, rows, labels, text, label, header):
    labelled = read_labelled(shared_data / "classification" / name)
    assert (len(labelled.rows), labelled.labels, labelled.dropped) == (rows, labels, {})
    guess = labelled.guess
    assert (guess.text_columns, guess.label_column, guess.header) == (text, label, header)


def test_python_docs_is_a_labelled_set_by_its_name():
    labelled = read_labelled(Path("python-docs"))
    assert len(labelled.rows) >= 1000
    assert len(labelled.labels) == 8
    assert "text: column 1 'docstring', label: column 2 'package'" in labelled.guess.describe()
    with pytest.raises(DataError, match="its text and label are fixed"):
        read_labelled(Path("python-docs"), label_column="2")
