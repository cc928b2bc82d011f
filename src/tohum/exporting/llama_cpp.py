"""llama.cpp as a reader of GGUF files: its server in a process of its own, asked over the loopback interface.

    python -m tohum.exporting.llama_cpp MODEL.gguf CONTEXT ROWS 1  ->  a line with the server's address, then it serves

A process of its own because llama.cpp ends the process that it is in when it does not like a file. It computes with
float32 for keys and values; what it rounds beyond the file's format (activations, a table for GELU) stays.
"""

import importlib
import importlib.metadata
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tohum.errors import FailedError
from tohum.machine import cores

START_SECONDS, ANSWER_SECONDS = 300, 300
MARK = "tohum serves at "


class LlamaCpp:
    """A file read by llama.cpp."""

    log_probabilities = True
    exact = 0.02

    def __init__(self, path: Path, context: int = 1024, *, rows: int = 1, exact_cache: bool = True):
        """context: tokens of all rows together; exact_cache: keys and values in float32, attention unfused."""
        self.name = f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')})"
        self.log = path.with_name(f".{path.name}.log")
        with open(self.log, "wb") as log:
            settings = [str(path), str(context), str(rows), str(int(exact_cache))]
            self.process = subprocess.Popen([sys.executable, "-m", __name__, *settings], stderr=log, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = self.wait(path)

    def wait(self, path: Path) -> str:
        """The server's address. Raises FailedError with llama.cpp's last words where it does not start in time."""
        assert self.process.stdout is not None
        too_late = threading.Timer(START_SECONDS, self.process.kill)  # which ends its stdout
        too_late.start()
        try:
            for line in self.process.stdout:
                if line.startswith(MARK):
                    return line.removeprefix(MARK).strip()
        finally:
            too_late.cancel()
        words = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        self.close()
        raise FailedError(f"{path}: llama.cpp does not read it: {' | '.join(words[-3:])[-400:]}")

    def close(self) -> None:
        """End the server."""
        self.process.kill()
        self.process.wait()
        self.log.unlink(missing_ok=True)

    def __enter__(self) -> "LlamaCpp":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, path: str, **values: Any) -> Any:
        """One question to the server. Raises FailedError."""
        request = urllib.request.Request(self.address + path, json.dumps(values).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            words = error.read(500).decode("utf-8", errors="replace")
            raise FailedError(f"llama.cpp does not answer {path}: {error}: {words}") from None
        except (urllib.error.URLError, ValueError, OSError) as error:
            raise FailedError(f"llama.cpp does not answer {path}: {error}") from None

    def token_ids(self, text: str) -> list[int]:
        """Ids without BOS; special tokens that a text spells stay text."""
        return self.ask("/tokenize", content=text, add_special=False, parse_special=False)["tokens"]

    def after(self, ids: Sequence[int], count: int) -> list[dict[str, Any]]:
        """The `count` likeliest next tokens with their log-probabilities."""
        found = self.ask("/completion", prompt=list(ids), n_predict=1, temperature=0.0, n_probs=count,
                         cache_prompt=True, logit_bias=[[self.harmless, 1e4]])
        return found["completion_probabilities"][0]["top_logprobs"]

    @cached_property
    def harmless(self) -> int:
        """A token that llama.cpp is made to choose while it is asked for the likeliest.

        For an end token, or part of a character, it gives no list; the list itself is that of the raw scores.
        """
        return self.token_ids("a")[-1]

    def scores(self, ids: Sequence[int], places: Sequence[int]) -> Tensor:
        """(places, V) log-probabilities."""
        rows = []
        for place in places:
            found = self.after(ids[: place + 1], 1_000_000)
            row = torch.full((1 + max(entry["id"] for entry in found),), float("-inf"))
            row[[entry["id"] for entry in found]] = torch.tensor([entry["logprob"] for entry in found])
            rows.append(row)
        return torch.stack(rows)

    def best(self, ids: Sequence[int], places: Sequence[int]) -> list[int]:
        """The best at each place."""
        return [self.after(ids[: place + 1], 1)[0]["id"] for place in places]

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """What it continues `ids` with."""
        found = self.ask("/completion", prompt=list(ids), n_predict=count, temperature=0.0, return_tokens=True,
                         ignore_eos=True)
        return found["tokens"]


def serve(path: str, context: int, rows: int, exact_cache: bool) -> None:
    """Load a file and answer until the other side closes stdin."""
    xllamacpp: Any = importlib.import_module("xllamacpp")  # compiled: its names are not in the text
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.port = context, rows, 0
    params.hostnames, params.ui, params.warmup, params.fit_params = ["127.0.0.1"], False, False, False
    if exact_cache:
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cpuparams.n_threads = cores()
    server = xllamacpp.Server(params)
    print(f"{MARK}{server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
