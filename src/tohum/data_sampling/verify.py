"""A data folder -> the list of everything in it that does not match the hashes in its index."""

from pathlib import Path
from typing import Any

import numpy as np

from tohum.data_sampling.index import DTYPES, TOKENIZER_FOLDER, Index, SourceEntry, read_index
from tohum.errors import DataError
from tohum.files import sha256_file
from tohum.tokenizing.tokenizer import Tokenizer


def verify(folder: Path) -> dict[str, Any]:
    """Recompute every hash: {"ok", "problems", "files", "fingerprint"}; each problem names its file.

    Raises DataError only where there is no data folder to verify.
    """
    if not (folder / "index.json").is_file():
        read_index(folder)  # raises, saying what is missing
    try:
        index = read_index(folder)
    except DataError as error:
        return {"ok": False, "problems": [str(error).splitlines()[0]], "files": 1, "fingerprint": None}
    expected = expected_files(index)
    problems = [problem for name, (size, sha256) in expected.items()
                if (problem := check_file(folder / name, size, sha256))]
    if not problems:
        problems = check_content(folder, index)
    if index.computed_fingerprint() != index.fingerprint:
        problems.append(f"{folder / 'index.json'}: the fingerprint does not follow from the hashes in it")
    return {"ok": not problems, "problems": problems, "files": len(expected) + 1,
            "fingerprint": index.fingerprint}


def expected_files(index: Index) -> dict[str, tuple[int | None, str]]:
    """File below the folder -> (bytes if known, SHA-256)."""
    token_bytes = np.dtype(DTYPES[index.dtype]).itemsize
    expected: dict[str, tuple[int | None, str]] = {
        f"{TOKENIZER_FOLDER}/{name}": (None, sha256) for name, sha256 in index.tokenizer.files.items()}
    for source in index.sources:
        for part in (source.train, source.val):
            expected |= {shard.file: (shard.tokens * token_bytes, shard.sha256) for shard in part.shards}
            expected[part.boundaries] = (8 * part.documents, part.boundaries_sha256)
    return expected


def check_file(path: Path, size: int | None, sha256: str) -> str | None:
    """What is wrong with one file, or None."""
    if not path.is_file():
        return f"{path}: missing"
    if size is not None and path.stat().st_size != size:
        return f"{path}: {path.stat().st_size:,} bytes; the index says {size:,}"
    found = sha256_file(path)
    if found != sha256:
        return f"{path}: content changed since it was written (SHA-256 {found[:12]}…, expected {sha256[:12]}…)"
    return None


def check_content(folder: Path, index: Index) -> list[str]:
    """Problems that hashes cannot show: a tokenizer of another kind, boundaries out of order."""
    problems = []
    tokenizer = Tokenizer.load(folder / TOKENIZER_FOLDER)
    if tokenizer.sha256 != index.tokenizer.sha256:
        problems.append(f"{folder / TOKENIZER_FOLDER}: tokenizer {tokenizer.sha256[:12]}…, "
                        f"the index says {index.tokenizer.sha256[:12]}…")
    for source in index.sources:
        problems += check_boundaries(folder, source)
    return problems


def check_boundaries(folder: Path, source: SourceEntry) -> list[str]:
    """Documents begin at 0, in ascending order, before the end."""
    problems = []
    for part in (source.train, source.val):
        starts = np.fromfile(folder / part.boundaries, "<i8")
        ascending = (np.diff(starts) >= 0).all() and (not len(starts) or (starts[0] == 0 and
                                                                          starts[-1] <= part.tokens))
        if not ascending:
            problems.append(f"{folder / part.boundaries}: document boundaries out of order")
    return problems
