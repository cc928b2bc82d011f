"""Conversations -> ids and marks: the answers with their end of turn, nothing else, on the ids of transformers."""

from pathlib import Path

import pytest

from tests.finetuning.talking import (
    CHATML,
    FORGETFUL,
    FOUR_TURNS,
    learned_text,
    small_tokenizer,
    talk,
    template_of,
    whole_text,
)
from tohum.data_sampling.windows import IGNORED
from tohum.errors import ConfigError
from tohum.finetuning.encode import Encoder, RefusedError, encode_rows
from tohum.instruction.conversations import read_conversations
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.styles import STYLES, choose_template
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Tokenizer

SMOLLM2 = Path(__file__).resolve().parents[2] / ".cache" / "pretrained" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MARKS = ("<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer(*MARKS, eos="<|im_end|>")


def encoder_of(source: str, tokenizer: Tokenizer, **more) -> Encoder:
    return Encoder(template=template_of(source, tokenizer), tokenizer=tokenizer, **more)


def test_every_answer_is_learned_with_its_end_of_turn_though_padding_is_the_same_token(tokenizer):
    assert tokenizer.pad_id == tokenizer.eos_id == tokenizer.encode("<|im_end|>", allow_special=True)[0]
    (example,) = encoder_of(CHATML, tokenizer).encode(talk(*FOUR_TURNS))
    assert learned_text(example, tokenizer) == ["A plant that waits.<|im_end|>", "Evet, ağaç olur.<|im_end|>"]
    inputs, targets = example.shifted()
    assert sum(target == tokenizer.eos_id for target in targets) == 2
    assert len(inputs) == len(targets) == len(example.ids) - 1
    assert all(target in (IGNORED, after) for target, after in zip(targets, example.ids[1:], strict=True))
    assert example.targets == sum(target != IGNORED for target in targets)


def test_the_prompt_of_generation_is_the_beginning_of_the_training_ids(tokenizer):
    encoder = encoder_of(CHATML, tokenizer)
    (example,) = encoder.encode(talk(*FOUR_TURNS))
    for turns in (1, 3):
        text = encoder.template.render(FOUR_TURNS[:turns], add_generation_prompt=True)
        prompt = tokenizer.encode(text, allow_special=True)
        assert example.ids[: len(prompt)] == prompt
        assert example.learned[len(prompt) - 1 : len(prompt) + 1] == [False, True]


def test_loss_on_all_learns_every_token_of_the_same_ids(tokenizer):
    (answers,) = encoder_of(CHATML, tokenizer).encode(talk(*FOUR_TURNS))
    (everything,) = encoder_of(CHATML, tokenizer, loss="all").encode(talk(*FOUR_TURNS))
    assert everything.ids == answers.ids
    assert everything.shifted() == (everything.ids[:-1], everything.ids[1:])


def test_a_template_that_takes_thinking_away_makes_one_example_for_each_answer(tokenizer):
    told = talk("What is a seed?", "<think>hm</think>A plant.", "And a tree?", "<think>oh</think>A plant.")
    encoder = encoder_of(FORGETFUL, tokenizer)
    first, second = encoder.encode(told)
    assert learned_text(first, tokenizer) == ["<think>hm</think>A plant.<|im_end|>"]
    assert learned_text(second, tokenizer) == ["<think>oh</think>A plant.<|im_end|>"]
    assert "hm" not in whole_text(tokenizer, second.ids)
    assert encode_rows([told, told], encoder.encode).parted == 2


def test_without_thinking_the_same_template_makes_one_example(tokenizer):
    assert len(encoder_of(FORGETFUL, tokenizer).encode(talk(*FOUR_TURNS))) == 1


def test_a_token_that_would_cover_prompt_and_answer_is_parted(tokenizer):
    source = "{% for m in messages %}{{ 'Q: ' if m.role == 'user' else 'A: ' }}{{ m.content }}" \
             "{{ '\n' if m.role == 'user' else eos_token }}{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
    encoder = encoder_of(source, tokenizer)
    told = talk("What is a seed?", "plant that waits")
    (example,) = encoder.encode(told)
    prompt = tokenizer.encode(encoder.template.render(told.messages[:1], add_generation_prompt=True))
    whole = tokenizer.encode(encoder.template.render(told.messages), allow_special=True)
    assert whole[: len(prompt)] != prompt, "this text was to have a token that covers both"
    assert example.apart
    assert example.ids[: len(prompt)] == prompt
    assert whole_text(tokenizer, example.ids) == whole_text(tokenizer, whole)
    assert learned_text(example, tokenizer) == ["plant that waits<|im_end|>"]


def test_sentencepiece_keeps_the_ids_of_the_whole_text_and_says_that_a_token_covers_both(shared_data):
    tokenizer = Tokenizer.load(shared_data / "tokenizers" / "llama2_tokenizer.model")
    good = ("{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else "
            "' ' + m.content + ' ' + eos_token }}{% endfor %}")
    told = talk("What is a seed?", "A plant that waits.", "Tohum nedir?", "Evet, ağaç olur.")
    (example,) = encoder_of(good, tokenizer).encode(told)
    assert not example.straddled
    assert learned_text(example, tokenizer) == [" A plant that waits. </s>", " Evet, ağaç olur. </s>"]
    assert example.ids.count(tokenizer.bos_id) == 1
    bad = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token if m.role == 'assistant' else '\n' }}" \
          "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    (example,) = encoder_of(bad, tokenizer).encode(talk("What?", "A plant."))
    assert example.straddled
    assert example.ids == tokenizer.encode("user: What?\nassistant: A plant.</s>", allow_special=True)
    assert learned_text(example, tokenizer) == [" A plant.</s>"]


