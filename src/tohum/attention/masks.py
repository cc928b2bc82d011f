"""Masks: documents, windows and padding -> which keys each query may read, built once per pass.

One row of 6 tokens, two documents, window 2 (x: may read; queries go down, keys across):

    causal            causal, window 2      documents 0 0 0 1 1 1
    x . . . . .       x . . . . .           x . . . . .
    x x . . . .       x x . . . .           x x . . . .
    x x x . . .       . x x . . .           x x x . . .
    x x x x . .       . . x x . .           . . . x . .
    x x x x x .       . . . x x .           . . . x x .
    x x x x x x       . . . . x x           . . . x x x

Two texts that begin alike need their beginning once: a trunk, and a branch for what is each one's own.

    branches 0 0 1 1 2 2
    x . . . . .
    x x . . . .
    x x x . . .
    x x x x . .
    x x . . x .
    x x . . x x
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Mask:
    """What queries may read: `visible` (B or 1, 1, T, S) bool, True = may read.

    `causal` promises that no key after the query is readable (T = S); without a matrix it is the whole rule,
    and without either, everything is readable. Kernels are fastest without a matrix, so one is made only
    where something besides order decides.
    """

    visible: Tensor | None = None
    causal: bool = False


CAUSAL = Mask(causal=True)
EVERYTHING = Mask()


def seen_by(query_positions: Tensor, key_positions: Tensor, window: int | None) -> Tensor:
    """(…, T) and (…, S) -> (…, T, S) bool: key not after query, and among the last `window` tokens."""
    behind = query_positions[..., :, None] - key_positions[..., None, :]  # tokens that the key lies back
    return behind >= 0 if window is None else (behind >= 0) & (behind < window)


def build_masks(windows: Sequence[int | None], ids: Tensor, documents: Tensor | None,
                branches: Tensor | None = None, positions: Tensor | None = None) -> tuple[Mask, ...]:
    """One mask for each distinct window, shared by all its layers.

    documents (B, T): number of the document that each column belongs to inside its row; tokens read only
    their own. Padding (-1) counts as a document of its own, so that no row of the softmax is empty.
    branches (B, T): of a document; a token reads its own and 0, the trunk. They need `positions` (B, T), by which a
    window counts.
    """
    columns = torch.arange(ids.shape[1], device=ids.device)
    places = columns
    if branches is not None:
        assert documents is not None, "branches are parts of documents"
        assert positions is not None, "a window counts along a branch, which needs positions"
        places = positions
    masks = []
    for window in windows:
        narrow = window is not None and window < ids.shape[1]
        if documents is None and not narrow:
            masks.append(CAUSAL)
            continue
        visible = seen_by(columns, columns, None)[None]  # (1, T, T)
        if narrow:
            visible = visible & seen_by(places, places, window)  # (B or 1, T, T)
        if documents is not None:
            visible = visible & (documents[:, :, None] == documents[:, None, :])
        if branches is not None:
            visible = visible & ((branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :]))
        masks.append(Mask(visible=visible[:, None], causal=True))  # (B or 1, 1, T, T)
    return tuple(masks)


def as_matrix(mask: Mask, scores: Tensor) -> Tensor:
    """The mask written out for scores (B, H, T, S): bool, broadcastable to them."""
    if mask.visible is not None:
        return mask.visible
    everything = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
    return everything.tril() if mask.causal else everything
