"""Key/value cache: keys and values of this pass -> those of all tokens so far, in storage allocated once.

The token at position p of a row lives in slot p (in layers with a window: slot p modulo the window), so rows
of different lengths need no shared left edge, and padding is written to a spare slot that nobody reads:

    slot          0    1    2    3    4    5   spare
    row 0         Once upon a    time .    .    .       lengths[0] = 4
    row 1         Hi   .    .    .    .    .    <pad>   lengths[1] = 1

Every slot up to a token's position was written by its own text, so `slot <= position` is the whole mask, and
a row is free for another text when its length is set to zero. The caller advances the lengths after a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tohum.attention.masks import CAUSAL, EVERYTHING, Mask, seen_by
from tohum.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CacheSize:
    """What one layer stores per token, and for how many tokens (window None: all)."""

    kv_heads: int  # G
    head_width: int  # E
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one pass writes and reads, computed once and shared by all layers."""

    tokens: int  # T
    start: int | None  # first column, where all rows are equally long and nothing is padded; else None
    used: int  # slots that hold something after this pass, at most
    positions: Tensor  # (B, T) int64; padding holds some position too
    padding: Tensor | None  # (B, T) bool
    masks: dict[int | None, Mask] = field(default_factory=dict)  # by window
    slots: dict[int | None, Tensor] = field(default_factory=dict)  # by window, (B, T) int64


