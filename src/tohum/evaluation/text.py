"""Text to evaluate: documents -> one stream of ids, with the marks that the tokenizer puts around each."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tohum.data_sampling.encoder import document_marks
from tohum.documents.document import Document, cut
from tohum.tokenizing.tokenizer import Tokenizer

STRETCH_CHARACTERS = 2**17  # encoded at once, so that memory does not grow with the length of a document


def text_ids(documents: Iterable[Document], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """(N,) ids of all documents in a row, as `data prepare` would write them."""
    before, after = document_marks(tokenizer)
    parts: list[NDArray[np.int32]] = []
    starts = True
    for document in documents:
        ids = list(before) if starts else []
        rest = document.text
        while rest:
            head, rest = cut(rest, STRETCH_CHARACTERS) if len(rest) > STRETCH_CHARACTERS else (rest, "")
            ids += tokenizer.encode(head)
        starts = not document.continues
        parts.append(np.array(ids + (after if starts else []), np.int32))
    return np.concatenate(parts, dtype=np.int64) if parts else np.zeros(0, np.int64)
