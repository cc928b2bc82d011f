"""The C and C++ files of this folder -> loaded libraries, each compiled once and kept in the user's cache.

    decoding          few tokens through transformer blocks
    training          norms, rotations, activations and the loss, forward and backward
    matrix products   and attention, in bfloat16, for processors that multiply it (AVX512-BF16)
    learning merges   words of a text, and the merges of byte-pair encoding
    tensor memory     where torch keeps its tensors; in C++, for it is an allocator of torch's

    cc -O3 -march=native ...  ->  ~/.cache/tohum/kernels/<sha of source, flags, compiler and processor>.so

Three seconds, once for each machine and version. The file is code that runs, so its folder belongs to the user alone,
and one that others could write to is refused. Threads are those of the OpenMP library that torch has loaded; learning
merges has Python's. The first two work on vectors of eight floats, or of sixteen where the processor has them and all
widths are multiples of it: a library for each. Where anything is missing, torch or `tokenizers` do the work, and one
line on stderr says so.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from tohum.machine import cpu_flags

SOURCES = {"decoding": ("kernels.c", "products.h", "bytes.h", "vectors.h"),
           "training": ("training.c", "loss.c", "vectors.h"),
           "matrix products": ("matmul.c", "attention.c", "tile.h", "pack.h", "vectors.h"),
           "learning merges": ("merges.c", "words.c", "words.h"),
           "tensor memory": ("arena.cpp",)}
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
C_FLAGS, CPP_FLAGS = ("-std=gnu11", "-ffp-contract=off"), ("-std=c++20",)
COMPILERS = {"C": ("cc", "gcc", "clang"), "C++": ("c++", "g++", "clang++")}
WITHOUT = {"decoding": "several times slower", "training": "up to a third slower",
           "matrix products": "a quarter slower", "learning merges": "several times slower",
           "tensor memory": "a tenth more memory"}
SECONDS = 120  # for the compiler
NEEDS = {"matrix products": frozenset({"avx512f", "avx512bw", "avx512vl", "avx512_bf16"})}  # of the processor
LANES = (16, 8)  # floats of a vector
TRIED: dict[tuple[str, int], ctypes.CDLL | None] = {}  # in this process
OTHERS = stat.S_IWGRP | stat.S_IWOTH


class KernelError(Exception):
    """Why there is no library; in words for a user."""


def folder() -> Path:
    """Where libraries are kept (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "tohum" / "kernels"


@functools.cache
def compiler(language: str = "C") -> tuple[str, str]:
    """Path of the system's compiler and its version. Raises KernelError."""
    found = next(filter(None, map(shutil.which, COMPILERS[language])), None)
    if found is None:
        raise KernelError(f"no {language} compiler ({COMPILERS[language][0]})")
    done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=SECONDS)
    return found, done.stdout


def lanes_for(*widths: int) -> int:
    """Floats of a vector: the most that this processor has and that divide all widths; 0 where none do."""
    possible = LANES if "avx512f" in cpu_flags() else LANES[1:]
    return next((lanes for lanes in possible if all(width % lanes == 0 for width in widths)), 0)


def possible(work: str) -> bool:
    """Whether this processor has the instructions, and this system what it is made for."""
    linux = sys.platform.startswith("linux")
    return NEEDS.get(work, frozenset()) <= cpu_flags() and (linux or work != "tensor memory")


def usual_lanes(work: str) -> int:
    """Of the library that most models take."""
    return lanes_for() if "vectors.h" in SOURCES[work] else LANES[-1]


def language_of(work: str) -> str:
    """C, or C++ for what is a part of torch."""
    return "C++" if SOURCES[work][0].endswith(".cpp") else "C"


def flags_for(work: str, lanes: int) -> tuple[str, ...]:
    """For the compiler. What is a part of torch needs its headers, and fits this version alone."""
    if language_of(work) == "C++":
        import torch

        root = Path(torch.__file__).parent
        return (*FLAGS, *CPP_FLAGS, f"-I{root / 'include'}", f"-L{root / 'lib'}", f"-DTORCH={torch.__version__}")
    threads = () if work == "learning merges" else ("-fopenmp",)
    return *FLAGS, *C_FLAGS, *threads, f"-DLANES={lanes}"


def library_path(work: str = "decoding", lanes: int = 8) -> Path:
    """The file that this machine needs; its name changes with all that decides its content. Raises KernelError."""
    here = Path(__file__).parent
    parts = [(here / name).read_text("utf-8") for name in SOURCES[work]]
    parts += [*flags_for(work, lanes), *compiler(language_of(work)), *sorted(cpu_flags())]
    return folder() / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}.so"


def refuse_if_shared(path: Path) -> None:
    """Raises KernelError for what others own or can write to."""
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & OTHERS or stat.S_ISLNK(found.st_mode):
        raise KernelError(f"{path} belongs to another user, can be written by others or is a link; remove it")


def compile_to(path: Path, work: str, lanes: int) -> None:
    """Compile beside `path` and move it there in one step. Raises KernelError, OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_if_shared(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent) as draft:
        sources = [str(Path(__file__).parent / name) for name in SOURCES[work] if name.endswith((".c", ".cpp"))]
        made, language = Path(draft) / "made.so", language_of(work)
        done = subprocess.run([compiler(language)[0], *flags_for(work, lanes), *sources, "-o", str(made),
                               "-lc10" if language == "C++" else "-lm"],
                              capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or ["the compiler failed"]
            raise KernelError(lines[0][:200])
        made.chmod(0o700)
        os.replace(made, path)


def load(work: str = "decoding", lanes: int = 8) -> ctypes.CDLL:
    """The library, compiled if it is not there yet. Raises KernelError."""
    try:
        path = library_path(work, lanes)
        if not path.is_file():
            compile_to(path, work, lanes)
        refuse_if_shared(path.parent)
        refuse_if_shared(path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:  # RuntimeError: a user without a home
        raise KernelError(str(error)) from None


def library(work: str = "decoding", lanes: int = 8) -> ctypes.CDLL | None:
    """The library, or None after one line on stderr (none where no processor like this has it); tried once."""
    if not possible(work):
        return None
    if (work, lanes) not in TRIED:
        try:
            TRIED[work, lanes] = load(work, lanes)
        except KernelError as error:
            TRIED.update(dict.fromkeys((work, kind) for kind in LANES))
            print(f"{work} without compiled kernels, {WITHOUT[work]}: {error}", file=sys.stderr)
    return TRIED[work, lanes]


def states() -> dict[str, str]:
    """For a machine report, without compiling and without paths: what each kind of work on this CPU uses."""
    return {work.replace(" ", "_"): state(work) for work in SOURCES}


def state(work: str) -> str:
    """"compiled", "compiled when first needed", or "plain": torch and `tokenizers` do it."""
    lanes = usual_lanes(work)
    if not possible(work):
        return "plain"
    if (work, lanes) in TRIED:
        return "compiled" if TRIED[work, lanes] else "plain"
    try:
        return "compiled" if library_path(work, lanes).is_file() else "compiled when first needed"
    except (KernelError, OSError, subprocess.SubprocessError, RuntimeError):
        return "plain"