class KeyValueCache:
    """Keys and values of every layer for `rows` texts of at most `length` tokens."""

    def __init__(self, sizes: Sequence[CacheSize], rows: int, length: int, *, dtype: torch.dtype,
                 device: torch.device):
        """Allocates 2 * rows * (slots + 1) * G * E numbers per layer, once."""
        self.sizes, self.rows, self.length = tuple(sizes), rows, length
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)  # tokens held, per row
        self.longest = 0  # upper bound of lengths, known without asking the device
        self.even = True  # all rows are `longest` tokens long
        shapes = [(rows, self.slots(size.window) + 1, size.kv_heads, size.head_width) for size in sizes]
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
        self.values = [torch.zeros_like(keys) for keys in self.keys]  # each (B, slots + 1, G, E)
        narrow = {size.window for size in sizes if self.is_ring(size.window)}
        self.ring_positions = {window: torch.full((rows, self.slots(window) + 1), -1, device=device)
                               for window in narrow}  # position held by each slot, -1: none

    def is_ring(self, window: int | None) -> bool:
        """A layer that forgets reuses its slots; the others have a slot for every position."""
        return window is not None and window < self.length

    def slots(self, window: int | None) -> int:
        """Positions that a layer with this window can hold at the same time."""
        return self.length if window is None else min(window, self.length)

    @property
    def bytes(self) -> int:
        """Size of keys and values in memory."""
        return sum(part.nbytes for part in (*self.keys, *self.values))

    def reset(self) -> None:
        """Forget everything; the storage stays. What old slots hold is overwritten before it can be read."""
        self.lengths.zero_()
        self.longest, self.even = 0, True

    def advance(self, tokens: int | Tensor) -> None:
        """Count what the last pass wrote: the same number for every row, or (B,) int64 one for each.

        Raises ConfigError when a row would be longer than the storage.
        """
        if isinstance(tokens, int):
            self.longest += tokens
            self.lengths += tokens
        else:
            self.lengths += tokens
            self.even, self.longest = False, int(self.lengths.max())
        if self.longest > self.length:
            raise ConfigError(f"{self.longest:,} tokens, but this cache was made for {self.length:,}")

    @property
    def forgets(self) -> bool:
        """Some layer writes over old tokens, so that it cannot go back."""
        return bool(self.ring_positions)

    def go_back(self, tokens: int) -> None:
        """Forget the last tokens of rows that are equally long; what their slots hold is written over next."""
        assert self.even
        assert not self.forgets
        self.longest -= tokens
        self.lengths -= tokens

    def begin(self, tokens: int, positions: Tensor | None, padding: Tensor | None) -> Turn:
        """Plan a pass over `tokens` new tokens per row.

        positions (B, T) or None: each row goes on where it is; padding (B, T) bool or None, on either side.
        Raises ConfigError if the tokens do not fit.
        """
        if self.longest + tokens > self.length and padding is None:
            raise ConfigError(f"{self.longest:,} cached tokens and {tokens:,} new ones, but this cache was "
                              f"made for {self.length:,}; drop the oldest tokens and start it anew")
        plain = positions is None and padding is None and self.even
        if positions is None:
            positions = self.lengths[:, None] + torch.arange(tokens, device=self.lengths.device)  # (B, T)
        turn = Turn(tokens=tokens, start=self.longest if plain else None,
                    used=min(self.longest + tokens, self.length), positions=positions.clamp(min=0),
                    padding=padding)
        for window in {size.window for size in self.sizes}:
            plan = self.plan_ring if self.is_ring(window) else self.plan_all
            plan(turn, window)
        return turn

    def plan_all(self, turn: Turn, window: int | None) -> None:
        """Slots and mask of layers that hold every position (their window is not shorter than the cache)."""
        if turn.start == 0:
            turn.masks[window] = CAUSAL
        elif turn.start is not None and turn.tokens == 1:
            turn.masks[window] = EVERYTHING
        else:
            columns = torch.arange(turn.used, device=turn.positions.device)
            visible = seen_by(turn.positions, columns, None)  # (B, T, used)
            turn.masks[window] = Mask(visible=visible[:, None])
        if turn.start is None:
            turn.slots[window] = spare(turn.positions, turn.padding, self.length)

    def plan_ring(self, turn: Turn, window: int | None) -> None:
        """Slots and mask of layers with a window, whose slots are used again and again.

        A single token replaces the one that has just left the window. Several tokens would replace some that
        their own predecessors still need, so they read (ring before the pass, new tokens) side by side.
        """
        size, held = self.slots(window), self.ring_positions[window]
        new = turn.positions if turn.padding is None else turn.positions.masked_fill(turn.padding, -1)
        last = new.amax(dim=1, keepdim=True)  # (B, 1)
        forgotten = (new < 0) | (new <= last - size)  # only the newest `size` tokens stay
        slots = spare(new % size, forgotten, size)  # (B, T)
        earliest = torch.where(new < 0, last, new).amin(dim=1, keepdim=True)  # (B, 1)
        # Slots that hold later positions are left over from an older text of this row.
        before = held[:, :-1].masked_fill(held[:, :-1] >= earliest, -1)  # (B, size)
        held.scatter_(1, slots, new)
        keys = held[:, :-1] if turn.tokens == 1 else torch.cat((before, new), dim=1)  # (B, S)
        visible = seen_by(turn.positions, keys, window) & (keys >= 0)[:, None]  # (B, T, S)
        if turn.padding is not None:  # nobody reads padding; itself reads anything: no softmax may be empty
            visible = visible | turn.padding[:, :, None]
        turn.slots[window], turn.masks[window] = slots, Mask(visible=visible[:, None])

    def store(self, layer: int, turn: Turn, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write this pass's key and value (B, T, G, E); return all that its queries may read (B, S, G, E).

        The storage may have another dtype than the pass; what is returned has the dtype of the pass.
        """
        window = self.sizes[layer].window
        keys, values = self.keys[layer], self.values[layer]
        ring = self.is_ring(window)
        joined = None
        if ring and turn.tokens > 1:
            joined = (torch.cat((keys[:, :-1], key.to(keys.dtype)), dim=1),
                      torch.cat((values[:, :-1], value.to(values.dtype)), dim=1))
        if window in turn.slots:
            slots = turn.slots[window][:, :, None, None].expand_as(key)  # (B, T, G, E)
            keys.scatter_(1, slots, key.to(keys.dtype))
            values.scatter_(1, slots, value.to(values.dtype))
        else:
            keys[:, turn.start:turn.used] = key
            values[:, turn.start:turn.used] = value
        readable = keys.shape[1] - 1 if ring else turn.used
        keys, values = joined or (keys[:, :readable], values[:, :readable])
        return keys.to(key.dtype), values.to(value.dtype)


def spare(slots: Tensor, padding: Tensor | None, spare_slot: int) -> Tensor:
    """Send padding to the spare slot behind all others."""
    return slots if padding is None else slots.masked_fill(padding, spare_slot)
