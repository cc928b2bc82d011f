"""Files of preferences: TRL's layouts and others -> pairs and single answers, encoded with the same prompt."""

import json

import pytest
from tests.finetuning.talking import CHATML, learned_text, small_tokenizer, template_of

from tohum.errors import ConfigError, DataError
from tohum.finetuning.encode import Encoder, RefusedError, encode_rows
from tohum.finetuning.fit import fit
from tohum.preference.encode import encode_pair, encode_unpaired
from tohum.preference.pairs import Pair, as_unpaired, read_preferences
from tohum.tokenizing.styles import choose_template


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


PAIRS = {
    "texts": {"prompt": "Tohum nedir?", "chosen": "Bir bitki.", "rejected": "Hmm."},
    "turns": {"prompt": [user("Tohum nedir?")], "chosen": [said("Bir bitki.")], "rejected": [said("Hmm.")]},
    "whole conversations": {"chosen": [user("Tohum nedir?"), said("Bir bitki.")],
                            "rejected": [user("Tohum nedir?"), said("Hmm.")]},
    "prompt repeated": {"prompt": "Tohum nedir? ", "chosen": [user("Tohum nedir?"), said("Bir bitki.")],
                        "rejected": [user("Tohum nedir?"), said("Hmm.")]},
    "instruction": {"instruction": "Tohum nedir?", "input": "", "output": "Bir bitki.", "rejected": "Hmm.",
                    "chosen": "Bir bitki."},
    "question": {"question": "Tohum nedir?", "chosen": "Bir bitki.", "rejected": "Hmm."},
    "ShareGPT": {"conversations": [], "prompt": [{"from": "human", "value": "Tohum nedir?"}],
                 "chosen": [{"from": "gpt", "value": "Bir bitki."}], "rejected": [{"from": "gpt", "value": "Hmm."}]},
    "speakers": {"chosen": "\n\nHuman: Tohum nedir?\n\nAssistant: Bir bitki.",
                 "rejected": "\n\nHuman: Tohum nedir?\n\nAssistant: Hmm."},
}
SINGLES = {
    "TRL": {"prompt": "Tohum nedir?", "completion": "Bir bitki.", "label": True},
    "TRL, turns": {"prompt": [user("Tohum nedir?")], "completion": [said("Bir bitki.")], "label": 1},
    "LLaMA-Factory": {"messages": [user("Tohum nedir?"), said("Bir bitki.")], "label": "True"},
    "Alpaca": {"instruction": "Tohum nedir?", "output": "Bir bitki.", "label": True},
}


def jsonl(folder, *rows):
    path = folder / "prefer.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("layout", PAIRS)
def test_each_layout_of_pairs_gives_the_same_pair(tmp_path, layout):
    path = jsonl(tmp_path, PAIRS[layout])
    found = read_preferences(path)
    assert found.pairs == [Pair(prompt=(user("Tohum nedir?"),), chosen=(said("Bir bitki."),),
                                rejected=(said("Hmm."),), place=f"{path}:1")]
    assert found.unpaired == []
    assert "pairs of answers, read from " in found.described


@pytest.mark.parametrize("layout", SINGLES)
def test_each_layout_of_single_answers_gives_the_same_row(tmp_path, layout):
    path = jsonl(tmp_path, SINGLES[layout], SINGLES[layout] | {"label": False})
    found = read_preferences(path)
    assert [(row.prompt, row.completion, row.desirable, row.place) for row in found.unpaired] == [
        ((user("Tohum nedir?"),), (said("Bir bitki."),), wanted, f"{path}:{line}")
        for line, wanted in ((1, True), (2, False))]
    assert "single answers with labels, read from " in found.described


def test_the_common_beginning_of_two_conversations_is_the_prompt_and_may_hold_answers(tmp_path):
    start = [user("a?"), said("b."), user("c?")]
    found = read_preferences(jsonl(tmp_path, {"chosen": [*start, said("d.")], "rejected": [*start, said("e.")]}))
    assert found.pairs[0].prompt == tuple(start)
    same = read_preferences(jsonl(tmp_path, {"chosen": [*start, said("d.")], "rejected": [*start, said("d.")]}))
    assert same.pairs[0].chosen == (said("d."),)


def test_a_pair_is_two_rows_for_a_method_that_takes_single_answers(tmp_path):
    rows = as_unpaired(read_preferences(jsonl(tmp_path, PAIRS["texts"])).pairs)
    assert [(row.completion[0]["content"], row.desirable) for row in rows] == [("Bir bitki.", True), ("Hmm.", False)]


