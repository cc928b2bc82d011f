"""Training a tokenizer: texts -> Tokenizer of one of five kinds. Texts are streamed; only counts stay in memory.

    char       every character of the text is a token
    word       the most frequent words; all others become [UNK]
    bpe        bytes, then the most frequent neighbours merged again and again (arXiv:1508.07909, GPT-2's on bytes)
    wordpiece  merges that raise the likelihood most (Schuster and Nakajima 2012), on bytes
    unigram    a large vocabulary, pruned by likelihood (arXiv:1804.10959), on bytes

The last three start from all 256 bytes: nothing is unknown, and ids spell every text exactly. Training char, word or
bpe twice gives the same vocabulary; the library's trainers of wordpiece and unigram walk through hash tables in an
order of their own, so theirs may differ in places. Whatever was learned, its hash is part of all that follows.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Literal

from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Engine

from tohum.errors import ConfigError, DataError
from tohum.tokenizing.alphabet import METASPACE
from tohum.tokenizing.merges import WORTH_CHARACTERS, can_learn, learn_merges
from tohum.tokenizing.patterns import DEFAULT_PATTERN, PATTERNS, byte_level, splitter
from tohum.tokenizing.tokenizer import END, Special, Tokenizer

Kind = Literal["bpe", "wordpiece", "unigram", "word", "char"]
BYTE_KINDS = ("bpe", "wordpiece", "unigram")
DEFAULT_VOCAB_SIZE = 4096
SMALLEST_BYTE_VOCABULARY = 257  # 256 bytes and the end of a document
WORD_SPECIALS = ("[BOS]", "[EOS]", "[PAD]", "[UNK]")
LARGEST_VOCABULARY = 10_000_000
LONGEST_WORD = 256  # bytes: WordPiece looks for the longest piece first, which takes time as the cube of the length
UNKNOWN_CHARACTER = "<|unk|>"


def train(texts: Iterable[str], *, kind: Kind, vocab_size: int | None = None,
          pattern: str = DEFAULT_PATTERN) -> Tokenizer:
    """Learn a vocabulary of exactly `vocab_size` entries, special tokens included (char: as many as there are).

    Raises ConfigError for an unknown pattern or a size too small, DataError for no text or more entries than
    the text allows.
    """
    if pattern not in PATTERNS:
        raise ConfigError(f"pattern '{pattern}' is unknown; choose one of {', '.join(PATTERNS)}")
    if vocab_size is not None and (kind == "char" or vocab_size > LARGEST_VOCABULARY):
        raise ConfigError(f"--vocab-size {vocab_size}: " + (
            "kind char has as many entries as the text has characters; leave the size out" if kind == "char" else
            f"a vocabulary has at most {LARGEST_VOCABULARY:,} entries"))
    counted = Counted(texts)
    if kind == "char":
        tokenizer = train_characters(counted)
    elif kind == "word":
        tokenizer = train_words(counted, vocab_size or DEFAULT_VOCAB_SIZE, pattern)
    else:
        tokenizer = train_bytes(counted, kind, vocab_size or DEFAULT_VOCAB_SIZE, pattern)
    if not counted.characters:
        raise DataError("the sources hold no text; a tokenizer needs some to learn from")
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        raise ConfigError(f"--vocab-size {vocab_size}: kind {kind} starts from {tokenizer.vocab_size} entries, each "
                          f"byte at the start and inside of words; ask for at least {tokenizer.vocab_size}")
    if vocab_size is not None and tokenizer.vocab_size < vocab_size:
        raise DataError(f"--vocab-size {vocab_size}: this text of {counted.characters:,} characters gives only "
                        f"{tokenizer.vocab_size:,} entries of kind {kind}\n"
                        f"add text, or ask for at most {tokenizer.vocab_size}")
    return tokenizer


class Counted:
    """Passes texts on and counts their characters."""

    def __init__(self, texts: Iterable[str]):
        self.texts, self.characters = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.characters += len(text)
            yield text


def train_characters(texts: Iterable[str]) -> Tokenizer:
    """Every character, in order of code points, then the end of a document and one for unseen characters."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    entries = [*sorted(seen), END, UNKNOWN_CHARACTER]
    engine = Engine(models.WordLevel({token: i for i, token in enumerate(entries)}, unk_token=UNKNOWN_CHARACTER))
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    engine.decoder = decoders.Fuse()
    engine.add_special_tokens([END, UNKNOWN_CHARACTER])
    return Tokenizer(engine, kind="char", special=Special(eos=END, pad=END, unk=UNKNOWN_CHARACTER))


