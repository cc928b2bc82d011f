"""This machine and its software -> one JSON object: what `tohum env` prints and a run stores as env.json.

Holds no host name, user name or path, so that it can be pasted into a public issue.
"""

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import torch

from tohum import __version__
from tohum.kernels.build import states
from tohum.machine import CACHES, cores, cpu_flags, cpuinfo

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "pydantic", "click", "rich", "jinja2", "tomli-w",
            "pyarrow", "zstandard", "gigatoken", "orjson", "sentencepiece", "transformers")
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "sve")
ALLOCATOR_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_",
                       "GLIBC_TUNABLES")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "KMP_AFFINITY", "GOMP_CPU_AFFINITY", *CACHES)


def environment() -> dict[str, Any]:
    """Versions, processor, memory, torch build, allocator and GPUs of this process; takes milliseconds."""
    return {"tohum": __version__, "python": platform.python_version(), "system": system(), "packages": packages(),
            "cpu": processor(), "memory": memory(), "torch": torch_build(), "allocator": allocator(),
            "kernels": states(),
            "variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
            "cuda_devices": cuda_devices()}


def system() -> str:
    """Kernel and C library; not the host's name."""
    return " ".join(part for part in (platform.system(), platform.release(), platform.machine(),
                                      *platform.libc_ver()) if part)


def packages(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions; packages that are missing are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> dict[str, Any]:
    """Model, cores that this process may use, and the instruction sets that decide its speed."""
    values = cpuinfo()
    present = cpu_flags()
    return {"model": values.get("model name") or platform.processor() or platform.machine(), "cores": cores(),
            "physical_cores": psutil.cpu_count(logical=False), "logical_cores": psutil.cpu_count(),
            "flags": [flag for flag in FLAGS if flag in present]}


def memory() -> dict[str, int]:
    """Bytes of the machine, bytes free now, and the limit of the container, if it has one."""
    now = psutil.virtual_memory()
    found = {"total_bytes": now.total, "available_bytes": now.available}
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.is_file() and (text := limit.read_text().strip()).isdecimal() and int(text) < now.total:
            found["limit_bytes"] = int(text)
    return found


def torch_build() -> dict[str, Any]:
    """What decides torch's numbers and speed on the CPU: its build, capability, threads."""
    return {"version": torch.__version__, "cuda": torch.version.cuda,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(), "interop_threads": torch.get_num_interop_threads(),
            "mkl": torch.backends.mkl.is_available(), "mkldnn": torch.backends.mkldnn.is_available(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "deterministic": torch.are_deterministic_algorithms_enabled()}


def allocator() -> dict[str, Any]:
    """Settings of the memory allocator and of huge pages: they change the speed on a CPU by a fifth and more."""
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    setting = huge.read_text().strip() if huge.is_file() else ""
    chosen = setting.partition("[")[2].partition("]")[0] or None
    preloaded = [Path(name).name for name in os.environ.get("LD_PRELOAD", "").replace(":", " ").split()]
    return {"transparent_huge_pages": chosen, "preloaded": preloaded,
            "variables": {name: os.environ[name] for name in ALLOCATOR_VARIABLES if name in os.environ}}


def cuda_devices() -> list[dict[str, Any]]:
    """One entry for each GPU that torch sees; empty on a CPU build."""
    if not torch.cuda.is_available():
        return []
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory_bytes": device.total_memory,
             "capability": f"{device.major}.{device.minor}", "multiprocessors": device.multi_processor_count}
            for device in properties]
