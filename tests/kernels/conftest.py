"""The library, or a skip where it cannot be compiled; tiny vectors are fastest on one thread."""

from collections.abc import Iterator

import pytest
import torch

from tohum.kernels.build import library


@pytest.fixture(scope="session")
def kernels():
    found = library()
    if found is None:
        pytest.skip("no C compiler that makes the kernels")
    return found


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
