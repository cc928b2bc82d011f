"""The library, or a skip where it cannot be compiled; tiny vectors are fastest on one thread."""


import pytest

from tohum.kernels.build import library


@pytest.fixture(scope="session")
def kernels():
    found = library()
    if found is None:
        pytest.skip("no C compiler that makes the kernels")
    return found


@pytest.fixture(autouse=True)
def quick(one_thread: None) -> None:
    """Every test of this folder."""
