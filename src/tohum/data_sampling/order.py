"""(key, size) -> a permutation of 0..size-1 that is computed, not stored: index -> element, for any index.

A Feistel network with eight keyed rounds permutes a square domain a*a >= size; an element outside 0..size-1
is sent through again ("cycle walking", Black and Rogaway, CT-RSA 2002), which keeps the map one-to-one.
Memory is constant at any size, and nobody has to draw the elements before it.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8


class Permutation:
    """A bijection of 0..size-1; every `key` gives another one."""

    def __init__(self, size: int, key: str):
        if not 0 < size < 2**62:
            raise ValueError(f"size {size} is not in 1..2^62")
        self.size = size
        self._side = np.uint64(math.isqrt(size - 1) + 1)  # a: the smallest square that holds all elements
        digest = hashlib.blake2b(key.encode(), digest_size=8 * ROUNDS).digest()
        self._round_keys = np.frombuffer(digest, "<u8").astype(np.uint64)

    def at(self, index: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Elements at the given places, each in 0..size-1."""
        elements = self._encrypt(np.atleast_1d(np.asarray(index)).astype(np.uint64))
        outside = elements >= self.size
        while outside.any():
            elements[outside] = self._encrypt(elements[outside])
            outside = elements >= self.size
        return elements.astype(np.int64)

    def _encrypt(self, elements: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = elements // self._side, elements % self._side
        for key in self._round_keys:
            left, right = right, (left + mix(right + key) % self._side) % self._side
        return left * self._side + right


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
