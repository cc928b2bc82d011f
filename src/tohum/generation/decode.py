"""Decoding: prompts as ids, of any lengths -> one new id per row and pass.

Each pass feeds every row what its cache lacks: the whole prompt at first, then one token, nothing once the
row has ended. Rows end on the right, so that the last column holds each row's newest token:

    pass 1    <pad> <pad> Hi    ->  there        pass 2   there  ->  !
              Once  upon  a     ->  time                  time   ->  there

With `choice.lookup`, a pass over one greedy text also reads tokens that are guessed from the text itself (see
lookup.py), keeps those that the model would have chosen, and forgets the others:

    pass 3    !     Hi  there  ?    ->  Hi  there  !         two guesses were right, and "!" is new

A row longer than the model's context goes on with the last half of its window, read again from position 0;
the same rule holds without a cache (where every pass feeds whole windows), so both give the same ids.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tohum.errors import ConfigError
from tohum.generation.choice import Choice, choose
from tohum.generation.fast import FastNetwork, fast_network
from tohum.generation.lookup import Lookup
from tohum.generation.mode import evaluating
from tohum.model.network import Network
from tohum.seeding import generator


@dataclass
class Row:
    """One text in the making."""

    ids: list[int]  # prompt and what followed
    generator: torch.Generator
    left: int  # tokens that may still follow
    start: int = 0  # where its window begins in `ids`
    stored: int = 0  # tokens of the window that the cache holds

    def fit(self, context: int) -> None:
        """Slide the window when it is longer than the context: its last half stays."""
        if len(self.ids) - self.start > context:
            self.start = len(self.ids) - max(1, context // 2)
            self.stored = 0

    def unread(self) -> list[int]:
        """Tokens of the window that the cache lacks; none for a row that has ended."""
        return self.ids[self.start + self.stored :] if self.left else []


class Decoder:
    """Texts being continued together. `step` gives one token per live row, `finish` ends a row early.

    The network must be in evaluation mode (see `generate`). `samples` numbers the texts of equal prompts: the
    randomness of a row follows from (seed, sample, prompt) alone. `vocab_size` is the number of ids that may
    be chosen, where the table has rows behind the tokenizer's last entry. `choice.lookup` is
    for one greedy text without a penalty; `passes` counts how often the network was run.
    """

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]], *, choice: Choice, max_tokens: int,
                 samples: Sequence[int] | None = None, cache: bool = True, vocab_size: int | None = None):
        check_prompts(prompts, network.config.vocab_size)
        self.network, self.choice = network, choice
        self.context = network.config.context
        self.vocab_size = min(vocab_size or network.config.vocab_size, network.config.vocab_size)
        self.device = network.head_weight.device
        self.rows = [Row(ids=list(prompt), left=max_tokens,
                         generator=generator(choice.seed, "generation", sample, *prompt))
                     for prompt, sample in zip(prompts, samples or [0] * len(prompts), strict=True)]
        for row in self.rows:
            row.fit(self.context)
        longest = max((len(row.ids) for row in self.rows), default=0) + max_tokens
        self.cache = network.new_cache(len(prompts), min(longest, self.context)) if cache else None
        self.engine: Network | FastNetwork = fast_network(network, self.cache) or network
        self.seen = self.first_seen() if choice.repetition_penalty != 1 else None
        self.passes = 0
        self.lookup = self.begin_lookup() if choice.lookup else None

    def begin_lookup(self) -> Lookup:
        """Raises ConfigError where guesses cannot be checked."""
        if len(self.rows) != 1 or not self.choice.greedy or self.seen is not None:
            raise ConfigError("prompt lookup continues one text greedily (temperature 0, no repetition penalty)")
        if self.cache is None or self.cache.forgets:
            raise ConfigError("prompt lookup needs a cache that can go back; this model's windows overwrite old tokens")
        return Lookup(self.rows[0].ids)

    @property
    def active(self) -> bool:
        """Whether any row goes on."""
        return any(row.left for row in self.rows)

    def finish(self, row: int) -> None:
        """End a row: no more tokens for it."""
        self.rows[row].left = 0

    @torch.inference_mode()
    def step(self) -> list[tuple[int, int]]:
        """One pass: (row number, new id) for every row that has not ended; with lookup, several for the one row."""
        self.passes += 1
        if self.lookup is not None and self.rows[0].stored:
            return self.step_with_guesses(self.lookup, self.rows[0])
        logits = self.feed()[:, : self.vocab_size]  # (B, V)
        numbers = [torch.rand((), generator=row.generator, dtype=torch.float64).item()
                   if row.left and not self.choice.greedy else 0.0 for row in self.rows]
        uniforms = torch.tensor(numbers, dtype=torch.float64)
        chosen = choose(logits, self.seen, self.choice, uniforms)  # (B,)
        found = [(number, token) for number, token in enumerate(chosen.tolist()) if self.rows[number].left]
        for number, token in found:
            row = self.rows[number]
            row.ids.append(token)
            row.left -= 1
            row.fit(self.context)
        if self.seen is not None:
            self.seen.scatter_(1, chosen[:, None], True)
        if self.lookup is not None:
            self.lookup.extend(token for _, token in found)
        return found

    def step_with_guesses(self, lookup: Lookup, row: Row) -> list[tuple[int, int]]:
        """One pass over the newest token and guesses; new ids up to the first that was guessed otherwise."""
        assert self.cache is not None
        room = self.context - (len(row.ids) - row.start) - 1  # until the window slides
        unread, guesses = row.unread(), lookup.guess(min(self.choice.lookup, row.left - 1, room))
        ids = torch.tensor([unread + guesses], device=self.device)  # (1, T)
        hidden = self.engine.hidden(ids, cache=self.cache)[0, len(unread) - 1 :]  # (guesses + 1, D)
        scores = self.engine.to_logits(hidden)[:, : self.vocab_size]
        best = choose(scores, None, self.choice, torch.zeros(len(scores))).tolist()
        right = next((n for n, (a, b) in enumerate(zip(guesses, best, strict=False)) if a != b), len(guesses))
        self.cache.advance(ids.shape[1])
        self.cache.go_back(len(guesses) - right)
        new = best[: right + 1]
        row.stored += len(unread) + right
        row.ids += new
        row.left -= len(new)
        row.fit(self.context)
        lookup.extend(new)
        return [(0, token) for token in new]

    def feed(self) -> Tensor:
        """Run the network over what each row's cache lacks -> scores of the next token (B, V)."""
        self.forget()
        new = [row.unread() for row in self.rows]
        width = max(map(len, new))
        ids = torch.tensor([[0] * (width - len(part)) + part for part in new], device=self.device)  # (B, T)
        positions = documents = None
        counts = torch.tensor([len(part) for part in new], device=self.device)  # (B,)
        even = min(map(len, new)) == width
        if not even:
            columns = torch.arange(width, device=self.device)
            padding = columns < width - counts[:, None]  # (B, T)
            stored = torch.tensor([row.stored for row in self.rows], device=self.device)
            positions = (columns - (width - counts - stored)[:, None]).masked_fill(padding, 0)
            documents = torch.zeros_like(ids).masked_fill(padding, -1)
        hidden = self.engine.hidden(ids, positions=positions, documents=documents, cache=self.cache)
        if self.cache is not None:
            self.cache.advance(width if even else counts)
            for row, part in zip(self.rows, new, strict=True):
                row.stored += len(part)
        return self.engine.to_logits(hidden[:, -1])

    def forget(self) -> None:
        """Free the cache of rows whose window has moved."""
        if self.cache is None:
            return
        if all(row.stored == 0 for row in self.rows):
            self.cache.reset()
            return
        for number, row in enumerate(self.rows):
            if row.stored == 0:
                self.cache.lengths[number] = 0

    def first_seen(self) -> Tensor:
        """(B, V) bool: the tokens of each prompt."""
        seen = torch.zeros(len(self.rows), self.vocab_size, dtype=torch.bool)
        for number, row in enumerate(self.rows):
            seen[number, [token for token in row.ids if token < self.vocab_size]] = True
        return seen.to(self.device)