def train_words(texts: Iterable[str], vocab_size: int, pattern: str) -> Tokenizer:
    """The most frequent words, a leading space being part of a word."""
    if vocab_size <= len(WORD_SPECIALS):
        raise ConfigError(f"--vocab-size {vocab_size}: {len(WORD_SPECIALS)} entries are the special tokens "
                          f"{' '.join(WORD_SPECIALS)}; ask for more")
    bos, eos, pad, unk = WORD_SPECIALS
    engine = Engine(models.WordLevel({}, unk_token=unk))
    engine.pre_tokenizer = splitter(pattern)
    engine.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=list(WORD_SPECIALS), show_progress=False)
    engine.train_from_iterator(texts, trainer)
    engine.post_processor = processors.TemplateProcessing(single=f"{bos} $A",
                                                          special_tokens=[(bos, engine.token_to_id(bos))])
    return Tokenizer(engine, kind="word", special=Special(bos=bos, eos=eos, pad=pad, unk=unk), pattern=pattern)


def train_bytes(texts: Iterable[str], kind: str, vocab_size: int, pattern: str) -> Tokenizer:
    """BPE, WordPiece or Unigram over bytes."""
    if vocab_size < SMALLEST_BYTE_VOCABULARY:
        raise ConfigError(f"--vocab-size {vocab_size}: kind {kind} starts from 256 bytes and {END}; "
                          f"ask for at least {SMALLEST_BYTE_VOCABULARY}")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    common = {"vocab_size": vocab_size, "special_tokens": [END], "initial_alphabet": alphabet, "show_progress": False}
    decoder: decoders.Decoder = decoders.ByteLevel()
    words = byte_level(pattern)
    if kind == "bpe":
        engine, trainer = Engine(models.BPE()), trainers.BpeTrainer(**common)
    elif kind == "unigram":
        engine, trainer = Engine(models.Unigram()), trainers.UnigramTrainer(**common)
    else:  # the mark of a piece inside a word is a character that no byte is written with
        engine = Engine(models.WordPiece({}, unk_token=END, continuing_subword_prefix=METASPACE,
                                         max_input_chars_per_word=LONGEST_WORD))
        trainer = trainers.WordPieceTrainer(continuing_subword_prefix=METASPACE, **common)
        decoder = decoders.Sequence([decoders.Replace(METASPACE, ""), decoders.ByteLevel()])
        cut = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{LONGEST_WORD}}}"), behavior="isolated")
        words = pre_tokenizers.Sequence([words, cut])
        texts = itertools.chain([every_byte_inside_a_word()], texts)
    engine.pre_tokenizer = words
    engine.decoder = decoder
    rest = iter(texts)
    first = list(at_least(rest, WORTH_CHARACTERS)) if kind == "bpe" else []
    texts = itertools.chain(first, rest)
    if sum(map(len, first)) >= WORTH_CHARACTERS and can_learn(pattern):  # the same merges, several times as fast
        entries, merges = learn_merges(texts, pattern=pattern, vocab_size=vocab_size, specials=1)
        engine.model = models.BPE({token: i for i, token in enumerate([END, *entries])}, merges)
        engine.add_special_tokens([END])
    else:
        engine.train_from_iterator(texts, trainer)
    return Tokenizer(settled(engine), kind=kind, special=Special(eos=END, pad=END), pattern=pattern)


def at_least(texts: Iterator[str], characters: int) -> Iterator[str]:
    """The first texts, until together they have so many."""
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return


def settled(engine: Engine) -> Engine:
    """The engine as it will be read again: Unigram's scores change in their last digit when first written."""
    text = engine.to_str()
    while (again := Engine.from_str(text)).to_str() != text:
        text = again.to_str()
    return again


def every_byte_inside_a_word() -> str:
    """A text in which each byte that UTF-8 can hold follows another inside a word, where the pattern allows it.

    WordPiece knows a byte inside a word only if it saw it there; without this a rare letter would be unknown.
    """
    leads = [chr(code) for code in range(0x800, 0x110000, 0x400) if not 0xD800 <= code < 0xE000]
    characters = [chr(code) for code in range(0x800)] + leads
    return " ".join(before + character for character in characters for before in ("a", "!", " ", "\n", character))