def test_marks_of_the_author_decide_and_the_end_of_turn_is_learned_even_where_they_leave_it_out(tokenizer):
    marked = CHATML.replace("'\n' + m.content + '<|im_end|>\n' }}",
                            "'\n' }}{% if m.role == 'assistant' %}(sure)\n{% generation %}{{ m.content }}"
                            "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}")
    (example,) = encoder_of(marked, tokenizer).encode(talk(*FOUR_TURNS))
    assert learned_text(example, tokenizer) == ["A plant that waits.<|im_end|>", "Evet, ağaç olur.<|im_end|>"]
    assert whole_text(tokenizer, example.ids).count("(sure)\n") == 2


@pytest.mark.parametrize(("source", "reason"), [
    (CHATML.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'"),
     r"file.jsonl:1: the chat template asks in another way than it teaches.*ends with '<think>\\n'"),
    ("{% if messages|length > 2 %}{{ raise_exception('only one turn') }}{% endif %}" + CHATML,
     "file.jsonl:1: the chat template cannot be used here: only one turn"),
    (CHATML.replace("m.content +", "(m.content if m.content.startswith('tohum') else m.content[:9]) +"),
     "file.jsonl:1: the chat template leaves out a part of the assistant's answer"),
])
def test_what_cannot_be_trained_as_it_will_be_asked_is_refused_with_the_reason(tokenizer, source, reason):
    encoder = encoder_of(source, tokenizer)
    with pytest.raises(RefusedError, match=reason):
        encoder.encode(talk(*FOUR_TURNS))
    rows = encode_rows([talk(*FOUR_TURNS)], encoder.encode)
    assert (rows.rows, rows.examples, len(rows.refused)) == (1, [], 1)


def test_a_role_that_the_template_leaves_out_in_silence_is_refused(shared_data, tokenizer):
    source = (shared_data / "templates" / "microsoft-Phi-3.5-mini-instruct.jinja").read_text("utf-8")
    told = talk(FOUR_TURNS[0], {"role": "assistant", "content": "I look it up."},
                {"role": "tool", "content": "I look it up."}, {"role": "assistant", "content": "Here it is."})
    with pytest.raises(RefusedError, match="leaves out what the role 'tool' says"):
        encoder_of(source, tokenizer).encode(told)


@pytest.mark.parametrize("source", [
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
    "{% for m in messages %}{{ m.content }}{% endfor %}",
])
def test_a_template_without_an_end_of_turn_is_refused(tokenizer, source):
    with pytest.raises(ConfigError, match="not with an end of turn: the model would never stop") as caught:
        encoder_of(source, tokenizer)
    assert "eos_token" in str(caught.value)


def test_a_template_that_does_not_write_answers_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="does not write what the assistant says"):
        encoder_of("{{ messages[0].content }}<|im_end|>", tokenizer)


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|over|>"])
def test_generation_stops_at_a_token_if_the_end_of_turn_is_one_and_else_at_a_text(tokenizer, mark):
    ending = encoder_of(CHATML.replace("<|im_end|>", mark), tokenizer).ending
    assert ending.text == mark
    if mark == "<|im_end|>":
        assert ending.ends == Ends(ids=frozenset({tokenizer.eos_id}))
    else:
        assert ending.ends == Ends(ids=frozenset(), texts=("<|over|>",))


def test_the_end_of_a_turn_goes_on_to_the_end_of_a_document_that_follows_at_once():
    tokenizer = small_tokenizer("<|im_start|>", "<|said|>", "<|im_end|>", eos="<|im_end|>")
    ending = encoder_of(CHATML.replace("m.content +", "m.content + '<|said|>' +"), tokenizer).ending
    assert ending.text == "<|said|><|im_end|>"
    assert ending.ends.ids == {tokenizer.eos_id}


def test_an_end_mark_inside_an_answer_does_not_end_it(tokenizer):
    told = talk("Which mark?", "It is <|im_end|> in this family.")
    (example,) = encoder_of(CHATML, tokenizer).encode(told)
    assert learned_text(example, tokenizer) == ["It is <|im_end|> in this family.<|im_end|>"]