def generate(network: Network, prompts: Sequence[Sequence[int]], *, choice: Choice, max_tokens: int,
             stop_ids: Collection[int] = (), samples: Sequence[int] | None = None,
             cache: bool = True) -> Iterator[tuple[int, int]]:
    """Stream (row number, new id) pairs, pass by pass; a row ends with a stop id or after `max_tokens`.

    The stop id itself is part of the stream. The network is in evaluation mode until the stream ends or is
    closed, then again in the mode that it had; torch's global generators are not touched. Raises ConfigError
    for a prompt that is empty or holds ids that the model does not have.
    """
    with evaluating(network):
        decoder = Decoder(network, prompts, choice=choice, max_tokens=max_tokens, samples=samples, cache=cache)
        while decoder.active:
            ended: set[int] = set()
            for row, token in decoder.step():
                if row in ended:  # a right guess behind the end of the text
                    continue
                if token in stop_ids:
                    decoder.finish(row)
                    ended.add(row)
                yield row, token


def check_prompts(prompts: Sequence[Sequence[int]], vocab_size: int) -> None:
    """Raises ConfigError for prompts that cannot be continued."""
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise ConfigError(f"prompt {number} is empty; it needs one id at least, such as the tokenizer's BOS")
        worst = max(prompt, key=lambda token: (token < 0, token))
        if not 0 <= worst < vocab_size:
            raise ConfigError(f"prompt {number} holds id {worst}, but the model has ids 0 to {vocab_size - 1}; "
                              "use the tokenizer that belongs to the model")
