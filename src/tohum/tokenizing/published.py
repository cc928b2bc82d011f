"""Published vocabularies -> Tokenizer: model folders, tokenizer.json, GPT-2's two files, tiktoken ranks,
SentencePiece models, llama2.c, GGUF. What is read is checked and turned into one engine; no form is kept beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as Engine

from tohum.errors import CheckpointError, DataError
from tohum.tokenizing.alphabet import part_json, speller
from tohum.tokenizing.gguf_vocabulary import load_gguf
from tohum.tokenizing.patterns import PATTERNS, byte_level
from tohum.tokenizing.ranks import load_ranks
from tohum.tokenizing.sentencepiece import load_llama2c, load_sentencepiece
from tohum.tokenizing.tokenizer import CONFIG, END, FILE, KINDS, Special, Tokenizer

ROLES = ("bos", "eos", "pad", "unk")
LARGEST_GAP = 100_000  # unused ids that a vocabulary may have
GPT2_PRE_TOKENIZER = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
GPT2_NAMES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))
FORMS = ("a folder or file tokenizer.json, GPT-2's encoder.json with vocab.bpe, a .tiktoken rank file, "
         "a SentencePiece .model, a .gguf, or llama2.c's .bin")


def load(path: Path) -> Tokenizer:
    """Recognise the form and read it. Raises DataError naming the file."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; a tokenizer is {FORMS}")
    reader = reader_of(path)
    if reader is None:
        raise DataError(f"{path}: no tokenizer found; expected {FORMS}")
    try:
        return reader()
    except (DataError, CheckpointError):
        raise
    except Exception as error:  # the engine raises bare Exceptions for files that it cannot take
        if isinstance(error, MemoryError | OSError):
            raise
        raise DataError(f"{path}: cannot be read as a tokenizer: {str(error)[:200]}") from None


def reader_of(path: Path) -> Callable[[], Tokenizer] | None:
    """The function that reads this form."""
    if path.is_dir():
        for name in (FILE, "encoder.json", "vocab.json", "tokenizer.model"):
            if (path / name).is_file():
                return reader_of(path / name)
        return None
    for vocabulary, merges in GPT2_NAMES:
        for mine, other in ((vocabulary, merges), (merges, vocabulary)):
            if path.name.endswith(mine):
                sibling = path.with_name(path.name.removesuffix(mine) + other)
                pair = (path, sibling) if mine == vocabulary else (sibling, path)
                return lambda: load_gpt2(*pair)
    by_suffix = {".json": load_json, ".tiktoken": load_ranks, ".model": load_sentencepiece, ".bin": load_llama2c,
                 ".gguf": load_gguf}
    reader = by_suffix.get(path.suffix)
    return (lambda: reader(path)) if reader else None


def load_json(path: Path) -> Tokenizer:
    """tokenizer.json, with the roles that a tokenizer_config.json beside it names."""
    engine = Engine.from_str(path.read_text("utf-8"))
    check_ids(path, engine)  # first of all: the engine walks from 0 to the highest id when it is written
    beside = path.with_name(CONFIG)
    config: dict[str, Any] = {}
    if beside.is_file():
        config = json.loads(beside.read_text("utf-8"))
        if not isinstance(config, dict):
            raise DataError(f"{beside}: expected a JSON object")
    own = config.pop("tohum", None) or {}
    tokens = {role: token_text(config.pop(f"{role}_token", None)) for role in ROLES}
    known = {role: token for role, token in tokens.items() if token and engine.token_to_id(token) is not None}
    if not known and engine.token_to_id(END) is not None:
        known = {"eos": END}
    speller(engine)  # refuses what does not spell exactly
    first = engine.encode("a", add_special_tokens=True).tokens[0]
    if "bos" not in known and first in {token.content for token in engine.get_added_tokens_decoder().values()}:
        known["bos"] = first  # its own rule puts it before every text
    kind = own.get("kind") or KINDS.get(type(engine.model).__name__, "bpe")
    pattern = own.get("pattern") or known_pattern(json.dumps(part_json(engine.pre_tokenizer)))
    return Tokenizer(engine, kind=kind, special=Special(**known), pattern=pattern, extra=config)


def check_ids(path: Path, engine: Engine) -> None:
    """Ids lie close together: a table with a row for each is going to be made. Raises DataError."""
    ids = engine.get_vocab(with_added_tokens=True).values()
    if not ids or max(ids) >= 2 * len(ids) + LARGEST_GAP:
        raise DataError(f"{path}: {len(ids):,} entries, but the highest id is {max(ids, default=-1):,}")


def known_pattern(pre_tokenizer: str) -> str | None:
    """The name of a split pattern that stands in a tokenizer.json."""
    if json.loads(pre_tokenizer) == GPT2_PRE_TOKENIZER:
        return "gpt-2"
    return next((name for name, regex in PATTERNS.items() if json.dumps(regex) in pre_tokenizer), None)


def token_text(value: Any) -> str | None:
    """A token as transformers stores it: a string, or an object with its content."""
    return value.get("content") if isinstance(value, dict) else value


def load_gpt2(vocabulary: Path, merges: Path) -> Tokenizer:
    """GPT-2's encoder.json (token -> id) and vocab.bpe (one merge a line, best first)."""
    for path in (vocabulary, merges):
        if not path.is_file():
            raise DataError(f"{path}: missing; GPT-2's vocabulary is two files, {vocabulary.name} and {merges.name}")
    table = json.loads(vocabulary.read_text("utf-8"))
    pairs = []
    for number, line in enumerate(merges.read_text("utf-8").splitlines(), start=1):
        if not line or line.startswith("#version"):
            continue
        left, space, right = line.partition(" ")
        if not space or " " in right:
            raise DataError(f"{merges}:{number}: '{line[:40]}' is no merge; expected two tokens and one space")
        pairs.append((left, right))
    engine = Engine(models.BPE(vocab=table, merges=pairs))
    engine.pre_tokenizer, engine.decoder = byte_level("gpt-2"), decoders.ByteLevel()
    if END in table:
        engine.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    special = Special(bos=END, eos=END, pad=END, unk=END) if END in table else Special()
    return Tokenizer(engine, kind="bpe", special=special, pattern="gpt-2")


