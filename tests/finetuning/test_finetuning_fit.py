"""What fits the context: policies, what is dropped and why, and the figures of the report."""

import pytest

from tests.finetuning.talking import CHATML, FOUR_TURNS, small_tokenizer, talk, template_of
from tohum.errors import ConfigError, DataError
from tohum.finetuning.encode import Encoded, EncodedRows, Encoder, RefusedError, encode_rows
from tohum.finetuning.fit import fit, quantile
from tohum.finetuning.preview import has_colour, preview


def example(tokens: int, answer: int, place: str = "a.jsonl:1", start: int = 0) -> Encoded:
    """`tokens` ids of which the last `answer` are learned."""
    return Encoded(ids=list(range(start, start + tokens)), learned=[i >= tokens - answer for i in range(tokens)],
                   place=place)


def rows_of(*examples: Encoded, refused: tuple[RefusedError, ...] = ()) -> EncodedRows[Encoded]:
    return EncodedRows(rows=len(examples) + len(refused), examples=list(examples), refused=list(refused))


def test_as_many_inputs_as_the_length_fit_and_one_more_does_not():
    kept, report = fit(rows_of(example(11, 3), example(12, 3, "a.jsonl:2")), max_length=10, overlong="drop")
    assert [len(one.shifted()[0]) for one in kept] == [10]
    assert [(drop.reason, drop.count, drop.first) for drop in report.dropped] == [
        ("longer than 10 tokens", 1, "a.jsonl:2")]
    assert (report.rows, report.kept, report.longest, report.targets, report.tokens) == (2, 1, 12, 3, 11)


def test_truncating_cuts_targets_counts_them_and_drops_what_teaches_nothing_then():
    kept, report = fit(rows_of(example(20, 12), example(20, 4, "a.jsonl:2"), example(5, 2, "a.jsonl:3")),
                       max_length=10, overlong="truncate")
    assert [one.place for one in kept] == ["a.jsonl:1", "a.jsonl:3"]
    assert kept[0].ids == list(range(11))
    assert (kept[0].targets, report.targets_cut, report.targets) == (3, 9, 5)
    assert [(drop.reason, drop.first) for drop in report.dropped] == [
        ("no token of an answer within the length", "a.jsonl:2")]


def test_an_overlong_row_is_an_error_when_asked_and_is_named():
    with pytest.raises(DataError, match=r"a.jsonl:2: 20 tokens, but the length is 10; 1 of 2 rows are longer"):
        fit(rows_of(example(5, 2), example(20, 4, "a.jsonl:2")), max_length=10, overlong="error")


@pytest.mark.parametrize(("overlong", "message"), [
    ("drop", "a.jsonl:1: nothing is left to train on; 2 dropped: longer than 10 tokens\n.*longest text has 30 tokens"),
    ("truncate", "a.jsonl:1: nothing is left to train on; 2 dropped: no token of an answer within the length\n.*prompts"),
])
def test_nothing_left_stops_with_the_remedy(overlong, message):
    with pytest.raises(DataError, match=message):
        fit(rows_of(example(20, 4), example(30, 4, "a.jsonl:2")), max_length=10, overlong=overlong)


def test_refused_rows_are_counted_by_reason_and_named_when_nothing_else_is_there():
    refused = tuple(RefusedError(f"a.jsonl:{line}", "the chat template cannot be used here: no system") for line in (4, 9))
    _, report = fit(rows_of(example(5, 2), refused=refused), max_length=10, overlong="drop")
    assert [(drop.count, drop.first) for drop in report.dropped] == [(2, "a.jsonl:4")]
    assert report.rows == 3
    assert "  2 dropped: the chat template cannot be used here: no system (first: a.jsonl:4)" in report.lines()
    with pytest.raises(DataError, match="no system\nchoose another template with --template"):
        fit(rows_of(refused=refused), max_length=10, overlong="drop")


def test_copies_and_quantiles_are_told():
    examples = [example(n, 1, f"a.jsonl:{n}", start=n) for n in range(2, 102)]
    _, report = fit(rows_of(*examples, examples[0]), max_length=1000, overlong="drop")
    assert (report.copies, report.p50, report.p90, report.p99, report.longest) == (1, 51, 91, 100, 101)
    assert report.supervised_percent == pytest.approx(100 * 101 / report.tokens)
    assert [quantile([7], fraction) for fraction in (0.5, 0.99)] == [7, 7]
    assert quantile([], 0.5) == 0


def test_a_length_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="max_length 0"):
        fit(rows_of(example(5, 2)), max_length=0, overlong="drop")


def test_a_file_of_one_row_is_enough():
    tokenizer = small_tokenizer("<|im_start|>", "<|im_end|>", eos="<|im_end|>")
    encoder = Encoder(template=template_of(CHATML, tokenizer), tokenizer=tokenizer)
    kept, report = fit(encode_rows([talk(*FOUR_TURNS)], encoder.encode), max_length=512, overlong="error")
    assert (len(kept), report.rows, report.kept, report.p50 == report.longest == len(kept[0].ids)) == (1, 1, 1, True)


@pytest.fixture
def shown():
    tokenizer = small_tokenizer("<|im_start|>", "<|im_end|>", eos="<|im_end|>")
    encoder = Encoder(template=template_of(CHATML, tokenizer), tokenizer=tokenizer)
    return encoder.encode(talk("Tohum nedir?\x1b[31m", "Evet 🌱")), tokenizer


def test_the_preview_marks_what_is_learned_and_cannot_steer_the_terminal(shown):
    examples, tokenizer = shown
    text = preview(examples, tokenizer, colour=False)
    assert text == (f"file.jsonl:1: {len(examples[0].ids)} tokens, {examples[0].targets} of them learned\n"
                    "<|im_start|>user\nTohum nedir?␛[31m<|im_end|>\n<|im_start|>assistant\n⟦Evet 🌱<|im_end|>⟧\n")
    assert "assistant\n\x1b[1;32mEvet 🌱<|im_end|>\x1b[0m\n" in preview(examples, tokenizer, colour=True)


def test_a_long_preview_is_shortened_in_the_middle():
    tokenizer = small_tokenizer("<|im_start|>", "<|im_end|>", eos="<|im_end|>")
    encoder = Encoder(template=template_of(CHATML, tokenizer), tokenizer=tokenizer)
    text = preview(encoder.encode(talk("first " + "a seed " * 900 + "last?", "Evet.")), tokenizer, colour=False)
    assert len(text) < 2000
    assert "first a seed" in text
    assert "last?" in text
    assert " … " in text


def test_colour_is_for_terminals_whose_user_does_not_forbid_it(monkeypatch, capsys):
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert has_colour(Terminal())
    assert not has_colour(sys.stderr)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())
