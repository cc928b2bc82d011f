"""Memory of tensors: numbers stay what they were, holes are used again, and small objects do not part them."""

import json
import os
import subprocess
import sys

import pytest

from tohum.kernels import memory
from tohum.kernels.build import possible
from tohum.machine import CACHES, REMEMBERED_PRODUCTS, has_bf16_arithmetic, limit_caches

INSTALLED = """
import ctypes, json, random, threading
import torch
from tohum.kernels.build import library
from tohum.kernels.memory import WORK, tune_memory
from tohum.machine import resident_bytes

torch.set_num_threads(1)
before = torch.arange(100_000)  # torch's own, freed after the change
assert tune_memory() and tune_memory()
tensor_bytes = library(WORK).tohum_tensor_bytes
tensor_bytes.restype = ctypes.c_size_t
assert tensor_bytes() == 0
del before
"""


def run(code: str):
    """In a process of its own, for what is installed stays."""
    done = subprocess.run([sys.executable, "-c", INSTALLED + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def arena(compiled):
    """Or a skip where there is no C++ compiler."""
    if not possible(memory.WORK):
        pytest.skip("for Linux alone")
    return compiled(memory.WORK)


def test_tensors_keep_their_numbers_whatever_comes_and_goes_beside_them():
    found = run("""
failed = []
def churn(seed):
    chance, held = random.Random(seed), {}
    for turn in range(1500):
        if held and chance.random() < 0.5:
            number = chance.choice(list(held))
            if not bool((held.pop(number) == number).all()):
                failed.append(number)
        else:
            number = seed * 10_000 + turn
            held[number] = torch.full((chance.choice([10, 20_000, 20_001, 65_536, chance.randrange(1, 300_000)]),),
                                      number, dtype=torch.int32)
            if held[number].data_ptr() % 64:
                failed.append("not aligned")
    for number, tensor in held.items():
        if not bool((tensor == number).all()):
            failed.append(number)
threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([failed, tensor_bytes()]))
""")
    assert found == [[], 0]


def test_a_hole_is_used_again_and_is_one_with_its_neighbours():
    assert run("""
made = [torch.empty(100_000) for _ in range(3)]
first = made[0].data_ptr()
made[1] = None
again = torch.empty(100_000).data_ptr()
made = None
whole = torch.empty(300_000).data_ptr()
held = tensor_bytes()
little = torch.empty(1000)
print(json.dumps([again > first and again - first < 500_000, whole == first, tensor_bytes() == held]))
""") == [True, True, True]


def test_memory_that_was_freed_holds_what_comes_after_it():
    """Thirty rounds of tensors of other sizes, small objects between them: what the process holds does not grow."""
    early, late = run("""
kept, sizes = [], []
for turn in range(30):
    step = [torch.ones(2_000_000 + 10_000 * ((turn * 7 + k) % 11)) for k in range(10)]
    kept += [bytearray(100) for _ in range(100)]
    sizes.append(resident_bytes())
    del step
print(json.dumps([sizes[3], sizes[-1]]))
""")
    assert late < early * 1.05


def test_tensors_of_other_makers_and_what_leaves_torch_stay_whole():
    assert run("""
import numpy as np
array = torch.full((100_000,), 7.0).numpy()
other = torch.from_numpy(np.full(100_000, 3.0))
grown = torch.empty(0)
for _ in range(3):
    grown.resize_(grown.numel() + 50_000).fill_(2.0)
torch.ones(100_000)
shared = torch.ones(100_000).share_memory_()
print(json.dumps([float(array.sum()), float(other.sum()), float(grown.sum()), float(shared.sum()),
                  float(torch.clone(other).sum())]))
""") == [700_000, 300_000, 300_000, 100_000, 300_000]


def test_where_it_cannot_be_compiled_the_system_s_allocator_stays(monkeypatch):
    told = []
    monkeypatch.setattr(memory, "library", lambda work: None)
    monkeypatch.setattr(memory, "tune_allocator", lambda *, with_tensors: told.append(with_tensors) or True)
    assert memory.tune_memory() is False
    assert told == [True]


def test_what_a_user_has_set_for_caches_stays(monkeypatch):
    first, second = CACHES
    monkeypatch.setenv(first, "7")
    monkeypatch.delenv(second, raising=False)
    limit_caches()
    assert [os.environ[name] for name in CACHES] == ["7", REMEMBERED_PRODUCTS]
    monkeypatch.delenv(second)


@pytest.mark.skipif(not has_bf16_arithmetic(), reason="oneDNN makes no such products here")
def test_products_of_many_shapes_are_forgotten():
    """As batches of texts make them: 500 shapes, of which a program that is not told keeps every one."""
    code = """
import os, sys, torch
from tohum.machine import limit_caches, resident_bytes
torch.set_num_threads(1)
if sys.argv[1] == "limited":
    limit_caches()
before = 0
for rows in range(40, 540):
    if rows == 60:
        before = resident_bytes()
    torch.ones(rows, 64, dtype=torch.bfloat16) @ torch.ones(64, 96, dtype=torch.bfloat16)
print(resident_bytes() - before)
"""
    bare = {name: value for name, value in os.environ.items() if name not in CACHES}
    grown = [int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True,
                                timeout=120, env=bare).stdout) for how in ("limited", "free")]
    assert grown[0] < grown[1] / 2