def test_only_answers_from_a_message_on_are_learned_when_asked(tokenizer):
    (example,) = encoder_of(CHATML, tokenizer).encode(talk(*FOUR_TURNS), learn_from=3)
    assert learned_text(example, tokenizer) == ["Evet, ağaç olur.<|im_end|>"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("bos", [None, "<s>"])
def test_styles_give_one_example_with_at_most_one_bos(style, bos):
    tokenizer = small_tokenizer("<s>", bos=bos)
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.engine.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", tokenizer.bos_id)])
    (example,) = Encoder(template=choose_template(style, tokenizer), tokenizer=tokenizer).encode(talk(*FOUR_TURNS))
    assert [text.removesuffix("<|endoftext|>") for text in learned_text(example, tokenizer)] == [
        "A plant that waits.", "Evet, ağaç olur."]
    assert example.ids.count(tokenizer.encode("<s>", allow_special=True)[0]) == (1 if bos else 0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Qwen-Qwen2.5-7B-Instruct", "google-gemma-2-2b-it",
                                    "meta-llama-Llama-3.1-8B-Instruct", "microsoft-Phi-3.5-mini-instruct",
                                    "mistralai-Mistral-Nemo-Instruct-2407"])
def test_published_templates_give_the_ids_of_transformers(shared_data, tmp_path, family):
    from transformers import PreTrainedTokenizerFast

    marks = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|eot_id|>",
             "<|end_header_id|>", "<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]", "<s>", "</s>")
    tokenizer = small_tokenizer(*marks, eos="</s>", bos="<s>")
    tokenizer.save(tmp_path)
    source = (shared_data / "templates" / f"{family}.jinja").read_text("utf-8")
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path).apply_chat_template(
        FOUR_TURNS, chat_template=source, return_dict=True)["input_ids"]
    encoder = encoder_of(source, tokenizer)
    (example,) = encoder.encode(talk(*FOUR_TURNS))
    assert example.ids == theirs
    assert learned_text(example, tokenizer) == [f"{turn['content']}{encoder.ending.text}" for turn in FOUR_TURNS[1::2]]
    assert encoder.ending.ends.ids


# TRL has templates with marks around the answers beside the published ones. Its marks hold the line end behind the
# end of a turn too, which no model has to say, so it is let go here.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama3", "cohere2", "gemma", "gemma3", "lfm2", "qwen2_5_vl", "qwen3_instruct_2507",
                                  "qwen3_vl", "phi3_5"])
def test_our_marks_on_published_templates_are_those_of_trl(tmp_path, name):
    trl = pytest.importorskip("trl")
    from transformers import PreTrainedTokenizerFast

    folder = Path(trl.__file__).parent / "chat_templates"
    marks = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|eot_id|>",
             "<|end_header_id|>", "<|user|>", "<|assistant|>", "<|end|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>",
             "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<s>", "</s>")
    end = {"cohere2": "<|END_OF_TURN_TOKEN|>"}.get(name, "</s>")
    tokenizer = small_tokenizer(*marks, eos=end, bos="<s>")
    tokenizer.save(tmp_path)
    marked, published = ((folder / f"{name}{tail}.jinja").read_text("utf-8") for tail in ("_training", ""))
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path).apply_chat_template(
        FOUR_TURNS, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True)
    mask = [bool(mine) for mine in theirs["assistant_masks"]]
    (by_marks,) = encoder_of(marked, tokenizer).encode(talk(*FOUR_TURNS))
    assert by_marks.ids == theirs["input_ids"]
    if name != "phi3_5":  # its own mark goes over the end of the conversation in the middle of it
        assert by_marks.learned == mask
    (by_prompts,) = encoder_of(published, tokenizer).encode(talk(*FOUR_TURNS))
    assert by_prompts.ids == theirs["input_ids"]
    behind = {tokenizer.encode("\n")[0], tokenizer.eos_id} - {tokenizer.encode(end, allow_special=True)[0]} | (
        {tokenizer.eos_id} if name == "phi3_5" else set())
    kept = [mine and token not in behind for token, mine in zip(theirs["input_ids"], mask, strict=True)]
    assert by_prompts.learned == kept
    assert sum(kept) > 10


@pytest.mark.slow
@pytest.mark.pretrained
@pytest.mark.skipif(not SMOLLM2.is_file(), reason="no real weights; fetch them with: make pretrained")
def test_smollm2_with_its_own_template_gives_the_ids_of_transformers(tmp_path, shared_data):
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.load(SMOLLM2)
    tokenizer.save(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    encoder = encoder_of(tokenizer.extra["chat_template"], tokenizer)
    assert encoder.ending.ends.ids == {tokenizer.eos_id}
    rows = read_conversations(shared_data / "instruct" / "fastchat_dummy_conversation.json").conversations[::25]
    rows += read_conversations(shared_data / "instruct" / "rasbt_instruction-data.json").conversations[::50]
    for row in [*rows, talk(*FOUR_TURNS)]:
        (example,) = encoder.encode(row)
        assert example.ids == theirs.apply_chat_template(list(row.messages), return_dict=True)["input_ids"]
        assert learned_text(example, tokenizer) == [
            f"{message['content']}<|im_end|>" for message in row.messages if message["role"] == "assistant"]


def test_a_saved_style_is_a_template_that_renders_the_same(tmp_path, tokenizer):
    template = choose_template("chatml", tokenizer)
    (tmp_path / "mine.jinja").write_text(template.source, "utf-8")
    again = choose_template(str(tmp_path / "mine.jinja"), tokenizer)
    assert isinstance(again, ChatTemplate)
    assert again.sha256 == template.sha256
