"""Published vocabularies give their published ids; damaged files are named."""

import base64
import json

import pytest

from tohum.errors import DataError
from tohum.tokenizing.published import load
from tohum.tokenizing.ranks import implied_merges
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.tokenizing.training import train

GOLDEN = {"gpt-2": "gpt2_encoder.json", "qwen2": "qwen.tiktoken", "llama-spm": "llama2_tokenizer.model"}
# llama-bpe needs Llama 3's own ranks, which are not among the test data; its pattern is held against cl100k below.


@pytest.mark.parametrize("name", [pytest.param("qwen2", marks=pytest.mark.slow), "gpt-2", "llama-spm"])
def test_golden_ids_are_reproduced(shared_data, name):
    folder = shared_data / "tokenizers"
    tokenizer = Tokenizer.load(folder / GOLDEN[name])
    cases = (folder / "golden" / f"{name}.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    wanted = (folder / "golden" / f"{name}.out").read_text("utf-8").split("\n")
    assert len(cases) == 47
    for text, line in zip(cases, wanted, strict=True):
        assert tokenizer.encode(text) == [int(i) for i in line.split()], text
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.slow
def test_a_rank_file_encodes_as_tiktoken_does(shared_data):
    import tiktoken

    path = shared_data / "tokenizers" / "cl100k_base.tiktoken"
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in path.open("rb"))}
    pattern = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
               r"\s*[\r\n]|\s+(?!\S)|\s")
    theirs = tiktoken.Encoding("cl100k", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    ours = Tokenizer.load(path)
    for name in ("text_en/taylorswift.txt", "text_tr/anayasa_2018.txt"):
        text = (shared_data / name).read_text("utf-8")
        assert ours.encode(text) == theirs.encode_ordinary(text)
    assert ours.eos_id == 100257


def test_a_sentencepiece_model_encodes_as_sentencepiece_does(shared_data):
    import sentencepiece

    path = shared_data / "tokenizers" / "llama2_tokenizer.model"
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = Tokenizer.load(path)
    text = (shared_data / "text_tr" / "anayasa_2018.txt").read_text("utf-8")[:20_000]
    for line in [*text.splitlines(), "  two  spaces ", "🌱\t\n"]:
        assert ours.encode(line) == theirs.encode(line), line
    assert ours.document_ids("a") == [1, *theirs.encode("a"), 2]


def test_ranks_imply_the_merges_that_made_them():
    ranks = {bytes([byte]): byte for byte in range(256)}
    for number, token in enumerate([b"ab", b"cd", b"abcd", b"abc"]):
        ranks[token] = 256 + number
    assert implied_merges(ranks) == [(b"a", b"b"), (b"c", b"d"), (b"ab", b"cd"), (b"ab", b"c")]


def small(tmp_path):
    train(["the seed waits under the snow " * 5], kind="bpe", vocab_size=270).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "content", "said"), [
    ("tokenizer.json", b"{", "cannot be read as a tokenizer"),
    ("tokenizer.json", b'{"model": 3}', "cannot be read as a tokenizer"),
    ("x.tiktoken", b"!!!! 0\n", r"x\.tiktoken:1: expected base64 bytes"),
    ("x.tiktoken", b"YQ== 0\n", "no rank for byte 0x00 and 254 more"),
    ("tokenizer.json", json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 4294967290}, "unk_token": "a"},
                                   "decoder": {"type": "Fuse"}}).encode(), "highest id is 4,294,967,290"),
    ("tokenizer.json", json.dumps({"model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a",
                                             "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
                                   "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}}).encode(),
     "needs a tokenizer whose ids spell the text exactly"),
    ("x.tiktoken", b"".join(base64.b64encode(bytes([b])) + b" %d\n" % b for b in range(256)), "256 ranks; the split"),
    ("x.tiktoken", b"YQ== 5\n", "ranks are not 0 to 0"),
    ("x.bin", b"\x10\x00\x00\x00" + b"\x00" * 4 + b"\xff\xff\xff\x7f", r"piece 0 claims 2,147,483,647 bytes; 0 are left"),
    ("x.model", b"\xff\x00nonsense", "cannot be read as a tokenizer"),
    ("encoder.json", b"{}", "vocab.bpe: missing"),
    ("notes.txt", b"hello", "no tokenizer found; expected a folder")])
def test_damaged_files_are_refused_in_one_line_each(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        load(tmp_path / name)


def test_a_missing_path_and_a_folder_without_a_tokenizer_are_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no tokenizer found"):
        load(tmp_path)


def test_a_bad_merge_names_its_line(tmp_path):
    (tmp_path / "encoder.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\nabc\n")
    with pytest.raises(DataError, match=r"vocab\.bpe:3: 'abc' is no merge"):
        load(tmp_path)


def test_keys_of_a_foreign_configuration_are_kept(tmp_path):
    path = small(tmp_path) / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "{{ x }}"}))
    load(tmp_path).save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())["chat_template"] == "{{ x }}"
