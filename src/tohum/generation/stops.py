"""Stop strings: a text that arrives in pieces -> the same text up to the first stop string, as early as possible.

What could still become a stop string is held back, the rest goes out. With the stop string "\n\n":

    piece        "one"   "\n"   "two\n"   "\n3"
    goes out     "one"   ""     "\ntwo"   ""         and then the text has ended

The text ends at the first character that completes any stop string, so the result does not depend on how
tokens cut the text. Comparing with every start (not only one position at a time) finds "aab" in "aaab".
"""

from collections.abc import Sequence

from tohum.errors import ConfigError


class StopStrings:
    """Watches one text. `found` says that it has ended."""

    def __init__(self, stops: Sequence[str]):
        """Raises ConfigError for an empty stop string, which would end every text at once."""
        if "" in stops:
            raise ConfigError("a stop string is empty; leave --stop out to generate without one")
        self.stops = tuple(stops)
        self.held = ""  # the longest end of the text that may be the beginning of a stop string
        self.found = False

    def push(self, piece: str) -> str:
        """Take the next piece; return what can be shown now. Nothing follows after a stop string."""
        if self.found:
            return ""
        text = self.held + piece  # a stop string that is under way began inside `held`
        ends = [(start + len(stop), start) for stop in self.stops if (start := text.find(stop)) >= 0]
        if ends:
            self.found, self.held = True, ""
            return text[: min(ends)[1]]
        keep = self.pending(text)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """The text is over: what was held back was no stop string."""
        rest, self.held = self.held, ""
        return rest

    def pending(self, text: str) -> int:
        """Characters at the end of `text` that are the beginning of a stop string; the most of them."""
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        return next((size for size in range(min(longest, len(text)), 0, -1)
                     if any(stop.startswith(text[-size:]) for stop in self.stops)), 0)
