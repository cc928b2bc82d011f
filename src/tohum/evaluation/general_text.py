"""General text: a fixed slice of the embedded corpus -> documents to see on what fine-tuning forgets.

The slice is English that is on every machine: the beginnings of those documents of `python-docs` that `data prepare
python-docs` keeps for validation, so that no model trained on that corpus has learned them. It changes with the
version of Python, so figures on it compare models on one machine, not machines.
"""

import platform

from tohum.data_sampling.config import PrepareConfig
from tohum.data_sampling.split import Splitter, scan
from tohum.documents.document import Document
from tohum.documents.python_library import PythonDocs

WINDOW_TOKENS = 256  # a window as long as a large context would cost more time and see nothing more
DOCUMENT_CHARACTERS = 1000  # of each, so that many subjects are in it; about 50,000 in all


def general_name() -> str:
    """What was measured on, for the card."""
    return f"beginnings of python-docs (Python {platform.python_version()}), validation part"


def general_documents() -> list[Document]:
    """The slice, in the order of the corpus."""
    source = PythonDocs()
    splitter = Splitter([scan(source.documents())], PrepareConfig().val_fraction)
    pieces = [piece.text for piece in splitter.pieces(0, source.documents()) if piece.side == "val"]
    return [Document(text[:DOCUMENT_CHARACTERS], f"python-docs:{number}") for number, text in enumerate(pieces, 1)]
