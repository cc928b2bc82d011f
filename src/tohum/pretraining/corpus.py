"""How hard a text is: data folder -> bits per byte of byte models of rising order, and of xz, on its validation text.

Computed once for a data folder and kept beside its index; the planner predicts from it, the report compares with it.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tohum.data_sampling.shards import DataFolder, Side
from tohum.errors import TohumError
from tohum.evaluation.ngram import backoff_bits_per_byte, xz_bits_per_byte
from tohum.files import write_json

FILE = "statistics.json"
TRAIN_BYTES, VAL_BYTES = 8_000_000, 1_000_000  # read at most; larger texts are judged by their first part
ORDERS = (1, 2, 3, 5)
OVERLAP_TEXT_BYTES = 20_000_000  # of training text searched for runs that a sample repeats


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Bits per byte on the validation text after reading the training text."""

    fingerprint: str
    train_bytes: int
    val_bytes: int
    orders: dict[str, float]
    xz: float

    @property
    def order5(self) -> float:
        return self.orders["5"]


def statistics(data: DataFolder) -> Statistics | None:
    """Read from the data folder, else computed and kept there; None when there is no validation text."""
    path = Path(data.path) / FILE
    if path.is_file():
        try:
            stored = Statistics(**json.loads(path.read_text("utf-8")))
            if stored.fingerprint == data.fingerprint:
                return stored
        except (ValueError, TypeError):
            pass  # computed anew below
    train, val = split_text(data, "train", TRAIN_BYTES), split_text(data, "val", VAL_BYTES)
    if len(train) < 2 or len(val) < 2:
        return None
    orders = backoff_bits_per_byte(train, val, orders=ORDERS)
    found = Statistics(fingerprint=data.fingerprint, train_bytes=len(train), val_bytes=len(val),
                       orders={str(order): bits for order, bits in orders.items()}, xz=xz_bits_per_byte(train, val))
    with contextlib.suppress(TohumError):  # a data folder that cannot be written is read all the same
        write_json(path, asdict(found))
    return found


def split_text(data: DataFolder, split: Side, limit_bytes: int) -> bytes:
    """The text of a split, decoded from its tokens, sources in turn; a token is at least about a byte."""
    return "\n".join(data.texts(split, at_most_tokens=limit_bytes)).encode("utf-8")[:limit_bytes]
