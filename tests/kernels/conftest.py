"""The library, or a skip where it cannot be compiled; tiny vectors are fastest on one thread."""


import pytest


@pytest.fixture(scope="session")
def kernels(compiled):
    return compiled("decoding")


@pytest.fixture(autouse=True)
def quick(one_thread: None) -> None:
    """Every test of this folder."""
