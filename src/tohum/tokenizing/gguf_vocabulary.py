"""The tokenizer inside a GGUF file -> our engine, with the same ids."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Engine

from tohum.errors import DataError
from tohum.gguf import read_gguf
from tohum.tokenizing.patterns import PATTERNS, byte_level
from tohum.tokenizing.sentencepiece import Pieces, convert
from tohum.tokenizing.tokenizer import Special, Tokenizer

CONTROL, USER_DEFINED = 3, 4  # types of tokens that are no ordinary pieces
PREFIX = "tokenizer.ggml."
NAMES = {"llama-bpe": "llama-bpe", "llama3": "llama-bpe", "qwen2": "qwen2", "gpt-2": "gpt-2", "default": "gpt-2"}
DIGITS_FIRST = ("smollm",)  # each digit alone, then as GPT-2 cuts


def load_gguf(path: Path) -> Tokenizer:
    """Read the vocabulary of a GGUF file. Raises DataError, CheckpointError."""
    whole = read_gguf(path).values
    values = {key.removeprefix(PREFIX): value for key, value in whole.items() if key.startswith(PREFIX)}
    values["chat_template"] = whole.get("tokenizer.chat_template")
    return from_values(str(path), values)


def from_values(path: str, values: dict[str, Any]) -> Tokenizer:
    """The values under tokenizer.ggml -> the tokenizer that they describe; `path` is named in errors."""
    tokens, kind = values.get("tokens"), values.get("model")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{path}: holds no list of tokens; give the tokenizer with --tokenizer")
    special = special_tokens(path, values, tokens)
    if kind == "gpt2":
        engine, pattern = byte_level_engine(path, values, tokens)
    elif kind == "llama":
        engine, pattern = sentencepiece_engine(path, values, tokens, special), None
    else:
        raise DataError(f"{path}: its tokenizer is of kind {kind!r}; gpt2 and llama are read")
    add_tokens(engine, values, tokens)
    begin_with(engine, special.bos if values.get("add_bos_token", kind == "llama" or pattern == "llama-bpe") else None)
    extra = {"chat_template": values["chat_template"]} if isinstance(values.get("chat_template"), str) else {}
    return Tokenizer(engine, kind="bpe", special=special, pattern=pattern, extra=extra)


def special_tokens(path: str, values: dict[str, Any], tokens: list[str]) -> Special:
    """Roles by the ids that the file names."""
    roles = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "unk": "unknown_token_id"}
    ids = {role: values[key] for role, key in roles.items() if values.get(key) is not None}
    for role, number in ids.items():
        if not isinstance(number, int) or not 0 <= number < len(tokens):
            raise DataError(f"{path}: {roles[role]} = {number!r}, but there are {len(tokens):,} tokens")
    return Special(**{role: tokens[number] for role, number in ids.items()})


def sentencepiece_engine(path: str, values: dict[str, Any], tokens: list[str], special: Special) -> Engine:
    """SentencePiece's BPE with the file's scores."""
    scores = values.get("scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise DataError(f"{path}: expected a score for each of the {len(tokens):,} tokens")
    return convert(Pieces(texts=tokens, scores=scores, special=special,
                          dummy_prefix=bool(values.get("add_space_prefix", True)))).engine


def byte_level_engine(path: str, values: dict[str, Any], tokens: list[str]) -> tuple[Engine, str | None]:
    """Byte-level BPE with the file's merges and the split pattern that its `pre` names, and our name of that."""
    lines = [line for line in values.get("merges") or [] if isinstance(line, str)]
    merges = [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]
    table = {token: number for number, token in enumerate(tokens)}
    if len(table) != len(tokens) or any(line.count(" ") != 1 for line in lines):
        raise DataError(f"{path}: a token stands twice in the vocabulary, or a merge is not two tokens")
    lacking = [merge for merge in merges if not {*merge, "".join(merge)} <= table.keys()]
    if lacking:
        raise DataError(f"{path}: merge {' '.join(lacking[0])[:60]!r} makes or needs a token that is not there")
    pattern, cut = pre_tokenizer(path, values.get("pre", "default"))
    engine = Engine(models.BPE(vocab=table, merges=merges, ignore_merges=pattern == "llama-bpe"))
    engine.pre_tokenizer, engine.decoder = cut, decoders.ByteLevel()
    return engine, pattern


def add_tokens(engine: Engine, values: dict[str, Any], tokens: list[str]) -> None:
    """Tokens that no merge makes: those that only control, and words that a user defined."""
    types = values.get("token_type")
    types = types if isinstance(types, list) and len(types) == len(tokens) else []
    engine.add_special_tokens([AddedToken(token, special=True, normalized=False)
                               for token, kind in zip(tokens, types, strict=False) if kind == CONTROL])
    engine.add_tokens([AddedToken(token, normalized=False)
                       for token, kind in zip(tokens, types, strict=False) if kind == USER_DEFINED])


def begin_with(engine: Engine, bos: str | None) -> None:
    """Whether a text begins with BOS, as `Tokenizer.adds_bos` finds it."""
    if bos is None:
        engine.post_processor = processors.Sequence([])
        return
    engine.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, engine.token_to_id(bos))])


def pre_tokenizer(path: str, name: Any) -> tuple[str | None, pre_tokenizers.PreTokenizer]:
    """The name of one of our patterns, if it is one, and the cut."""
    if name in NAMES:
        return NAMES[name], byte_level(NAMES[name])
    if name in DIGITS_FIRST:
        digits = pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated")
        return None, pre_tokenizers.Sequence([digits, byte_level("gpt-2")])
    raise DataError(f"{path}: cuts text by the rule {name!r}, which is not known; known are "
                    f"{', '.join([*PATTERNS, *DIGITS_FIRST])}\ngive the model's own tokenizer.json with --tokenizer")
