"""Pairs and single answers -> ids of prompt and answer, with the answer marked, by the one encoder."""

from dataclasses import dataclass, replace

from tohum.errors import ConfigError
from tohum.finetuning.conversations import Conversation, Messages
from tohum.finetuning.encode import Encoded, Encoder, RefusedError
from tohum.preference.pairs import Pair, Unpaired


@dataclass(frozen=True, kw_only=True)
class EncodedPair:
    """Two texts with the same prompt, token by token."""

    chosen: Encoded
    rejected: Encoded

    @property
    def place(self) -> str:
        """ "file:line" """
        return self.chosen.place

    @property
    def texts(self) -> tuple[Encoded, ...]:
        """Both."""
        return (self.chosen, self.rejected)

    def cut(self, max_length: int) -> "EncodedPair":
        """At most max_length inputs each."""
        return EncodedPair(chosen=self.chosen.cut(max_length), rejected=self.rejected.cut(max_length))


@dataclass(frozen=True, kw_only=True)
class EncodedUnpaired:
    """One text, and whether its answer is wanted."""

    text: Encoded
    desirable: bool

    @property
    def place(self) -> str:
        """ "file:line" """
        return self.text.place

    @property
    def texts(self) -> tuple[Encoded, ...]:
        """The one."""
        return (self.text,)

    def cut(self, max_length: int) -> "EncodedUnpaired":
        """At most max_length inputs."""
        return replace(self, text=self.text.cut(max_length))


def encode_pair(pair: Pair, encoder: Encoder) -> list[EncodedPair]:
    """One example. Raises RefusedError for answers that are the same, or that the template cannot write."""
    chosen = encode_answer(pair.prompt, pair.chosen, pair.place, encoder)
    rejected = encode_answer(pair.prompt, pair.rejected, pair.place, encoder)
    if chosen.ids == rejected.ids:
        raise RefusedError(pair.place, "chosen and rejected are the same text")
    return [EncodedPair(chosen=chosen, rejected=rejected)]


def encode_unpaired(row: Unpaired, encoder: Encoder) -> list[EncodedUnpaired]:
    """One example. Raises RefusedError."""
    return [EncodedUnpaired(text=encode_answer(row.prompt, row.completion, row.place, encoder),
                            desirable=row.desirable)]


def encode_answer(prompt: Messages, answer: Messages, place: str, encoder: Encoder) -> Encoded:
    """Prompt and answer in one text, of which the answer alone is learned. Raises RefusedError, ConfigError."""
    if encoder.loss != "answers":
        raise ConfigError(f"loss '{encoder.loss}': preferences are between answers; expected 'answers'")
    found = encoder.encode(Conversation((*prompt, *answer), place), learn_from=len(prompt))
    if len(found) > 1:
        raise RefusedError(place, "the answer has several turns, and the template rewrites the earlier ones")
    return found[0]
