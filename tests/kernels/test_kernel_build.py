"""Compiling: once, for the user alone, and without it everything still works."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tohum.kernels import build

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cache(kernels, tmp_path, monkeypatch) -> Path:
    """An empty cache folder of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tohum" / "kernels"


@pytest.fixture
def filled(cache, monkeypatch) -> Path:
    """The same with the library in it."""
    cache.mkdir(mode=0o700, parents=True)
    there = [build.library_path("decoding", lanes) for lanes in build.LANES]
    monkeypatch.delenv("XDG_CACHE_HOME")
    for lanes, path in zip(build.LANES, there, strict=True):
        build.load("decoding", lanes)
        shutil.copy(build.library_path("decoding", lanes), path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    return cache


@pytest.fixture
def tried_again():
    """The library is asked for anew, inside and after the test."""
    build.TRIED.clear()
    yield
    build.TRIED.clear()


def test_the_library_is_compiled_once_into_a_folder_of_the_user_alone(cache, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", tuple(flag.replace("-O3", "-O1") for flag in build.FLAGS))  # in half the time
    assert build.load().tohum_linear
    files = list(cache.iterdir())
    assert [path.suffix for path in files] == [".so"]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert files[0].stat().st_mode & 0o022 == 0
    monkeypatch.setattr(build, "compile_to", lambda path, work, lanes: pytest.fail("compiled again"))
    assert build.load().tohum_linear


@pytest.mark.parametrize("which", ["folder", "file"])
def test_what_others_can_write_to_is_refused(filled, which):
    path = filled if which == "folder" else build.library_path()
    path.chmod(0o777)
    with pytest.raises(build.KernelError, match=f"{path} belongs to another user, can be written by others"):
        build.load()
    path.chmod(0o700)
    assert build.load()


def test_a_link_is_refused(filled, tmp_path):
    path = build.library_path()
    path.rename(tmp_path / "elsewhere.so")
    path.symlink_to(tmp_path / "elsewhere.so")
    with pytest.raises(build.KernelError, match="is a link"):
        build.load()


def test_another_source_flag_or_processor_is_another_file(kernels, monkeypatch):
    names = {build.library_path()}
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    names.add(build.library_path())
    monkeypatch.setattr(build, "cpu_flags", lambda: frozenset({"none"}))
    names.add(build.library_path())
    monkeypatch.setattr(build, "SOURCES", {"decoding": ("kernels.c",)})
    names.add(build.library_path())
    names.add(build.library_path("decoding", 16))
    assert len(names) == 5


def test_vectors_are_as_long_as_processor_and_widths_allow(monkeypatch):
    monkeypatch.setattr(build, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert [build.lanes_for(*widths) for widths in ((), (64, 32), (64, 40), (64, 12))] == [16, 16, 8, 0]
    monkeypatch.setattr(build, "cpu_flags", lambda: frozenset({"avx2"}))
    assert [build.lanes_for(*widths) for widths in ((), (64, 32), (64, 40), (64, 12))] == [8, 8, 8, 0]


def test_without_a_compiler_one_line_says_so_and_nothing_fails(monkeypatch, capsys, tried_again):
    build.compiler.cache_clear()
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.library() is None
    assert build.library() is None
    assert capsys.readouterr().err == "decoding without compiled kernels, several times slower: no C compiler (cc)\n"
    assert build.library("tensor memory") is None
    assert capsys.readouterr().err == ("tensor memory without compiled kernels, a tenth more memory: "
                                       "no C++ compiler (c++)\n")
    assert build.state("decoding") == "plain"
    build.compiler.cache_clear()


def test_a_processor_without_the_instructions_is_no_complaint(monkeypatch, capsys, tried_again):
    monkeypatch.setattr(build, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert build.library("matrix products") is None
    assert build.state("matrix products") == "plain"
    assert capsys.readouterr().err == ""


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(cache, monkeypatch, capsys, tried_again):
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-Dfloat=none"))
    assert build.library() is None
    assert "slower: " in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_error(kernels, tmp_path, monkeypatch, capsys, tried_again):
    (tmp_path / "tohum").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.library() is None
    assert capsys.readouterr().err.count("\n") == 1


def test_the_state_names_no_path(filled, tried_again, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    assert build.state("decoding") == "compiled when first needed"
    monkeypatch.setenv("XDG_CACHE_HOME", str(filled.parents[1]))
    assert build.library("decoding", build.usual_lanes("decoding")) is not None
    assert build.states()["decoding"] == "compiled"


@pytest.mark.slow
def test_threads_come_from_the_library_that_torch_brought(kernels):
    code = ("import torch; from tohum.kernels.build import library; assert library();"
            "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'gomp' in line})")
    if not Path("/proc/self/maps").is_file():
        pytest.skip("no /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) == 1
    assert "torch" in found[0] or not list((Path(sys.prefix) / "lib").rglob("torch/lib/libgomp*"))


@pytest.mark.slow
def test_a_wheel_holds_the_sources(tmp_path):
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    made = next(hatchling.WheelBuilder(str(ROOT)).build(directory=str(tmp_path)))
    names = zipfile.ZipFile(made).namelist()
    assert {f"tohum/kernels/{name}" for sources in build.SOURCES.values() for name in sources} <= set(names)
