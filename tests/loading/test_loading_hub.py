"""Hub ids, against a server of our own that speaks the Hub's protocol; huggingface_hub itself is the client."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from benchmarks.families import llama, perturbed

from tohum.errors import CheckpointError
from tohum.loading.hub import HUB_ID, is_hub_id, needed
from tohum.tokenizing.training import train

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository, acme/tiny; `cut` breaks the first download of a file in its middle."""

    files: dict[str, bytes]
    asked: list[tuple[str, str, str | None]]
    cut: set[str]
    gated = False

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = unquote(self.path.split("?")[0])
        self.asked.append((self.command, path, self.headers.get("Range")))
        if self.gated:
            return self.send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body)
        if path.startswith("/api/models/acme/tiny/tree/"):
            tree = [{"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in self.files.items()]
            return self.send(200, json.dumps(tree).encode(), {}, body)
        if path.startswith("/api/models/acme/tiny"):
            info = {"id": "acme/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            return self.send(200, json.dumps(info).encode(), {}, body)
        for start in (f"/acme/tiny/resolve/{COMMIT}/", "/acme/tiny/resolve/main/"):
            if path.startswith(start) and path.removeprefix(start) in self.files:
                return self.file(path.removeprefix(start), body)
        return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

    def file(self, name, body):
        content = self.files[name]
        head = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            return self.send(206, content[start:], head | {
                "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, body)
        if body and name in self.cut:
            self.cut.discard(name)
            self.send(200, content[: len(content) // 2], head, body, length=len(content))
            self.close_connection = True
            return None
        return self.send(200, content, head, body)

    def send(self, status, content, head, body, length=None):
        self.send_response(status)
        for key, value in head.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    """A Llama of 28 MB (the client writes 10 MB at a time) with a tokenizer, and files that nobody needs."""
    folder = tmp_path_factory.mktemp("hf")
    perturbed(llama(vocab_size=300, hidden_size=512, intermediate_size=1024, num_hidden_layers=3)).save_pretrained(folder)
    train(["the seed waits " * 9], kind="bpe", vocab_size=265).save(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {"README.md": b"# tiny", "tf_model.h5": b"x" * 1000, "onnx/model.onnx": b"x"}


@pytest.fixture
def hub(model_files):
    """The server and its handler."""
    handler = type("Tiny", (Hub,), {"files": model_files, "asked": [], "cut": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def run(tmp_path, address, source, *, offline=False):
    """`tohum import` in a process of its own, as huggingface_hub reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_OFFLINE": "1" if offline else "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run([sys.executable, "-m", "tohum", "import", source, "--out", str(tmp_path / "out"), "--json"],
                          capture_output=True, text=True, timeout=120, env=os.environ | settings)


def test_a_hub_id_is_imported_with_the_needed_files_only_and_then_offline(tmp_path, hub):
    handler, address = hub
    done = run(tmp_path, address, "acme/tiny")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["family"] == "llama"
    fetched = {path.rsplit("/", 1)[-1] for method, path, _ in handler.asked if method == "GET" and "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert not fetched & {"README.md", "tf_model.h5", "model.onnx"}
    before = len(handler.asked)
    (tmp_path / "out").rename(tmp_path / "first")
    again = run(tmp_path, address, "acme/tiny", offline=True)
    assert again.returncode == 0, again.stderr
    assert len(handler.asked) == before
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "out")]
    assert weights[0] == weights[1]


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, hub):
    handler, address = hub
    handler.cut.add("model.safetensors")
    results = [run(tmp_path, address, "acme/tiny")]
    if results[0].returncode:  # the client may also go on by itself
        assert results[0].returncode == 2
        assert "Traceback" not in results[0].stderr
        assert not (tmp_path / "out").exists()
        results.append(run(tmp_path, address, "acme/tiny"))
    assert results[-1].returncode == 0, results[-1].stderr
    ranges = [value for method, path, value in handler.asked
              if method == "GET" and path.endswith("model.safetensors") and value]
    assert ranges, handler.asked


@pytest.mark.parametrize(("source", "said"), [("acme/nothing", "not found on the Hub"), ("acme/tiny@v9", "not found")])
def test_what_is_not_there_is_said_in_a_line(tmp_path, hub, source, said):
    handler, address = hub
    handler.do_GET = lambda self: self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, True)
    done = run(tmp_path, address, source)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert not (tmp_path / "out").exists()


def test_gated_models_offline_and_no_server(tmp_path, hub):
    handler, address = hub
    handler.gated = True
    done = run(tmp_path, address, "acme/tiny")
    assert (done.returncode, "accept the terms" in done.stderr) == (2, True), done.stderr
    done = run(tmp_path, address, "acme/tiny", offline=True)
    assert (done.returncode, "HF_HUB_OFFLINE" in done.stderr) == (2, True), done.stderr
    done = run(tmp_path, "http://127.0.0.1:9", "acme/tiny")
    assert (done.returncode, "cannot be reached" in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_which_files_are_needed():
    files = ["config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "flax_model.msgpack"]
    assert needed("a/b", files) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert needed("a/b", ["config.json", "pytorch_model.bin"]) == ["config.json", "pytorch_model.bin"]
    with pytest.raises(CheckpointError, match=r"name one, as in a/b/x-q8\.gguf"):
        needed("a/b", ["x-q8.gguf"])


@pytest.mark.parametrize(("text", "parts"), [
    ("acme/tiny", ("acme/tiny", None, None)), ("acme/tiny@v1.0", ("acme/tiny", None, "v1.0")),
    ("acme/tiny-GGUF/sub/x.gguf", ("acme/tiny-GGUF", "sub/x.gguf", None))])
def test_hub_ids(text, parts):
    assert HUB_ID.fullmatch(text).group("repo", "file", "revision") == parts
    assert is_hub_id(text)


@pytest.mark.parametrize("text", ["./acme/tiny", "/acme/tiny", "tiny", "a/b/c/d", "C:/x/y z"])
def test_paths_are_no_hub_ids(text):
    assert not is_hub_id(text)