@pytest.mark.parametrize(("row", "message"), [
    (PAIRS["texts"] | {"chosen": " "}, "prefer.jsonl:2: 'chosen' is empty"),
    ({"prompt": "a", "chosen": "b"}, "prefer.jsonl:2: no key 'rejected'; the keys that are there: prompt, chosen"),
    (PAIRS["texts"] | {"rejected": 4}, "prefer.jsonl:2: 'rejected' is a number; expected a text"),
    ({"chosen": "b", "rejected": "c"}, "prefer.jsonl:2: 'chosen' is a text, and there is no key 'prompt'"),
    ({"chosen": [user("a"), said("b")], "rejected": [user("x"), said("c")]},
     "prefer.jsonl:2: chosen and rejected begin with different turns"),
    (PAIRS["turns"] | {"chosen": [said("b"), user("c")]}, "prefer.jsonl:2: 'chosen' ends with a turn of the user"),
])
def test_a_bad_pair_is_named_with_its_line_and_key(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_preferences(jsonl(tmp_path, PAIRS["texts"], row))


@pytest.mark.parametrize(("label", "message"), [
    ("good", r"prefer.jsonl:1: 'label' is string 'good'; expected true"), (None, "'label' is NoneType 'None'"),
    (3, "'label' is number '3'"), ([True], r"'label' is list '\[True\]'")])
def test_a_label_that_is_none_is_named(tmp_path, label, message):
    with pytest.raises(DataError, match=message):
        read_preferences(jsonl(tmp_path, SINGLES["TRL"] | {"label": label}))


def test_unknown_layouts_list_the_keys_seen_and_the_layouts_known(tmp_path):
    with pytest.raises(DataError, match="the keys are prompt, completion\nexpected prompt, chosen, rejected"):
        read_preferences(jsonl(tmp_path, {"prompt": "a", "completion": "b"}))
    with pytest.raises(DataError, match="no rows"):
        read_preferences(jsonl(tmp_path))


@pytest.fixture(scope="module")
def encoder():
    tokenizer = small_tokenizer("<|im_start|>", "<|im_end|>", eos="<|im_end|>")
    return Encoder(template=template_of(CHATML, tokenizer), tokenizer=tokenizer)


def test_both_answers_follow_the_same_prompt_and_end_with_a_learned_end_of_turn(tmp_path, encoder):
    start = [user("a?"), said("b."), user("Tohum nedir?")]
    pair = read_preferences(jsonl(tmp_path, {"chosen": [*start, said("Bir bitki.")],
                                             "rejected": [*start, said("Bir ağaç.")]})).pairs[0]
    (found,) = encode_pair(pair, encoder)
    first = found.chosen.learned.index(True)
    assert found.chosen.ids[:first] == found.rejected.ids[:first]
    assert found.rejected.learned.index(True) == first
    assert [learned_text(text, encoder.tokenizer) for text in found.texts] == [
        ["Bir bitki.<|im_end|>"], ["Bir ağaç.<|im_end|>"]]


def test_a_pair_of_equal_answers_is_counted_and_not_learned(tmp_path, encoder):
    pairs = read_preferences(jsonl(tmp_path, PAIRS["texts"], PAIRS["texts"] | {"rejected": "Bir bitki."})).pairs
    rows = encode_rows(pairs, lambda pair: encode_pair(pair, encoder))
    kept, report = fit(rows, max_length=64, overlong="drop")
    assert (len(kept), report.rows) == (1, 2)
    assert [(drop.reason, drop.count) for drop in report.dropped] == [("chosen and rejected are the same text", 1)]
    with pytest.raises(RefusedError, match=r"prefer\.jsonl:2: chosen and rejected are the same"):
        encode_pair(pairs[1], encoder)


def test_a_pair_is_dropped_whole_if_one_of_its_texts_is_too_long(tmp_path, encoder):
    long = PAIRS["texts"] | {"rejected": "uzun " * 99}
    rows = encode_rows(read_preferences(jsonl(tmp_path, PAIRS["texts"], long)).pairs,
                       lambda pair: encode_pair(pair, encoder))
    kept, report = fit(rows, max_length=64, overlong="drop")
    assert [pair.place.rpartition(":")[2] for pair in kept] == ["1"]
    assert report.kept == 1
    cut, report = fit(rows, max_length=64, overlong="truncate")
    assert len(cut[1].rejected.ids) == 65
    assert cut[1].chosen.ids == rows.examples[1].chosen.ids
    assert report.targets_cut > 0


def test_loss_on_all_makes_no_preference(tmp_path, encoder):
    everything = Encoder(template=encoder.template, tokenizer=encoder.tokenizer, loss="all")
    pair = read_preferences(jsonl(tmp_path, PAIRS["texts"])).pairs[0]
    with pytest.raises(ConfigError, match="loss 'all': preferences are between answers"):
        encode_pair(pair, everything)


def test_the_published_files_are_read_whole(shared_data):
    found = read_preferences(shared_data / "preference" / "rasbt_instruction-data-with-preference.json")
    assert len(found.pairs) == 1100
    assert found.described.endswith("read from instruction, input, chosen, rejected; 1,100 rows; not used: output")
    tokenizer = small_tokenizer()
    encoder = Encoder(template=choose_template("alpaca", tokenizer), tokenizer=tokenizer)
    rows = encode_rows(found.pairs[:200], lambda pair: encode_pair(pair, encoder))
    assert len(rows.examples) + len(rows.refused) == 200
    assert {error.reason for error in rows.refused} <= {"chosen and rejected are the same text"}
    singles = read_preferences(shared_data / "preference" / "kto_en_demo.json")
    assert (len(singles.unpaired), singles.pairs) == (300, [])
    assert sum(row.desirable for row in singles.unpaired) == 150
    assert all(row.completion[0]["role"] == "assistant" for row in singles.unpaired)
    (text,) = encode_unpaired(singles.unpaired[0], encoder)
    assert learned_text(text.text, tokenizer) == [singles.unpaired[0].completion[0]["content"] + "<|endoftext|>"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["turns", "whole conversations"])
def test_prompts_and_answers_are_those_of_trl(tmp_path, encoder, layout):
    data_utils = pytest.importorskip("trl.data_utils")
    from transformers import PreTrainedTokenizerFast

    encoder.tokenizer.save(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    theirs.chat_template = CHATML
    row = data_utils.maybe_extract_prompt(dict(PAIRS[layout]))
    texts = data_utils.apply_chat_template({key: row[key] for key in ("prompt", "chosen", "rejected")}, theirs)
    (pair,) = encode_pair(read_preferences(jsonl(tmp_path, PAIRS[layout])).pairs[0], encoder)
    for text, key in ((pair.chosen, "chosen"), (pair.rejected, "rejected")):
        assert text.ids == theirs(texts["prompt"] + texts[key], add_special_tokens=False)["input_ids"]
        assert learned_text(text, encoder.tokenizer) == [texts[key].removesuffix("\n")]
