"""Token strings -> the bytes they spell, for byte-level, SentencePiece and plain vocabularies."""

import json
import re
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer as Engine

from tohum.errors import DataError

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
METASPACE = "▁"


def byte_characters() -> dict[str, int]:
    """GPT-2's alphabet: the 188 printable Latin-1 bytes stand for themselves, the others for U+0100 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    for offset, byte in enumerate(byte for byte in range(256) if byte not in set(printable)):
        table[chr(256 + offset)] = byte
    return table


BYTES = byte_characters()


def speller(engine: Engine) -> Callable[[str], bytes]:
    """How this vocabulary spells bytes. Raises DataError where ids do not spell the text exactly (BERT's)."""
    kinds = decoder_kinds(part_json(engine.decoder))
    if "ByteLevel" in kinds:
        prefix = getattr(engine.model, "continuing_subword_prefix", None) or ""
        return lambda token: byte_level_bytes(token.removeprefix(prefix) if prefix else token)
    if "ByteFallback" in kinds or "Metaspace" in kinds:
        return sentencepiece_bytes
    if kinds <= {"Fuse"}:
        return lambda token: token.encode("utf-8")
    raise DataError(f"its decoder ({', '.join(sorted(kinds))}) puts spaces between pieces by rules; a language model "
                    "needs a tokenizer whose ids spell the text exactly")


def part_json(part: Any) -> dict[str, Any] | None:
    """A decoder or pre-tokenizer as it stands in tokenizer.json, without writing out the whole vocabulary."""
    return None if part is None else json.loads(part.__getstate__())


def decoder_kinds(decoder: dict[str, Any] | None) -> set[str]:
    """Types of a decoder and of the parts of a sequence."""
    if decoder is None:
        return {"none"}
    if decoder["type"] == "Sequence":
        return {part["type"] for part in decoder["decoders"]}
    return {decoder["type"]}


def byte_level_bytes(token: str) -> bytes:
    """"Ġthe" -> b" the"; a character outside the alphabet (an added token) stands for itself."""
    if all(character in BYTES for character in token):
        return bytes(BYTES[character] for character in token)
    return token.encode("utf-8")


def sentencepiece_bytes(token: str) -> bytes:
    """"▁the" -> b" the", "<0x0A>" -> b"\\n"."""
    byte = BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace(METASPACE, " ").encode("utf-8")
