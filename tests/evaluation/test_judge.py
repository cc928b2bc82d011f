"""`tohum judge` against a real HTTP server over a tiny model: faults, restarts, waits."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tohum.errors import ConfigError, FailedError
from tohum.evaluation.answer_file import AnswerRow
from tohum.evaluation.endpoint import Endpoint
from tohum.evaluation.judge import Limits, Run, Session
from tohum.evaluation.judged_file import JudgedFile, Judgement

from .judge_runs import answers, arguments, judged, lines, run
from .judge_server import NAME, JudgeServer

# Tests that are started in the background of a script inherit that Ctrl-C is ignored; this process is to hear it.
RUN = ('import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import tohum.cli.main as main; '
       'main.COMMANDS.setdefault("judge", ("judge", "")); main.main()')


def process(path: Path, server: JudgeServer, *more: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, "judge", *arguments(path, server, *more)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_judge_gets_every_score_through_time_outs_errors_and_malformed_replies(server, tmp_path):
    server.faults = {1: ["malformed"], 2: ["range", "malformed"], 3: ["hang"], 4: ["429"], 5: ["500", "503"],
                     6: ["drop"]}
    path = answers(tmp_path)
    found = judged(path, server, "--timeout", "2s", "--concurrency", "6")
    scores = [server.grade(n)[0] for n in range(12)]
    assert (found["scored"], found["unscored"], found["asked"]) == (12, 0, 12)
    assert found["mean_score"] == pytest.approx(sum(scores) / 12)
    assert found["low"] < found["mean_score"] < found["high"]
    assert found["out"] == str(tmp_path / "answers.jsonl.judged.jsonl")
    by_place = {line["place"]: line for line in lines(found["out"])}
    assert [by_place[f"test.json:{n}"]["score"] for n in range(12)] == scores
    assert by_place["test.json:0"]["reason"] == server.grade(0)[1].strip()
    assert by_place["test.json:0"]["answer"] == "It is 0."
    tries = {1: 2, 2: 3, 3: 2, 4: 2, 5: 3, 6: 2}
    assert dict(server.asked) == {n: tries.get(n, 1) for n in range(12)}
    assert [by_place[f"test.json:{n}"]["attempts"] for n in range(12)] == [tries.get(n, 1) for n in range(12)]


def test_judge_asks_nothing_when_run_again_and_only_for_what_changed(server, tmp_path):
    path = answers(tmp_path)
    first = judged(path, server)
    again = judged(path, server)
    assert server.asked.total() == 12
    assert again == first | {"asked": 0}
    rows = lines(path)
    rows[3]["answer"] = "Another answer."
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]), "utf-8")
    assert judged(path, server)["asked"] == 1  # one changed, one twice
    assert server.asked[3] == 2
    with JudgeServer(server.model) as other:
        assert judged(path, other, "--out", str(tmp_path / "new.jsonl"))["asked"] == 12


def test_judge_killed_in_the_middle_goes_on_and_asks_no_recorded_row_twice(server, tmp_path):
    path, out = answers(tmp_path, 40), tmp_path / "answers.jsonl.judged.jsonl"
    server.seconds = 0.1
    running = process(path, server, "--concurrency", "3")
    wait_for(lambda: out.exists() and out.read_bytes().count(b"\n") >= 8)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)
    assert running.returncode == -signal.SIGKILL
    recorded = {int(line["place"].split(":")[1]) for line in lines(out)}
    assert 8 <= len(recorded) < 40
    asked_before = server.asked.copy()
    server.seconds = 0.0
    with out.open("ab") as file:  # as a kill in the middle of a line leaves it
        file.write(b'{"key": "12ab", "place": "test.js')
    found = judged(path, server)
    assert (found["scored"], found["asked"]) == (40, 40 - len(recorded))
    assert all(server.asked[n] == asked_before[n] for n in recorded)
    assert sorted(int(line["place"].split(":")[1]) for line in lines(out)) == list(range(40))
    assert found["mean_score"] == pytest.approx(sum(server.grade(n)[0] for n in range(40)) / 40)


def test_judge_stops_at_once_on_ctrl_c_and_keeps_what_it_has(server, tmp_path):
    path, out = answers(tmp_path, 30), tmp_path / "answers.jsonl.judged.jsonl"
    server.faults = {n: ["hang"] for n in range(6, 30)}
    running = process(path, server)
    wait_for(lambda: out.exists() and out.read_bytes().count(b"\n") == 6 and server.asked.total() >= 10)
    started = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert time.monotonic() - started < 5  # the requests that hang are not waited for
    assert running.returncode == 130
    assert "stopped by Ctrl-C" in errors
    assert "6 of 30 answers are judged" in errors
    assert "Traceback" not in errors
    assert len(lines(out)) == 6


def test_judge_records_a_row_whose_replies_never_hold_a_score_and_does_not_ask_again(server, tmp_path):
    server.faults = {5: ["malformed", "range", "malformed"]}
    path = answers(tmp_path)
    found = judged(path, server, "--retries", "2")
    assert (found["scored"], found["unscored"], found["no_reply"]) == (11, 1, 0)
    assert found["mean_score"] == pytest.approx(sum(server.grade(n)[0] for n in range(12) if n != 5) / 11)
    line = next(line for line in lines(found["out"]) if line["place"] == "test.json:5")
    assert line["score"] is None
    assert "I like it a lot." in line["reason"]
    assert server.asked[5] == 3
    last = next(body for body in reversed(server.bodies) if "row 5:" in body["messages"][0]["content"])
    assert last["messages"][0]["content"].endswith('Nothing but the JSON object: {"score": <0 to 100>, "reason": "<why>"}')
    assert judged(path, server, "--retries", "2")["asked"] == 0
    shown = run(*arguments(path, server, "--retries", "2"))
    assert "unscored    1 whose replies held no score" in shown.stdout


def test_judge_leaves_a_row_without_reply_to_the_next_run(server, tmp_path):
    server.faults = {5: ["500", "500"], 6: ["413"]}
    path = answers(tmp_path)
    found = judged(path, server, "--retries", "1")
    assert (found["scored"], found["unscored"], found["no_reply"]) == (10, 2, 2)
    assert server.asked[6] == 1  # a prompt that is too long does not get shorter
    again = judged(path, server, "--retries", "1")
    assert (again["scored"], again["unscored"], again["asked"]) == (12, 0, 2)


def test_judge_waits_as_long_as_the_server_asks(server, tmp_path):
    server.faults, server.retry_after = {0: ["429"]}, "1"
    judged(answers(tmp_path, 8), server, "--concurrency", "1")
    assert server.moments[0][1] - server.moments[0][0] >= 1.0
    server.faults, server.retry_after = {0: ["429"]}, "100000"
    result = run(*arguments(answers(tmp_path, 8), server, "--out", str(tmp_path / "new.jsonl")))
    assert isinstance(result.exception, FailedError)
    assert "asks to wait 100,000 s" in str(result.exception)


def test_judge_gives_up_when_the_server_dies_and_goes_on_when_it_is_back(server, tmp_path):
    path = answers(tmp_path, 20)
    server.faults = {n: ["503", "503"] for n in range(5, 20)}
    result = run(*arguments(path, server, "--retries", "0", "--concurrency", "2"))
    assert isinstance(result.exception, FailedError)
    assert "5 answers in a row got no reply; the last: 503 Service Unavailable: told to say 503" in str(result.exception)
    assert "5 of 20 answers are judged" in str(result.exception)
    server.faults = {}
    assert judged(path, server)["asked"] == 15


def test_judge_keeps_the_replies_that_wait_when_an_error_stops_it(tmp_path):
    waiting = {f"key{n}": AnswerRow(prompt=f"row {n}", expected="a", answer="b", place=f"{n}") for n in range(3)}
    session = Session(Endpoint(url="http://127.0.0.1:9", model=NAME, timeout_seconds=1), Limits(concurrency=0))
    pass_over = Run(session, JudgedFile(tmp_path / "out.jsonl"), waiting, list(waiting))
    pass_over.results.put(("key0", ConfigError("the key was not accepted")))
    pass_over.results.put(("key1", Judgement(key="key1", score=7, reason="", attempts=1)))
    with pytest.raises(ConfigError, match="not accepted"):
        pass_over.finish(lambda _: None)
    assert [line["key"] for line in lines(tmp_path / "out.jsonl")] == ["key1"]
    assert session.stop.is_set()


def test_judge_drops_the_temperature_for_a_model_that_wants_its_own(server, tmp_path):
    server.always = "temperature"
    assert judged(answers(tmp_path), server)["scored"] == 12
    with_temperature = ["temperature" in body for body in server.bodies]
    assert with_temperature[0]
    assert not any(with_temperature[-5:])


def test_judge_asks_for_nothing_but_json_after_a_malformed_reply_where_the_server_can(server, tmp_path):
    server.faults = {0: ["malformed"]}
    judged(answers(tmp_path, 1), server)
    first, second = server.bodies
    assert "response_format" not in first
    assert second["response_format"]["json_schema"]["schema"]["required"] == ["score", "reason"]
    server.bodies.clear()
    server.faults = {0: ["no schema"] * 4}
    found = judged(answers(tmp_path, 2), server, "--out", str(tmp_path / "new.jsonl"), "--concurrency", "1", "--retries", "2")
    assert (found["scored"], found["unscored"], found["no_reply"]) == (1, 1, 0)
    assert ["response_format" in body for body in server.bodies] == [False, True, False, False, False]  # learned once


def test_judge_shows_progress_on_stderr_only(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tohum.cli.judge.FIRST_LINE_SECONDS", 0.0)
    monkeypatch.setattr("tohum.cli.judge.LINE_EVERY_SECONDS", 0.0)
    result = run(*arguments(answers(tmp_path, 3), server, "--json"))
    assert "judged 2/3 · mean " in result.stderr
    assert " left" in result.stderr
    assert set(json.loads(result.stdout)) >= {"mean_score", "scored", "unscored", "out"}
