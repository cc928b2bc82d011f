"""The tokenizer object, the only one: text <-> token ids, special tokens, bytes of each token, streamed text."""

import codecs
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine

from tohum.errors import DataError
from tohum.files import sha256_json, write_json, write_text
from tohum.tokenizing.alphabet import speller
from tohum.tokenizing.fast import BATCH, FAST_BATCH, WORTH_CHARACTERS, CorpusEncoder, as_ragged, fast_encoder

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
KINDS = {"BPE": "bpe", "WordPiece": "wordpiece", "Unigram": "unigram", "WordLevel": "word"}
END = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class Special:
    """Special tokens by role; None where the vocabulary has none."""

    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None


class Tokenizer:
    """Text to ids and back. Special tokens spelled in a text stay ordinary text unless asked for."""

    def __init__(self, engine: Engine, *, kind: str, special: Special, pattern: str | None = None,
                 extra: dict[str, Any] | None = None):
        self.engine, self.kind, self.special, self.pattern = engine, kind, special, pattern
        self._spelled: dict[int, bytes] = {}  # bytes by id, filled as they are asked for: a vocabulary is large
        self.extra = extra or {}  # keys of a foreign tokenizer_config.json that are kept as they are
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True

    # --- making and storing -------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """A folder or file of any known form (see published.py). Raises DataError."""
        from tohum.tokenizing.published import load

        return load(Path(path))

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, as transformers' AutoTokenizer reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE, self.engine.to_str(pretty=True))
        tokens = {f"{role}_token": token for role, token in asdict(self.special).items() if token is not None}
        own = {"kind": self.kind, "pattern": self.pattern}
        # transformers builds other classes from parts of its own; this one takes tokenizer.json as it is.
        fixed = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "tohum": own}
        write_json(folder / CONFIG, {"model_max_length": 10**30} | self.extra | tokens | fixed)

    @cached_property
    def sha256(self) -> str:
        """Hash of tokenizer.json in canonical form and of the special tokens' roles."""
        return sha256_json([json.loads(self.engine.to_str()), asdict(self.special)])

    # --- sizes and special ids ----------------------------------------------------------------------------------

    @cached_property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: one more than the highest id."""
        return max(self.engine.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.engine.token_to_id(token)

    @property
    def bos_id(self) -> int | None:
        return self._id(self.special.bos)

    @property
    def eos_id(self) -> int | None:
        return self._id(self.special.eos)

    @property
    def pad_id(self) -> int | None:
        return self._id(self.special.pad)

    @property
    def unk_id(self) -> int | None:
        return self._id(self.special.unk)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that spell no text."""
        added = {i for i, token in self.engine.get_added_tokens_decoder().items() if token.special}
        return frozenset(added | {i for i in (self.bos_id, self.eos_id, self.pad_id, self.unk_id) if i is not None})

    @cached_property
    def adds_bos(self) -> bool:
        """The vocabulary's own rule says that a text begins with BOS."""
        return self.bos_id is not None and self.engine.encode("a", add_special_tokens=True).ids[:1] == [self.bos_id]

    def ids_of(self, tokens: Sequence[str]) -> list[int]:
        """Ids of whole tokens. Raises DataError for one that the vocabulary lacks."""
        found = [(token, self.engine.token_to_id(token)) for token in tokens]
        if missing := [token for token, i in found if i is None]:
            raise DataError(f"this vocabulary has no token {missing[0]!r}")
        return [i for _, i in found if i is not None]

    def with_tokens(self, tokens: Sequence[str]) -> "Tokenizer":
        """The same vocabulary with these special tokens; those that it lacks get ids behind its last one."""
        engine = Engine.from_str(self.engine.to_str())
        engine.add_special_tokens(list(tokens))
        return Tokenizer(engine, kind=self.kind, special=self.special, pattern=self.pattern, extra=self.extra)

    # --- encoding -----------------------------------------------------------------------------------------------

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Ids of the text alone; with allow_special, special tokens spelled in it become their ids."""
        engine = self._special_engine if allow_special else self.engine
        return engine.encode(text, add_special_tokens=False).ids

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """The ids of `encode(text, allow_special=True)` and the character of the text at which each token begins."""
        found = self._special_engine.encode(text, add_special_tokens=False)
        return found.ids, [start for start, _ in found.offsets]

    @cached_property
    def _special_engine(self) -> Engine:
        """A copy that recognises special tokens; the switch is the engine's own and threads share it.

        Without the post-processor: it would only add tokens, which nobody asks for here, and trim the offsets.
        """
        return Engine.from_str(json.dumps(json.loads(self.engine.to_str()) | {"post_processor": None}))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, on all cores."""
        return [found.ids for found in self.engine.encode_batch_fast(list(texts), add_special_tokens=False)]

    def corpus_encoder(self, characters: int) -> CorpusEncoder:
        """Texts -> the ids of `encode_batch`: for so many characters in all, by whatever is done with them first."""
        if characters >= WORTH_CHARACTERS and (fast := fast_encoder(self.engine)):
            return CorpusEncoder(fast, FAST_BATCH)
        return CorpusEncoder(lambda texts: as_ragged(self.encode_batch(texts)), BATCH)

    def document_ids(self, text: str) -> list[int]:
        """BOS if the vocabulary's rule wants it, the text, EOS if there is one."""
        before = [self.bos_id] if self.adds_bos and self.bos_id is not None else []
        return before + self.encode(text) + ([self.eos_id] if self.eos_id is not None else [])

    def prompt_ids(self, text: str) -> list[int]:
        """What generation starts from: at most one BOS; an empty text starts where a document starts."""
        start = self.bos_id if self.bos_id is not None else self.eos_id
        before = [start] if start is not None and (self.adds_bos or not text) else []
        return before + self.encode(text)

    # --- decoding -----------------------------------------------------------------------------------------------

    @cached_property
    def _spell(self) -> Callable[[str], bytes]:
        return speller(self.engine)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token spells; none for special tokens. Raises DataError for an id out of range."""
        found = self._spelled.get(token_id)
        if found is None:
            if not 0 <= token_id < self.vocab_size:
                raise DataError(f"token id {token_id}: this tokenizer has ids 0 to {self.vocab_size - 1}")
            token = None if token_id in self.special_ids else self.engine.id_to_token(token_id)
            found = self._spelled[token_id] = b"" if token is None else self._spell(token)
        return found

    @cached_property
    def byte_lengths(self) -> NDArray[np.int32]:
        """(V,) bytes of text per id, for bits per byte."""
        return np.array([len(self.token_bytes(i)) for i in range(self.vocab_size)], np.int32)

    @cached_property
    def _adds_space(self) -> bool:
        """SentencePiece vocabularies put a space before the text, and take it away when decoding."""
        ids = self.engine.encode("a", add_special_tokens=False).ids
        return self.engine.decode(ids) == "a" and b"".join(map(self.token_bytes, ids)) == b" a"

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        text = b"".join(self.token_bytes(i) for i in ids).decode("utf-8", errors="replace")
        return text[1:] if self._adds_space and text.startswith(" ") else text

    def token_text(self, token_id: int) -> str:
        """One token as a person reads it: its text, a special token's spelling, part of a character as ‹C4›."""
        if token_id in self.special_ids:
            return self.engine.id_to_token(token_id) or ""
        spelled = self.token_bytes(token_id)
        try:
            return spelled.decode("utf-8")
        except UnicodeDecodeError:
            return f"‹{spelled.hex(' ').upper()}›"

    def stream(self) -> "IncrementalDecoder":
        """Text piece by piece while ids arrive."""
        return IncrementalDecoder(self)


class IncrementalDecoder:
    """Ids one at a time -> text as soon as whole characters are there."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes, "" inside a character."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)
