"""What a judge is asked, where it is asked, and how its reply is read."""

import time

import pytest

from tohum.errors import ConfigError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.endpoint import Endpoint, chat_url, wait_asked_for
from tohum.evaluation.grading import question, read_grade
from tohum.evaluation.judged_file import key_of

ROW = AnswerRow(prompt="Name {a} colour.", expected="Red.", answer="Blue {score}.")


@pytest.mark.parametrize(("reply", "score"), [
    ('{"score": 85, "reason": "good"}', 85),
    ('{"reason": "a {curly} one", "score": 0}', 0),
    ('{"score": 100.0}', 100),
    ('{"score": "85/100", "reason": "x"}', 85),
    ('Sure!\n```json\n{"score": 85,\n "reason": "two\nlines"}\n```\nBye.', 85),
    ('{"result": {"score": 40, "reason": "nested"}}', 40),
    ("{'score': 85, 'reason': 'single quotes',}", 85),
    ('{"score": 85, "reason": "cut off in the mid', 85),
    ("Score: 85", 85),
    ("**Score:** 85/100. It is fine.", 85),
    ("My score is 85.", 85),
    ("First score: 20\nOn second thought, score: 85", 85),
    ('A draft: {"score": 20}. Final: {"score": 85, "reason": "better"}', 85),
    ("<think>Score: 20? {\"score\": 30}</think>\n85", 85),
    ("the reply begins within thoughts, score: 3</think>Score: 85", 85),
    ("85", 85),
    (" **85/100** ", 85),
    ("85 out of 100.", 85),
])
def test_grade_is_found_in_every_form(reply, score):
    found = read_grade(reply)
    assert found is not None
    assert found.score == score


@pytest.mark.parametrize("reply", [
    "", "I like it.", '{"score": 101}', '{"score": -1}', '{"score": 850, "reason": "much"}', "Score: 120", "Score: -5",
    '{"score": 0.85}', "Score: 0.85", "Score: 8/10", "8/10", '{"score": "8/10"}', '{"score": true}', '{"score": null}',
    '{"score": NaN}', '{"score": [85]}', "Score: 80-90", '{"score": <0 to 100>, "reason": "<why>"}', '{"score": 8',
    "<think>Score: 85 or so, but let me", "Score: 1,000", "There are 12 mistakes.", '{"grade": 85}',
    '{"score": 50} no: {"score": 500}', "{" * 50_000, '{"a":' * 20_000, "[" * 100_000,
])
def test_grade_that_is_none_is_not_guessed(reply):
    started = time.perf_counter()
    assert read_grade(reply) is None
    assert time.perf_counter() - started < 5


def test_grade_carries_the_reason():
    assert read_grade('{"score": 85, "reason": "  Right, but short. "}').reason == "Right, but short."
    assert read_grade("Score: 85\nRight, but short.").reason == "Score: 85\nRight, but short."
    assert read_grade("85").reason == ""
    assert len(read_grade('{"score": 85, "reason": "' + "x" * 9000 + '"}').reason) == 2000


def test_question_holds_all_three_texts_and_decides_the_key():
    asked = question(ROW)[0]["content"]
    assert all(text in asked for text in ("Name {a} colour.", "Red.", "Blue {score}."))
    talk = AnswerRow(prompt=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name one."}],
                     expected="Red.", answer="Blue.")
    assert "system: Be brief.\n\nuser: Name one." in question(talk)[0]["content"]
    others = [AnswerRow(prompt="Other", expected="Red.", answer="Blue {score}."),
              AnswerRow(prompt="Name {a} colour.", expected="Green.", answer="Blue {score}."),
              AnswerRow(prompt="Name {a} colour.", expected="Red.", answer="Blue.")]
    assert len({key_of(row, "m") for row in [ROW, *others]} | {key_of(ROW, "n")}) == 5
    assert key_of(AnswerRow(**(vars(ROW) | {"place": "elsewhere:3", "finish_reason": "length"})), "m") == key_of(ROW, "m")


@pytest.mark.parametrize(("given", "url"), [
    ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
    ("http://localhost:11434/", "http://localhost:11434/v1/chat/completions"),
    ("https://api.example.com/v1", "https://api.example.com/v1/chat/completions"),
    ("https://api.example.com/openai/v1/chat/completions", "https://api.example.com/openai/v1/chat/completions"),
    ("https://api.example.com/v1/?version=2", "https://api.example.com/v1/chat/completions?version=2"),
    ("http://[::1]:8000", "http://[::1]:8000/v1/chat/completions"),
])
def test_endpoint_of_what_people_give(given, url):
    assert chat_url(given) == url


@pytest.mark.parametrize("given", ["localhost:11434", "file:///etc/passwd", "ftp://a/b", "http://", "http://a b/", "",
                                   "http://host:port/", "http://[::1/", "http://host/ü", "http://a\r\nX: y/"])
def test_endpoint_refuses_what_is_no_http_url(given):
    with pytest.raises(ConfigError, match="expected one like http://localhost:11434/v1"):
        chat_url(given)


def test_endpoint_refuses_a_password_without_showing_it():
    with pytest.raises(ConfigError, match="--api-key-env") as caught:
        chat_url("https://me:hunter2@api.example.com/v1")
    assert "hunter2" not in str(caught.value)
    assert "secret" not in repr(Endpoint(url="http://a", model="m", timeout_seconds=1, api_key="secret"))


def test_endpoint_reads_both_forms_of_retry_after():
    from email.utils import formatdate

    assert wait_asked_for("7") == 7
    assert wait_asked_for(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert wait_asked_for(formatdate(time.time() - 30, usegmt=True)) == 0
    assert wait_asked_for("soon") is wait_asked_for("nan") is wait_asked_for(None) is None
