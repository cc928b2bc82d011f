"""Prompt styles by name: the book's texts, an end of turn in every vocabulary, and names that are none."""

import pytest

from tohum.errors import ConfigError, DataError
from tohum.tokenizing.styles import STYLES, choose_template
from tohum.tokenizing.tokenizer import Special, Tokenizer
from tohum.tokenizing.training import train

ASKED = {"role": "user", "content": "Spell it.\n\nfreind", "instruction": "Spell it.", "input": "freind"}
ANSWER = {"role": "assistant", "content": "friend"}


@pytest.fixture(scope="module")
def tokenizer():
    return train(["a seed and a tree"] * 9, kind="bpe", vocab_size=260)


def test_alpaca_is_the_text_of_the_book(tokenizer):
    template = choose_template("alpaca", tokenizer)
    preamble = ("Below is an instruction that describes a task. Write a response that appropriately completes the "
                "request.")
    asked = f"{preamble}\n\n### Instruction:\nSpell it.\n\n### Input:\nfreind"
    assert template.render([ASKED], add_generation_prompt=True) == f"{asked}\n\n### Response:\n"
    assert template.render([ASKED, ANSWER]) == f"{asked}\n\n### Response:\nfriend<|endoftext|>"
    more = template.render([ASKED, ANSWER, {"role": "user", "content": "Thanks."}], add_generation_prompt=True)
    assert more == f"{asked}\n\n### Response:\nfriend<|endoftext|>\n\n### Instruction:\nThanks.\n\n### Response:\n"
    told = template.render([{"role": "system", "content": "Be brief."}, ASKED])
    assert told.startswith("Be brief.\n\n### Instruction:\nSpell it.")


def test_phi3_and_chatml_end_an_answer_with_a_token_of_the_vocabulary(tokenizer):
    phi = choose_template("phi3", tokenizer).render([ASKED, ANSWER])
    assert phi == "<|user|>\nSpell it.\n\nfreind<|end|>\n<|assistant|>\nfriend<|endoftext|>\n"
    engine = train(["a seed and a tree"] * 9, kind="bpe", vocab_size=260).engine
    engine.add_special_tokens(["<|end|>", "<|im_end|>"])
    both = Tokenizer(engine, kind="bpe", special=Special(eos="<|endoftext|>"))
    assert choose_template("phi3", both).render([ANSWER]) == "<|assistant|>\nfriend<|end|>\n"
    assert choose_template("chatml", both).render([ANSWER]) == "<|im_start|>assistant\nfriend<|im_end|>\n"


@pytest.mark.parametrize("style", STYLES)
def test_styles_end_answers_by_a_text_where_no_token_ends_anything(style, tokenizer):
    without = Tokenizer(tokenizer.engine, kind="bpe", special=Special())
    said = choose_template(style, without).render([{"role": "user", "content": "?"}, ANSWER])
    assert said.rstrip("\n").endswith({"alpaca": "friend\n\n### End", "chatml": "friend<|im_end|>",
                                       "phi3": "friend<|end|>"}[style])


def test_chatml_writes_tools_their_calls_and_what_they_answer(tokenizer):
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "ağaç"}}}
    said = choose_template("chatml", tokenizer).render(
        [ASKED, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "a tree"}, ANSWER],
        tools=[{"type": "function", "function": {"name": "look_up"}}])
    assert '<tools>\n{"type": "function", "function": {"name": "look_up"}}\n</tools>' in said
    assert ('assistant\n<tool_call>\n{"name": "look_up", "arguments": {"word": "ağaç"}}\n</tool_call><|endoftext|>\n'
            "<|im_start|>tool\na tree<|im_end|>\n") in said


@pytest.mark.parametrize("style", ["alpaca", "phi3"])
def test_styles_refuse_roles_that_they_do_not_have(style, tokenizer):
    with pytest.raises(DataError, match=f"the {style} style has .* no calls of tools"):
        choose_template(style, tokenizer).render([ASKED, {"role": "tool", "content": "x"}])


def test_a_name_that_is_neither_style_nor_file_is_named_with_what_is_near(tokenizer, tmp_path):
    with pytest.raises(ConfigError, match="template 'chatlm' is neither a style nor a file; did you mean 'chatml'"):
        choose_template("chatlm", tokenizer)
    (tmp_path / "odd.jinja").write_bytes(b"\xff\xfe{{ messages }}")
    with pytest.raises(DataError, match=r"odd\.jinja: is not UTF-8 text"):
        choose_template(str(tmp_path / "odd.jinja"), tokenizer)


def test_the_styles_are_part_of_an_installed_package():
    from importlib.resources import files

    assert all((files("tohum.tokenizing.styles") / f"{style}.jinja").is_file() for style in STYLES)
