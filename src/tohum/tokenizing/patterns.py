r"""Split patterns: text -> words that merges never cross. All are known to llama.cpp by name, so that a tokenizer
trained here keeps its ids there (`tokenizer.ggml.pre`).

    text            "I've 2024 ideas:\n\n  go"
    gpt-2           I|'ve| 2024| ideas|:|\n\n |  go  -> digits in one run, a space goes with the word after it
    qwen2           I|'ve| |2|0|2|4| ideas|:\n\n| | go -> each digit alone, line ends go with punctuation
    llama-bpe       I|'ve| |202|4| ideas|:\n\n| | go   -> up to three digits together

A space before a word belongs to the word: " ideas" is one piece, and ids spell the text exactly.
"""

from tokenizers import Regex, pre_tokenizers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + TAIL,
    "llama-bpe": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + TAIL,
}
DEFAULT_PATTERN = "qwen2"


def splitter(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Cut text into words by a named pattern."""
    return pre_tokenizers.Split(Regex(PATTERNS[pattern]), behavior="isolated")


def byte_level(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Cut into words, then write each byte as one printable character (GPT-2's alphabet of 256)."""
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([splitter(pattern), to_bytes])
