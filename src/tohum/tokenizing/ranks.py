"""tiktoken rank files: lines of base64 bytes and a rank -> byte-level BPE with the merges that the ranks imply."""

import base64
import binascii
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as Engine

from tohum.errors import DataError
from tohum.tokenizing.alphabet import BYTES
from tohum.tokenizing.patterns import byte_level
from tohum.tokenizing.tokenizer import END, Special, Tokenizer

CHARACTERS = {byte: character for character, byte in BYTES.items()}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a rank file does not say: its split pattern and the special tokens after the ranks (None: unused id)."""

    pattern: str
    special: tuple[str | None, ...]


# Known by the number of their ranks.
KNOWN = {
    50256: Published(pattern="gpt-2", special=(END,)),
    100256: Published(pattern="llama-bpe", special=(None, END, "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")),
    128000: Published(pattern="llama-bpe", special=("<|begin_of_text|>", "<|end_of_text|>")),
    151643: Published(pattern="qwen2", special=(END, "<|im_start|>", "<|im_end|>")),
}


def load_ranks(path: Path) -> Tokenizer:
    """Read a .tiktoken file. Raises DataError with the line that is wrong."""
    ranks = read_ranks(path)
    published = KNOWN.get(len(ranks))
    if published is None:
        raise DataError(f"{path}: {len(ranks):,} ranks; the split pattern of such a vocabulary is not known here\n"
                        f"known are files of {', '.join(f'{count:,}' for count in KNOWN)} ranks; else use the model's "
                        "tokenizer.json")
    spelled = {token: "".join(CHARACTERS[byte] for byte in token) for token in ranks}
    merges = [(spelled[left], spelled[right]) for left, right in implied_merges(ranks)]
    model = models.BPE(vocab={spelled[token]: rank for token, rank in ranks.items()}, merges=merges,
                       ignore_merges=True)  # tiktoken takes a word that is a token whole
    engine = Engine(model)
    engine.pre_tokenizer, engine.decoder = byte_level(published.pattern), decoders.ByteLevel()
    names = [name or f"<|unused_{len(ranks) + i}|>" for i, name in enumerate(published.special)]
    engine.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    llama = END not in names
    special = Special(bos=names[0], eos=names[1]) if llama else Special(eos=END, pad=END)
    return Tokenizer(engine, kind="bpe", special=special, pattern=published.pattern)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Tokens by rank, which must be 0, 1, 2 … and include all 256 bytes."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise DataError(f"{path}:{number}: expected base64 bytes, a space and a rank; got "
                            f"{line[:40].decode('latin-1')!r}") from None
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise DataError(f"{path}: the ranks are not 0 to {len(ranks) - 1}, each once")
    lacking = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if lacking:
        raise DataError(f"{path}: no rank for byte 0x{lacking[0]:02X} and {len(lacking) - 1} more of the 256")
    return ranks


def implied_merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """In the order of ranks, the two parts that byte-pair encoding joins last to make each token."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = merge(token, ranks, below=rank)
            if len(parts) == 2:
                merges.append((parts[0], parts[1]))
    return merges


def merge(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    """Byte-pair encoding by ranks smaller than `below`: join the neighbours of lowest rank until none is left."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 1:
        found = [(ranks.get(left + right, below), i) for i, (left, right) in enumerate(pairwise(parts))]
        rank, i = min(found)
        if rank >= below:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts
