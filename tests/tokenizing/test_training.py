"""Five kinds of tokenizers: exact, of the size asked for, readable by transformers."""

from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tohum.errors import ConfigError, DataError
from tohum.tokenizing.tokenizer import END, Tokenizer
from tohum.tokenizing.training import train

TEXTS = ["The seed waits under the snow. It doesn't hurry; it's 2024!\n\n  Snow melts,\tand the river rises.\r\n",
         "Ağacın altında çocuklar kitap okuyor. İstanbul'un ışıkları ğ ş ı İ. Ölçü: 3,14 kg.\n" * 3,
         "def seed(x):\n    return [x ** 2 for _ in range(10)]\n" * 2]
LONGER = [*TEXTS, *(topics[name] for name in sorted(topics)[:12])]
SIZE = 600
SCRIPTS = """Latin Ĳ; Ελληνικά; Кириллица; Հայերեն; עברית; العربية; ܣܘܪܝܬ; ދިވެހި; हिन्दी; বাংলা; ਪੰਜਾਬੀ; ગુજરાતી; தமிழ்;
తెలుగు; ಕನ್ನಡ; മലയാളം; සිංහල; ไทย; ລາວ; བོད་ཡིག; မြန်မာ; ქართული; 한국어; አማርኛ; ᏣᎳᎩ; ខ្មែរ; ᠮᠣᠩᠭᠣᠯ; 日本語かな; 中文;
🌱👩‍🌾🏳️‍🌈 \u0000\u0007 \u00a0\u2003\ufeff x̷̢͝ ﷺ"""


@pytest.fixture(scope="module", params=["bpe", "wordpiece", "unigram"])
def exact(request) -> Tokenizer:
    return train(LONGER, kind=request.param, vocab_size=SIZE)


def test_twenty_scripts_emoji_and_controls_survive_the_round_trip(exact):
    assert exact.decode(exact.encode(SCRIPTS)) == SCRIPTS
    assert b"".join(map(exact.token_bytes, exact.encode(SCRIPTS))) == SCRIPTS.encode()


@settings(max_examples=150, deadline=None)
@given(text=st.text())
def test_any_text_survives_and_streams_in_whole_characters(exact, text):
    ids = exact.encode(text)
    assert exact.decode(ids) == text
    stream = exact.stream()
    pieces = [stream.push(i) for i in ids]
    assert "".join(pieces) + stream.flush() == text
    assert not any("\ufffd" in piece for piece in pieces) or "\ufffd" in text


@given(ids=st.lists(st.integers(0, SIZE - 1)))
@settings(max_examples=100, deadline=None)
def test_any_ids_decode_and_stream_alike_even_when_their_bytes_are_no_text(exact, ids):
    stream = exact.stream()
    assert "".join(stream.push(i) for i in ids) + stream.flush() == exact.decode(ids)


def test_the_vocabulary_has_the_size_asked_for_and_counts_its_bytes(exact):
    assert exact.vocab_size == SIZE == len(exact.byte_lengths)
    ids = exact.encode(SCRIPTS)
    assert exact.byte_lengths[ids].sum() == len(SCRIPTS.encode())
    assert exact.byte_lengths[exact.eos_id] == 0


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word", "char"])
def test_special_tokens_spelled_in_a_text_stay_text(kind):
    tokenizer = train([*LONGER, "<|endoftext|> [EOS] [UNK]"], kind=kind, vocab_size=None if kind == "char" else SIZE)
    text = f"The seed{END} waits"
    ids = tokenizer.encode(text)
    assert tokenizer.eos_id not in ids
    assert tokenizer.eos_id in tokenizer.document_ids(text)
    if kind in ("bpe", "wordpiece", "unigram"):
        assert tokenizer.decode(ids) == text
        assert tokenizer.eos_id in tokenizer.encode(text, allow_special=True)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word", "char"])
def test_a_saved_folder_loads_with_the_same_ids_here_and_in_transformers(kind, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = train(LONGER, kind=kind, vocab_size=None if kind == "char" else SIZE)
    tokenizer.save(tmp_path / "t")
    again, theirs = Tokenizer.load(tmp_path / "t"), AutoTokenizer.from_pretrained(tmp_path / "t")
    assert again.sha256 == tokenizer.sha256
    assert (again.kind, again.pattern, again.special) == (tokenizer.kind, tokenizer.pattern, tokenizer.special)
    for text in [*TEXTS, SCRIPTS]:
        assert again.encode(text) == tokenizer.encode(text)
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.eos_id
    again.save(tmp_path / "u")
    assert (tmp_path / "u" / "tokenizer.json").read_bytes() == (tmp_path / "t" / "tokenizer.json").read_bytes()


def test_characters_are_the_texts_own_and_two_special_tokens():
    tokenizer = train(["abba\n"], kind="char")
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode("ab\nx") == [1, 2, 0, tokenizer.unk_id]
    assert tokenizer.byte_lengths.tolist() == [1, 1, 1, 0, 0]


def test_words_out_of_the_vocabulary_are_unknown_and_documents_have_begin_and_end():
    tokenizer = train(["the seed and the tree and the seed"], kind="word", vocab_size=7)
    assert [tokenizer.token_text(i) for i in tokenizer.document_ids(" seed rain")] == ["[BOS]", " seed", "[UNK]", "[EOS]"]
    assert tokenizer.prompt_ids("")[0] == tokenizer.bos_id
    assert tokenizer.document_ids("x").count(tokenizer.bos_id) == 1


def test_an_empty_prompt_starts_where_a_document_starts(exact):
    assert exact.prompt_ids("") == [exact.eos_id]
    assert exact.prompt_ids("a") == exact.encode("a")


@pytest.mark.parametrize("kind", ["bpe", "word", "char"])
def test_training_twice_gives_the_same_vocabulary(kind):
    assert len({train(LONGER, kind=kind, vocab_size=None if kind == "char" else SIZE).sha256 for _ in range(3)}) == 1


@pytest.mark.timeout(20)  # seconds; a word that is not cut takes minutes
def test_a_very_long_word_is_not_lost(exact):
    assert exact.decode(exact.encode("a" * 20_001)) == "a" * 20_001


def test_a_vocabulary_larger_than_the_text_allows_is_refused_with_the_size_it_allows():
    with pytest.raises(DataError, match=r"--vocab-size 5000: this text of .* gives only (\d+) entries of kind bpe\nadd text, or ask for at most \1"):
        train(TEXTS, kind="bpe", vocab_size=5000)


@pytest.mark.parametrize(("kind", "size", "least"), [
    ("bpe", 256, "at least 257"), ("word", 4, "ask for more"), ("wordpiece", 300, r"starts from \d+ entries"),
    ("char", 10, "leave the size out"), ("bpe", 10**12, "at most 10,000,000")])
def test_a_vocabulary_without_room_is_refused(kind, size, least):
    with pytest.raises(ConfigError, match=rf"--vocab-size {size}: .*{least}"):
        train(TEXTS, kind=kind, vocab_size=size)


def test_an_unknown_pattern_and_an_empty_text_are_refused():
    with pytest.raises(ConfigError, match="pattern 'gpt2' is unknown; choose one of gpt-2, qwen2, llama-bpe"):
        train(TEXTS, kind="bpe", pattern="gpt2")
    with pytest.raises(DataError, match="no text"):
        train([], kind="char")


@pytest.mark.parametrize(("pattern", "pieces"), [
    ("gpt-2", ["I", "'ve", " 2024", " ideas", ":", "\n\n ", " go"]),
    ("qwen2", ["I", "'ve", " ", "2", "0", "2", "4", " ideas", ":\n\n", " ", " go"]),
    ("llama-bpe", ["I", "'ve", " ", "202", "4", " ideas", ":\n\n", " ", " go"])])
def test_patterns_cut_as_their_worked_examples_say(pattern, pieces):
    from tohum.tokenizing.patterns import splitter

    assert [piece for piece, _ in splitter(pattern).pre_tokenize_str("I've 2024 ideas:\n\n  go")] == pieces
