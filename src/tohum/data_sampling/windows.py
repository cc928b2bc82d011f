"""Concatenated packing: a stream of token ids -> next-token windows of `max_length` every `stride` tokens."""

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.stream import TokenStream

GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: its multiples, modulo 2^32, are spread evenly however many there are
IGNORED = -100  # target of a position where nothing is to be predicted
PADDING = 0  # input where no token is left; nothing is predicted there and nothing after it looks back


class Windows:
    """Window i: inputs are tokens [i*stride, i*stride + T), targets the same one token further.

    The last window may be shorter and is padded, so that every token is a target (with stride <= T) except
    the first one, which nothing precedes. Numbers go on from pass to pass, and each pass after the first one turns the
    stream, as a ring, by another part of a stride: tokens that come again have other contexts and places.
    """

    def __init__(self, tokens: TokenStream, *, max_length: int, stride: int):
        self._tokens, self._max_length, self._stride = tokens, max_length, stride
        targets = len(tokens) - 1
        whole_and_last = 1 + max(0, -(-(targets - max_length) // stride))
        self.count = max(0, min(whole_and_last, -(-targets // stride)))

    def rows(self, index: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Window numbers (B,) -> inputs and targets, each (B, T)."""
        passes, index = np.divmod(index, self.count)
        places = index[:, None] * self._stride + np.arange(self._max_length + 1)  # (B, T + 1)
        end = len(self._tokens)
        ids = self._tokens.gather((np.minimum(places, end - 1) + self._turns(passes)[:, None]) % end)
        if places[:, -1].max(initial=0) < end:
            return {"inputs": ids[:, :-1], "targets": ids[:, 1:]}
        beyond = places >= end
        inputs = np.where(beyond[:, :-1], PADDING, ids[:, :-1])
        return {"inputs": inputs, "targets": np.where(beyond[:, 1:], IGNORED, ids[:, 1:])}

    def _turns(self, passes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens that the stream is turned by: 0 in the first pass; a text of one window keeps its beginning."""
        if self.count == 1:
            return np.zeros_like(passes)
        return (passes * GOLDEN % 2**32) * self._stride >> 32
