"""Speed of `tohum data prepare` against tiktoken: `python -m benchmarks.prepare_speed [--megabytes 1000] [--rounds 3]`.

One corpus of text that this machine has (Python sources, and the texts of ../shared/data), filled up by a generator
that makes as many new words per megabyte as the last tenth of the real text brings: a repeated file would only measure
a cache. Ours is the whole command, with reading, hashing, splitting, encoding and writing. Theirs is tiktoken's batch
encoding alone, of texts that are in memory, with the same vocabulary on as many threads; its ids are held against ours.
"""

import argparse
import contextlib
import json
import random
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.common import DATA, WORK, record, tohum
from benchmarks.rows import row

from tohum.machine import cores

FOLDER = WORK / "prepare"
WORD, WORDS = re.compile(r"\w"), re.compile(r"\w+|\W+")
LETTERS = "etaoinshrdlucmfwypvbgk"
DOCUMENT_CHARACTERS = 4000
THEIRS = """
import json, sys, time
from pathlib import Path
import tiktoken
from tohum.tokenizing.patterns import DEFAULT_PATTERN, PATTERNS
from tohum.tokenizing.tokenizer import Tokenizer
words = Tokenizer.load(Path(sys.argv[1]))
ranks = {words.token_bytes(i): i for i in range(words.vocab_size) if i not in words.special_ids}
encoding = tiktoken.Encoding("same", pat_str=PATTERNS[DEFAULT_PATTERN], mergeable_ranks=ranks, special_tokens={})
threads, batch, seconds, tokens = int(sys.argv[3]), [], 0.0, 0

def encode():
    global batch, seconds, tokens
    started = time.perf_counter()
    encoded = encoding.encode_ordinary_batch(batch, num_threads=threads)
    seconds += time.perf_counter() - started
    tokens += sum(map(len, encoded)) + len(batch)  # ours ends every document with one more
    batch = []

for line in open(sys.argv[2], encoding="utf-8"):
    text = json.loads(line)["text"]
    if not text.strip():  # ours leaves it out
        continue
    batch.append(text)
    if len(batch) == 1000:
        encode()
encode()
print(json.dumps({"seconds": seconds, "tokens": tokens}))
"""


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    corpus, real_bytes = make_corpus(options.megabytes * 1_000_000)
    tokenizer = FOLDER / "tokenizer"
    if not tokenizer.is_dir():
        tohum("tokenizer", "train", "python-source", "--kind", "bpe", "--vocab-size", 32768, "--out", tokenizer)
    found: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    for _ in range(options.rounds):
        found["ours"].append(ours(corpus, tokenizer))
        found["theirs"].append(theirs(corpus, tokenizer))
    size = corpus.stat().st_size
    rows = {name: {key: median(entry[key] for entry in entries) for key in entries[0]}
            for name, entries in found.items()}
    assert rows["ours"]["tokens"] == rows["theirs"]["tokens"], f"the two encoders differ: {rows}"
    rates = {name: size / row["seconds"] / 1e6 for name, row in rows.items()}
    record("prepare_speed", {
        "bytes": size, "real_bytes": real_bytes, "rows": [row(
            "data prepare, the whole command, against batch encoding alone", unit="MB/s", ours=rates["ours"],
            peer=rates["theirs"], peer_name="tiktoken", goal=5.0, memory=rows["ours"]["peak_memory_bytes"],
            peer_memory=rows["theirs"]["peak_memory_bytes"], packages=("tiktoken", "gigatoken", "tokenizers"))]})


def make_corpus(size: int) -> tuple[Path, int]:
    """A JSONL file of at least `size` bytes, made once, and how many of them are real text."""
    path, note = FOLDER / f"corpus-{size // 1_000_000}.jsonl", FOLDER / f"corpus-{size // 1_000_000}.json"
    if not note.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        real = 0
        with path.open("w", encoding="utf-8") as file:
            for text in documents(size):
                file.write(json.dumps({"text": text.text}, ensure_ascii=False) + "\n")
                real += len(text.text.encode("utf-8")) * text.real
                if file.tell() >= size:
                    break
        note.write_text(json.dumps({"real_bytes": real}), "utf-8")
    return path, json.loads(note.read_text("utf-8"))["real_bytes"]


class Text(NamedTuple):
    """One document."""

    text: str
    real: bool


def documents(size: int) -> Iterator[Text]:
    """Real ones first, each once; then made ones without end."""
    seen: set[str] = set()
    last: list[str] = []  # words of the last tenth of the real text
    real, fresh_from = list(real_texts(size)), 0
    border = sum(map(len, real)) * 9 // 10
    fresh, characters = 0, 0
    for text in real:
        for start in range(0, len(text), DOCUMENT_CHARACTERS):
            part = text[start : start + DOCUMENT_CHARACTERS]
            words = WORDS.findall(part)
            characters += len(part)
            if characters > border:
                fresh_from += len(part)
                fresh += len(set(words) - seen)
                last += words
            seen.update(words)
            yield Text(part, True)
    yield from made(last, fresh / max(1, fresh_from))


def real_texts(size: int) -> Iterator[str]:
    """Files that are text, up to `size` characters."""
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib")), DATA, Path("/usr/share")]
    total = 0
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.suffix not in (".py", ".txt", ".md", ".rst", ".pyi", ".json", ".html") or not path.is_file():
                continue
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            total += len(text)
            yield text
            if total >= size:
                return


def made(parts: list[str], fresh_per_character: float) -> Iterator[Text]:
    """Words of real text and what stands between them, each in a random order, and now and then a new word."""
    chance = random.Random(1)
    words = [part for part in parts if WORD.match(part)]
    gaps = [part for part in parts if not WORD.match(part)]
    pair = sum(map(len, words)) / len(words) + sum(map(len, gaps)) / len(gaps)
    count = int(DOCUMENT_CHARACTERS / pair)
    while True:
        mine = chance.choices(words, k=count)
        for place in range(count):
            if chance.random() < fresh_per_character * pair:
                mine[place] = "".join(chance.choices(LETTERS, k=chance.randint(5, 12)))
        yield Text("".join(word + gap for word, gap in zip(mine, chance.choices(gaps, k=count), strict=True)), False)


def ours(corpus: Path, tokenizer: Path) -> dict[str, float]:
    """The whole command, from the start of its process."""
    out = FOLDER / "data"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "tohum", "data", "prepare", str(corpus), "--tokenizer", str(tokenizer), "--out",
               str(out), "--json"]
    started = time.perf_counter()
    done, peak = run(command)
    return {"seconds": time.perf_counter() - started, "tokens": done["train_tokens"] + done["val_tokens"],
            "peak_memory_bytes": peak}


def theirs(corpus: Path, tokenizer: Path) -> dict[str, float]:
    """tiktoken, in a process of its own."""
    done, peak = run([sys.executable, "-c", THEIRS, str(tokenizer), str(corpus), str(cores())])
    return done | {"peak_memory_bytes": peak}


def run(command: list[str]) -> tuple[dict[str, Any], float]:
    """The object that a command prints last, and the largest resident memory of its process in bytes."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        peak = 0.0  # getrusage would begin with the memory of this process, from which the other one was forked
        while process.poll() is None:
            with contextlib.suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
                peak = max(peak, float(found[1]) * 1024 if found else 0.0)
            time.sleep(0.02)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(errors.read()[-2000:])
        return json.loads(out.read()), peak


if __name__ == "__main__":
    main()
