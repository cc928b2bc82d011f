"""Files that exist completely or not at all: write to a draft, flush to disk, rename."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tohum.errors import ConfigError, FailedError


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` in one rename; after a crash either the old or the new content is there."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise user_error(error, path) from error


def write_text(path: Path, text: str) -> None:
    """UTF-8, Unix line ends, atomic."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final line end, atomic."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Make folder `target` appear in one rename; a crash leaves only a hidden draft, removed next time.

    `fill` writes everything into the draft folder that it is given. `target` must not exist.
    """
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        fill(draft)
        for folder, _, names in os.walk(draft):
            for name in [*names, "."]:
                sync(Path(folder, name))
        os.rename(draft, target)
        sync(target.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise user_error(error, target) from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Flush a file or folder entry to the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def user_error(error: OSError, path: Path) -> Exception:
    """The error line for what the operating system refused."""
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(nearest_folder(path)).free
        return FailedError(f"{where}: the disk is full ({free:,} bytes free); nothing half-written was kept\n"
                           "free some space or choose another --out, then run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigError(f"{where}: no permission to write; choose another --out")
    if error.errno == errno.ENOENT:  # a place like /proc, where nothing can be made
        return ConfigError(f"{path}: cannot be made there; choose another --out")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY):
        return ConfigError(f"{where}: {os.strerror(error.errno or 0).lower()}; choose another --out")
    return FailedError(f"{where}: {error.strerror or error}")


def nearest_folder(path: Path) -> Path:
    """The closest parent that exists (to ask for free space before a folder is made)."""
    path = Path(path).absolute()
    while not path.is_dir():
        path = path.parent
    return path


def refuse_existing(path: Path, force: bool) -> None:
    """Nothing is overwritten without --force; with it, what is there is removed. Raises ConfigError."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not force:
        raise ConfigError(f"{path} exists already; choose another --out, or give --force to replace it")
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def try_place(target: Path) -> None:
    """Before long work: can something be made at `target`? Raises ConfigError or FailedError, as writing would."""
    trial = target.with_name(f".{target.name}.trial")
    try:
        trial.mkdir(parents=True, exist_ok=True)
        trial.rmdir()
    except OSError as error:
        raise user_error(error, target) from error


def sha256_file(path: Path) -> str:
    """Hex digest, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
