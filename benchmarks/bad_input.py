"""What Tohum says to mistakes: each command, its exit code and its words. Full disk: a small tmpfs; needs root."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import RESULTS


def say(*arguments: object, folder: Path) -> str:
    """Run a command and show what a user sees."""
    shown = "tohum " + " ".join(map(str, arguments))
    done = subprocess.run([sys.executable, "-m", "tohum", *map(str, arguments)], capture_output=True, text=True,
                          cwd=folder, timeout=300)
    said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith(("learning", "step", "no --")))
    assert "Traceback" not in done.stderr, done.stderr
    return f"$ {shown}\n{said or done.stdout.strip()}\n[exit code {done.returncode}]\n"


def prepare(folder: Path) -> None:
    """Good and bad inputs."""
    (folder / "text.txt").write_text("A seed waits under the snow, and a river carries it away.\n" * 200, "utf-8")
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 50)
    (folder / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"\n')
    (folder / "two.txt").write_text("The first line.\nThe second line.\n")
    for arguments in (["tokenizer", "train", "text.txt", "--kind", "char", "--out", "tok"],
                      ["data", "prepare", "text.txt", "--tokenizer", "tok", "--out", "data"],
                      ["pretrain", "--data", "data", "--out", "run", "--depth", "1", "--steps", "4"]):
        subprocess.run([sys.executable, "-m", "tohum", *arguments], cwd=folder, check=True, capture_output=True)


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def main() -> None:
    """Collect all of them into benchmarks/results/bad_input.txt."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        said = [say("tokenizer", "train", "missing.txt", "--out", "t", folder=folder),
                say("tokenizer", "train", "empty.txt", "--out", "t", folder=folder),
                say("data", "prepare", "binary.txt", "--tokenizer", "tok", "--out", "d", folder=folder),
                say("data", "prepare", "rows.jsonl", "--tokenizer", "tok", "--out", "d", folder=folder),
                say("tokenizer", "train", "text.txt", "--vocab-size", "50k", "--out", "t", folder=folder),
                say("data", "prepare", "two.txt", "--split", "line", "--tokenizer", "tok", "--out", "d2",
                    folder=folder),
                say("pretrain", "--data", "d2", "--steps", 3, "--depth", 1, "--out", "r2", folder=folder),
                say("pretrain", "--data", "data", "--model", "gpt2-124", "--steps", 3, "--out", "r", folder=folder),
                say("pretrain", "--data", "data", "--set", "trainng.steps=1", "--out", "r", folder=folder),
                say("pretrain", "--data", "data", "--steps", 3, "--out", "/proc/run", folder=folder)]
        said += full_disk(folder)
        subprocess.run([sys.executable, "-m", "tohum", "tokenizer", "train", "two.txt", "--kind", "char", "--out",
                        "other"], cwd=folder, check=True, capture_output=True)
        tokenizer = folder / "data" / "tokenizer" / "tokenizer.json"
        kept = tokenizer.read_bytes()
        tokenizer.write_bytes((folder / "other" / "tokenizer.json").read_bytes())
        said.append(say("pretrain", "--data", "data", "--steps", 3, "--out", "r", folder=folder))
        tokenizer.write_bytes(kept)
        flip_a_bit(next((folder / "data").glob("shard_*.bin")))
        said.append(say("data", "verify", "data", folder=folder))
        weights = folder / "run" / "last" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        (folder / "run" / "result.json").unlink()
        said.append(say("generate", "run", "--prompt", "A", folder=folder))
        said.append(say("pretrain", "--data", "data", "--out", "run", "--depth", 1, "--steps", 4, "--resume",
                        folder=folder))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "bad_input.txt").write_text("\n".join(said).replace(str(folder), "DIR"), "utf-8")
    print("\n".join(said))


def full_disk(folder: Path) -> list[str]:
    """A run on a disk of one megabyte, and what it leaves behind."""
    small = folder / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]).returncode:
        return ["(full disk: needs root to mount a small tmpfs)\n"]
    try:
        said = say("pretrain", "--data", "data", "--steps", 3, "--depth", 2, "--out", "small/run", folder=folder)
        said += say("data", "prepare", "python-docs", "--tokenizer", "tok", "--out", "small/data", folder=folder)
        left = sorted(str(path.relative_to(small)) for path in small.rglob("*") if path.is_file())
        return [said + f"left on the disk: {left or 'nothing'}\n"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


if __name__ == "__main__":
    main()
