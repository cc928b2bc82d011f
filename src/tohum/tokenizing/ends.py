"""Ends: what stops a text that a model writes."""

from collections.abc import Sequence
from dataclasses import dataclass

from tohum.tokenizing.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Stop strings, and tokens (None: the tokenizer's end of a document)."""

    texts: Sequence[str] = ()
    ids: frozenset[int] | None = None

    def ids_for(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The tokens."""
        if self.ids is not None:
            return self.ids
        return frozenset() if tokenizer.eos_id is None else frozenset({tokenizer.eos_id})

    def __or__(self, other: "Ends") -> "Ends":
        """Whatever comes first of both."""
        return Ends(texts=tuple(dict.fromkeys((*self.texts, *other.texts))),
                    ids=(self.ids or frozenset()) | (other.ids or frozenset()))
