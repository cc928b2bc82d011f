"""The machine report: complete, JSON, and without anything private."""

import getpass
import json
import platform
import socket

import pytest
import torch
from click.testing import CliRunner

from tohum import machine
from tohum.cli.env import command, rows
from tohum.environment import environment
from tohum.machine import cores, cpuinfo, tune_products


def test_environment_names_versions_processor_memory_and_threads():
    found = json.loads(json.dumps(environment()))
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["torch"]["threads"] == torch.get_num_threads()
    assert 1 <= found["cpu"]["cores"] <= found["cpu"]["logical_cores"]
    assert found["memory"]["total_bytes"] >= found["memory"]["available_bytes"] > 10**8
    assert len(found["cuda_devices"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


def test_environment_holds_no_host_name_and_no_path(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/opt/someone/libjemalloc.so.2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = environment()
    assert found["allocator"]["preloaded"] == ["libjemalloc.so.2"]
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    text = json.dumps(found)
    assert "/opt" not in text
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4
    assert f"/{getpass.getuser()}" not in text


def test_flags_are_those_of_the_processor():
    present = (cpuinfo().get("flags") or cpuinfo().get("Features") or "").split()
    assert set(environment()["cpu"]["flags"]) <= set(present)


def test_command_prints_one_json_object_or_lines_for_people():
    found = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert found.keys() == environment().keys()
    text = CliRunner().invoke(command, []).stdout
    assert f"packages.torch                    {found['packages']['torch']}" in text


def test_rows_write_bytes_with_their_unit_and_leave_out_what_is_not_there():
    values = {"memory": {"total_bytes": 25_000_000_000}, "flags": [], "cuda": None, "devices": [{"name": "X"}]}
    assert list(rows(values)) == [("memory.total", "25 GB"), ("flags", "none"), ("devices.0.name", "X")]


def test_the_number_of_threads_obeys_the_variable_that_torch_obeys(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    every = cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores() == 1
    for ignored in ("", "0", "many", str(every + 7)):
        monkeypatch.setenv("OMP_NUM_THREADS", ignored)
        assert cores() == every


@pytest.fixture
def precision():
    """What a test switches is switched back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def test_float32_products_keep_their_digits(precision):
    """The switch allows bfloat16, whose products would be off by a hundredth; float32's are by a millionth."""
    tune_products()
    torch.manual_seed(1)
    for count, inner, columns in ((300, 500, 200), (1, 600, 400), (7, 64, 64)):
        a, b = torch.randn(count, inner), torch.randn(inner, columns)
        exact = a.double() @ b.double()
        for found in (a @ b, torch.nn.functional.linear(a, b.T.contiguous()), torch.bmm(a[None], b[None])[0]):
            assert float((found - exact).norm() / exact.norm()) < 2e-6


@pytest.mark.parametrize(("flags", "vendor", "wanted"), [
    ({"avx512f"}, "AuthenticAMD", True), ({"avx512f"}, "GenuineIntel", False), ({"avx2"}, "AuthenticAMD", False),
    ({"avx512f", "amx_bf16"}, "AuthenticAMD", False)])
def test_they_are_given_away_where_they_gain_and_stay_exact(precision, monkeypatch, flags, vendor, wanted):
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tune_products() is wanted
    assert torch.get_float32_matmul_precision() == ("medium" if wanted else "highest")
