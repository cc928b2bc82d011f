"""The answer file: what is written is read again, and what is wrong is named with its line."""

import json

import pytest

from tohum.errors import DataError
from tohum.evaluation.answer_file import AnswerRow, read_answers, write_answers

ROWS = [AnswerRow(prompt="Ne renk?\nBir satır.", expected="Kırmızı", answer="", finish_reason="length", place="a.csv:2"),
        AnswerRow(prompt=[{"role": "user", "content": "Hi"}], expected="Hello", answer="🌱", place="a.csv:3")]


def test_answer_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "answers.jsonl"
    write_answers(path, ROWS)
    assert read_answers(path) == ROWS
    assert len(path.read_text("utf-8").splitlines()) == 2
    assert "Kırmızı" in path.read_text("utf-8")
    assert not list(tmp_path.glob(".*"))


def test_answer_file_without_answers_holds_questions(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_answers(path, [AnswerRow(prompt="a", expected="b")])
    assert json.loads(path.read_text()) == {"prompt": "a", "expected": "b"}
    assert read_answers(path, answered=False) == [AnswerRow(prompt="a", expected="b", place=f"{path}:1")]
    with pytest.raises(DataError, match=r"prompts\.jsonl:1: no 'answer'; the keys that are there: prompt, expected"):
        read_answers(path)


@pytest.mark.parametrize(("line", "seen"), [
    ('{"expected": "b", "answer": "c"}', "no 'prompt'; the keys that are there: expected, answer"),
    ('{"prompt": "a", "expected": null, "answer": "c"}', "no 'expected'"),
    ('{"prompt": "a", "expected": 3, "answer": "c"}', "'expected' is a JSON number; expected a string"),
    ('{"prompt": {}, "expected": "b", "answer": "c"}', "'prompt' is a JSON object; expected a string"),
    ('{"prompt": [], "expected": "b", "answer": "c"}', "'prompt' is an empty list"),
    ('{"prompt": [{"role": "user"}], "expected": "b", "answer": "c"}', "message 1 of 'prompt' is {'role': 'user'}"),
    ('"text"', "a JSON string; expected an object"),
    ("{", "not valid JSON"),
])
def test_answer_file_names_the_line(tmp_path, line, seen):
    path = tmp_path / "answers.jsonl"
    write_answers(path, ROWS)
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(DataError) as caught:
        read_answers(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert seen in str(caught.value)


def test_answer_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file"):
        read_answers(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        read_answers(tmp_path)


def test_answer_file_survives_half_a_surrogate_pair(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt": "a\\ud83c", "expected": "b", "answer": "c\\r\\n"}\n')
    row = read_answers(path)[0]
    assert (row.prompt, row.answer) == ("a\ufffd", "c\n")
    write_answers(path, [row])
