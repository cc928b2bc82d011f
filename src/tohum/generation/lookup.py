"""Prompt lookup: a text -> a guess of what comes next, by what followed the same tokens earlier in it.

    the seed waits under the snow . the seed  ->  waits under the

Texts repeat themselves: code, tables, answers about a document that stands in the prompt. A pass over several guessed
tokens costs little more than one over a single token, and every guess that the model itself would have chosen is a pass
saved (github.com/apoorvumang/prompt-lookup-decoding; speculative decoding: arXiv:2211.17192). Wrong guesses are thrown
away, so the result is the greedy one.
"""

from collections.abc import Iterable

SIZES = (3, 2)  # tokens that must have occurred before; longer runs are tried first


class Lookup:
    """One text, and for each run of tokens in it where it was last followed by something."""

    def __init__(self, ids: Iterable[int]):
        self.ids: list[int] = []
        self.followed: dict[tuple[int, ...], int] = {}  # run -> place of the token behind it
        self.extend(ids)

    def extend(self, ids: Iterable[int]) -> None:
        """The text grows."""
        for token in ids:
            for size in SIZES:
                if len(self.ids) >= size:
                    self.followed[tuple(self.ids[-size:])] = len(self.ids)
            self.ids.append(token)

    def guess(self, count: int) -> list[int]:
        """At most `count` tokens; none where the last tokens are new together."""
        for size in SIZES:
            place = self.followed.get(tuple(self.ids[-size:]))
            if place is not None and count > 0:
                return self.ids[place : place + count]
        return []
