"""Text generation: prompts as text -> their continuations as text, streamed in whole characters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tohum.generation.choice import Choice
from tohum.generation.decode import Decoder
from tohum.generation.mode import evaluating
from tohum.generation.stops import StopStrings
from tohum.model.network import Network
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.tokenizer import Tokenizer

ROWS_AT_ONCE = 32  # texts in one batch; more are done in turn, with the same result

OnText = Callable[[int, str], None]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One continuation, without its prompt."""

    text: str  # up to a stop string
    token_ids: list[int]  # without the end token; with the tokens that spelled a stop string
    finish_reason: Literal["stop", "length"]  # an end token or stop string; max_tokens
    prompt_tokens: int


class Continuation:
    """One row on its way from ids to text."""

    def __init__(self, number: int, prompt: Sequence[int], tokenizer: Tokenizer, ends: Ends,
                 on_text: OnText | None):
        self.number, self.prompt_tokens, self.on_text = number, len(prompt), on_text
        self.stop_ids = ends.ids_for(tokenizer)
        self.tokenizer, self.stream, self.stops = tokenizer, tokenizer.stream(), StopStrings(ends.texts)
        # The prompt may end inside a character, which the first new token then completes.
        self.at_start = not "".join([self.stream.push(token) for token in prompt])
        self.text, self.token_ids, self.ended = "", [], False

    def push(self, token: int) -> bool:
        """Take the next token; True when the text ends with it."""
        if token in self.stop_ids:
            self.ended = True
        else:
            self.token_ids.append(token)
            self.show(self.stops.push(self.read(token)))
        return self.ended or self.stops.found

    def read(self, token: int) -> str:
        """The characters that a token completes. SentencePiece's space before a text is no part of it."""
        piece = self.stream.push(token)
        if self.at_start and piece:
            self.at_start = False
            if piece.startswith(" ") and not self.tokenizer.decode([token]).startswith(" "):
                return piece[1:]
        return piece

    def show(self, piece: str) -> None:
        """Add what is certain to the text and hand it on."""
        self.text += piece
        if piece and self.on_text:
            self.on_text(self.number, piece)

    def finish(self) -> Generated:
        """No more tokens: let go what was held back."""
        self.show(self.stops.push(self.stream.flush()))
        self.show(self.stops.flush())
        return Generated(text=self.text, token_ids=self.token_ids, prompt_tokens=self.prompt_tokens,
                         finish_reason="stop" if self.ended or self.stops.found else "length")


NOTHING_MORE = Ends()


def generate_text(network: Network, tokenizer: Tokenizer, prompts: Sequence[str | list[int]], *, choice: Choice,
                  max_tokens: int, ends: Ends = NOTHING_MORE, on_text: OnText | None = None) -> list[Generated]:
    """Continue every prompt, text or ids. One that is given again gets another sample; else the seed decides alone.

    on_text(number of the prompt, piece) is called as text becomes certain: never a part of a character, never
    a part of a stop string. Each result is what its prompt would give alone. With `choice.lookup` they are made one
    after the other. Modes and torch's global generators stay as they were. Raises ConfigError for prompts that the
    model cannot read.
    """
    samples = [list(prompts[:number]).count(prompt) for number, prompt in enumerate(prompts)]
    jobs = [(tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else prompt, sample)
            for prompt, sample in zip(prompts, samples, strict=True)]
    results: list[Generated] = []
    with evaluating(network):
        together = 1 if choice.lookup else ROWS_AT_ONCE
        for first in range(0, len(jobs), together):
            part = jobs[first : first + together]
            decoder = Decoder(network, [ids for ids, _ in part], samples=[sample for _, sample in part],
                              choice=choice, max_tokens=max_tokens, vocab_size=tokenizer.vocab_size)
            texts = [Continuation(first + row, ids, tokenizer, ends, on_text)
                     for row, (ids, _) in enumerate(part)]
            results += run(decoder, texts)
    return results


def run(decoder: Decoder, texts: Sequence[Continuation]) -> list[Generated]:
    """Decode until every text has ended; each is finished as soon as it has."""
    results: list[Generated | None] = [None] * len(texts)
    while decoder.active:
        ended: set[int] = set()
        for row, token in decoder.step():
            if row not in ended and texts[row].push(token):  # guesses behind the end of a text may have been right
                decoder.finish(row)
                ended.add(row)
        for row, text in enumerate(texts):
            if results[row] is None and not decoder.rows[row].left:
                results[row] = text.finish()
    return [done or text.finish() for done, text in zip(results, texts, strict=True)]
