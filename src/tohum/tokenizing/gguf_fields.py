"""A tokenizer -> the values under tokenizer.* of a GGUF file, with which llama.cpp makes the same ids.

llama.cpp knows two kinds that ours fit: "gpt2", byte-level BPE whose cut into words has a name (tokenizer.ggml.pre),
and "llama", SentencePiece's BPE with fallback to bytes. The name of the cut is found by trial: the one with which
this reader of GGUF vocabularies gives the same ids for a text of many scripts.
"""

import json
import re
from typing import Any

from tohum.errors import ConfigError, DataError
from tohum.tokenizing.alphabet import METASPACE
from tohum.tokenizing.gguf_vocabulary import DIGITS_FIRST, from_values
from tohum.tokenizing.patterns import PATTERNS
from tohum.tokenizing.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
ROLES = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "unk": "unknown_token_id"}

SAMPLE = """The seed waits; it's 1,234,567 days old — "they'll" see, won't we've?\n
  def grow(x: int) -> float:\n\treturn x ** 2
İstanbul'da güneşli bir gün: ğüşıöç ĞÜŞİÖÇ. Größe, naïve, Ελληνικά, Русский язык, עברית, العربية,
हिन्दी, ไทย, 한국어, 日本語の文、中文字符。 emoji 👩‍🚀🚀🇹🇷 3.14159 100000 x²+y³ \u00a0 ﬁ ½
''' !!!??? \r\n<tag/>   trailing   """


def gguf_fields(tokenizer: Tokenizer, rows: int, template: str | None) -> dict[str, Any]:
    """All values; `rows` of the model's table behind the last token get names that no text has.

    Raises ConfigError for kinds of tokenizers that llama.cpp does not have.
    """
    model = json.loads(tokenizer.engine.to_str())["model"]
    spelled = vocabulary(tokenizer, rows)
    types = [kind_of(tokenizer, number, token) for number, token in enumerate(spelled)]
    tokens = [token if token is not None else f"[PAD{number}]" for number, token in enumerate(spelled)]
    own: dict[str, Any] = {"tokens": tokens, "token_type": types, **special_ids(tokenizer),
                           "add_bos_token": tokenizer.adds_bos, "add_eos_token": False}
    if model["type"] == "BPE" and model.get("byte_fallback"):
        own |= sentencepiece_fields(tokenizer, model, tokens)
    elif model["type"] == "BPE" and tokenizer.kind == "bpe":
        own |= {"model": "gpt2", "merges": [" ".join(merge) if isinstance(merge, list) else merge
                                            for merge in model["merges"]]}
        own["pre"] = cut_name(tokenizer, own)
    else:
        raise ConfigError(f"llama.cpp has no tokenizer of kind '{tokenizer.kind}'; export with --to hf, "
                          "or train the model with a tokenizer of --kind bpe")
    fields = {f"tokenizer.ggml.{key}": value for key, value in own.items()}
    return fields | ({"tokenizer.chat_template": template} if template is not None else {})


def vocabulary(tokenizer: Tokenizer, rows: int) -> list[str | None]:
    """The spelling of every row, None where the tokenizer has no token for it."""
    spelled: list[str | None] = [None] * max(rows, tokenizer.vocab_size)
    for token, number in tokenizer.engine.get_vocab(with_added_tokens=True).items():
        spelled[number] = token
    return spelled


def kind_of(tokenizer: Tokenizer, number: int, token: str | None) -> int:
    """llama.cpp's type of a token."""
    added = tokenizer.engine.get_added_tokens_decoder().get(number) if token is not None else None
    if token is None:
        return UNUSED
    if number == tokenizer.unk_id:
        return UNKNOWN
    if number in tokenizer.special_ids:
        return CONTROL
    if added is not None:
        return USER_DEFINED
    return BYTE if BYTE_PIECE.fullmatch(token) else NORMAL


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids by role, for the roles that there are."""
    ids = {key: getattr(tokenizer, f"{role}_id") for role, key in ROLES.items()}
    return {key: number for key, number in ids.items() if number is not None}


def sentencepiece_fields(tokenizer: Tokenizer, model: dict[str, Any], tokens: list[str]) -> dict[str, Any]:
    """Scores in the order of the merges: llama.cpp joins the two neighbours whose joint piece has the best score."""
    rank: dict[str, int] = {}
    for number, merge in enumerate(model["merges"]):
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        rank.setdefault(left + right, number)
    first = tokenizer.engine.encode("a", add_special_tokens=False).tokens[:1]
    return {"model": "llama", "pre": "default", "scores": [-float(rank.get(token, len(rank))) for token in tokens],
            "add_space_prefix": bool(first) and first[0].startswith(METASPACE)}


def cut_name(tokenizer: Tokenizer, values: dict[str, Any]) -> str:
    """The name under which llama.cpp knows how this tokenizer cuts text into words. Raises ConfigError."""
    names = [*PATTERNS, *DIGITS_FIRST]
    if tokenizer.pattern in names:  # ours: tried first
        names.insert(0, tokenizer.pattern)
    wanted = tokenizer.encode(SAMPLE)
    for name in dict.fromkeys(names):
        try:
            if from_values("the tokenizer", values | {"pre": name}).encode(SAMPLE) == wanted:
                return name
        except DataError:  # a vocabulary that GGUF cannot hold
            break
    raise ConfigError("this tokenizer cuts text into words by a rule that is none of "
                      f"{', '.join([*PATTERNS, *DIGITS_FIRST])}; llama.cpp would make other ids of it\n"
                      "export with --to hf")
