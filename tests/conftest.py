"""Fixtures that several stages share."""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tohum.kernels import build
from tohum.machine import tune_products

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not part of the repository; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TOHUM_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "SOURCES.md").is_file():
        pytest.skip(f"no test data in {folder}; set TOHUM_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def compiled() -> Callable[..., ctypes.CDLL]:
    """work -> its kernels; a skip where there is no compiler, a failure where there is one that does not make them."""
    def of(work: str, lanes: int = 8) -> ctypes.CDLL:
        try:
            build.compiler(build.language_of(work))
        except build.KernelError:
            pytest.skip("no compiler")
        return build.load(work, lanes)

    return of


@pytest.fixture(scope="session", autouse=True)
def as_commands_do() -> None:
    """What a command switches on when it loads a model, for all tests alike: sums of float32 keep one order."""
    tune_products()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny networks are fastest on one, above all beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, those of whole pages before all: with several workers, none is left alone with one at the end."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("example", "slow")])
