"""A server that speaks OpenAI's chat completions over a tiny random model, and misbehaves where it is told to."""

import hashlib
import json
import re
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tohum.handle import Model

NAME = "tiny-judge"
FORMS = ('{{"score": {score}, "reason": {reason}}}', '```json\n{{"reason": {reason}, "score": "{score}"}}\n```',
         "Let me see {{the answer}}.\n**Score:** {score}/100\n{reason}", "<think>Score: 3</think> {{\"score\": {score}.0}}")


class Listener(ThreadingHTTPServer):
    """Closing waits for the replies in the making: a thread that is inside torch when Python ends aborts it."""

    daemon_threads = False

    def handle_error(self, *_: object) -> None:
        """Whoever asked has gone, or was killed."""


class JudgeServer:
    """`faults[row]`: what goes wrong with that row's requests, one after the other; then, or without, all is well.

    Faults: "malformed", "hang", "drop", "html", "range", "moved", "temperature", "no schema", or a status such as "429" or "500".
    """

    def __init__(self, model: Model, *, seconds: float = 0.0, key: str | None = None):
        self.model, self.seconds, self.key = model, seconds, key
        self.faults: dict[int, list[str]] = {}
        self.always: str | None = None  # a fault of every request
        self.retry_after: str | None = None
        self.asked: Counter[int] = Counter()
        self.moments: dict[int, list[float]] = defaultdict(list)
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.lock, self.free = threading.Lock(), threading.Event()
        self.http = Listener(("127.0.0.1", 0), handler_of(self))
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self) -> "JudgeServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def grade(self, row: int) -> tuple[int, str]:
        """What this judge thinks of a row: the model's own words, and a score that follows from them."""
        with self.lock:
            words = self.model.generate(f"row {row}", max_tokens=8, seed=row)
        return hashlib.sha256(f"{row}{words}".encode()).digest()[0] % 101, words

    def content(self, row: int) -> str:
        """A good reply, in one of the forms that judges use."""
        score, words = self.grade(row)
        return FORMS[row % len(FORMS)].format(score=score, reason=json.dumps(words))

    def note(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, str | None]:
        """Row and fault of a request."""
        row = int(re.search(r"row (\d+)", body["messages"][0]["content"])[1])
        with self.lock:
            self.asked[row] += 1
            self.moments[row].append(time.monotonic())
            self.headers.append(headers)
            self.bodies.append(body)
            waiting = self.faults.get(row)
            return row, self.always or (waiting.pop(0) if waiting else None)


def handler_of(server: JudgeServer) -> type[BaseHTTPRequestHandler]:
    """The class that http.server makes an object of for each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Silent."""

        def do_GET(self) -> None:
            self.send(405, {"error": {"message": "GET"}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                self.send(404, {"detail": "Not Found"})
            elif server.key is not None and self.headers.get("Authorization") != f"Bearer {server.key}":
                self.send(401, {"error": {"message": f"wrong key: {self.headers.get('Authorization')}"}})
            elif body["model"] != NAME:
                self.send(404, {"error": {"message": f"model '{body['model']}' not found"}})
            else:
                row, fault = server.note(dict(self.headers), body)
                server.free.wait(server.seconds)
                self.reply(row, fault, body)

        def reply(self, row: int, fault: str | None, body: dict[str, Any]) -> None:
            said = {"malformed": "I like it a lot.", "range": '{"score": 850, "reason": "much"}'}
            if fault == "hang":
                server.free.wait(20)
            elif fault == "drop":
                self.close_connection = True
            elif fault == "html":
                self.send_bytes(200, b"<!doctype html><title>Welcome</title>", "text/html")
            elif fault == "moved":
                self.send(302, {}, {"Location": "http://127.0.0.1:9/elsewhere"})
            elif fault == "temperature" and "temperature" in body:
                self.send(400, {"error": {"message": "Unsupported value: 'temperature'"}})
            elif fault == "no schema":
                self.send(*((422, {"detail": "bad"}) if "response_format" in body else (200, {"choices": [
                    {"message": {"content": "I like it."}}]})))
            elif fault and fault.isdigit():
                wait = {"Retry-After": server.retry_after} if server.retry_after else {}
                self.send(int(fault), {"error": {"message": f"told to say {fault}"}}, wait)
            else:
                self.send(200, {"choices": [{"message": {"role": "assistant",
                                                         "content": said.get(fault or "", server.content(row))}}]})

        def send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            self.send_bytes(status, json.dumps(value).encode(), "application/json", headers)

        def send_bytes(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    return Handler
