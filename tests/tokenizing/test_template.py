"""The chat template: what transformers renders, and nothing else that a stranger's program might do."""

import json
import pathlib
import time

import pytest

from tohum.errors import DataError
from tohum.tokenizing.template import ChatTemplate, load_template
from tohum.tokenizing.tokenizer import Special
from tohum.tokenizing.training import train

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SPECIAL = Special(bos="<s>", eos="</s>")
QUESTION = [{"role": "user", "content": "  What is a seed? <b>&amp; 'quoted'</b>\n"}]
CONVERSATIONS = {
    "one question": QUESTION,
    "four turns": [*QUESTION, {"role": "assistant", "content": "A plant, waiting."},
                   {"role": "user", "content": "Türkçe: tohum 🌱?"}, {"role": "assistant", "content": "Evet.\n\n"}],
    "system": [{"role": "system", "content": "You answer briefly."}, *QUESTION],
}
LAST_SAID_BY_A_PERSON = ("one question", "system")
FAMILIES = ("Qwen-Qwen2.5-7B-Instruct", "google-gemma-2-2b-it", "meta-llama-Llama-3.1-8B-Instruct",
            "meta-llama-Llama-3.2-3B-Instruct", "microsoft-Phi-3.5-mini-instruct",
            "mistralai-Mistral-Nemo-Instruct-2407", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B")


def rendered_by_transformers(source, messages, **more):
    from transformers.utils.chat_template_utils import render_jinja_template

    return render_jinja_template([messages], chat_template=source, **TOKENS, **more)[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_published_templates_give_the_text_of_transformers(shared_data, family, conversation):
    source = (shared_data / "templates" / f"{family}.jinja").read_text("utf-8")
    template, messages = ChatTemplate(source=source, special=SPECIAL), CONVERSATIONS[conversation]
    for prompt in (True, False):
        more = {"add_generation_prompt": prompt}
        try:
            expected = rendered_by_transformers(source, messages, **more)
        except Exception as error:  # Gemma refuses a system message, by its own words
            with pytest.raises(DataError, match=str(error)[:20]):
                template.render(messages, **more)
            continue
        assert template.render(messages, **more) == expected
        assert "seed" in expected


TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks a word up.", "parameters": {
    "type": "object", "properties": {"word": {"type": "string", "description": "<any>"}}, "required": ["word"]}}}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Qwen-Qwen2.5-7B-Instruct", "meta-llama-Llama-3.1-8B-Instruct"])
def test_tools_are_written_as_transformers_writes_them(shared_data, family):
    source = (shared_data / "templates" / f"{family}.jinja").read_text("utf-8")
    expected = rendered_by_transformers(source, QUESTION, tools=[TOOL], add_generation_prompt=True)
    assert ChatTemplate(source=source, special=SPECIAL).render(QUESTION, tools=[TOOL],
                                                               add_generation_prompt=True) == expected
    assert "look_up" in expected


def test_the_tag_around_what_the_assistant_says_adds_nothing():
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}"
    assert ChatTemplate(source=source).render([{"content": "a"}, {"content": "b"}]) == "a|b|"


def test_the_hash_is_that_of_the_source():
    one, other = ChatTemplate(source="{{ messages }}"), ChatTemplate(source="{{ messages }} ")
    assert one.sha256 != other.sha256
    assert one.sha256 == ChatTemplate(source="{{ messages }}", special=SPECIAL).sha256


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.__init__.__globals__ }}",
    "{% for a in range(10**5) %}{% for b in range(10**5) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{{ 'a' * 10**12 }}", "{{ [1] * 10**12 }}", "{{ 10**10**10**10 }}", "{{ '%999999999d' % 1 }}",
    "{{ 'a'.center(10**10) }}", "{{ 'a'.ljust(10**10) }}", "{{ 'a'.zfill(10**10) }}", "{{ 'a'.format(1) }}",
    "{{ 'a'|center(10**10) }}", "{{ 'a'|indent(10**10) }}", "{{ 'a'|format(1) }}",
    "{% set x = 'a' * 3000000 %}{{ x.replace('a', x) }}", "{% set x = 'a' * 3000000 %}{{ x|replace('a', x) }}",
    "{% set x = 'a' * 3000000 %}{{ [x, x, x]|join(x) }}", "{% set x = 'a' * 3000000 %}{{ x.join([x, x]) }}",
    "{% for i in range(90000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ messages.append(1) }}", "{% include 'x' %}",
    "{% import 'os' as os %}", "{{ lipsum() }}", "{{ cycler }}{{ undefined_thing.more }}", "{% if", "{{ 1 / 0 }}",
    "{{ raise_exception('no such role') }}", "x" * 200_000, "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ dict.fromkeys(range(99999), 'a' * 10**6)|string|length }}{{ dict.__subclasses__() }}",
])
def test_programs_that_do_harm_or_run_for_ever_are_stopped_with_one_line(source):
    started = time.monotonic()
    with pytest.raises(DataError, match="chat template") as caught:
        ChatTemplate(source=source).render(QUESTION)
    assert len(str(caught.value).splitlines()) == 1
    assert time.monotonic() - started < 30  # it ends at all; the limit itself is two seconds


def test_the_clock_leaves_the_thread_as_it_was():
    slow = ChatTemplate(source="{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    with pytest.raises(DataError, match="more than 2 s"):
        slow.render(QUESTION)
    assert sum(range(10**6)) == 499999500000  # nothing is left to be raised


def test_objects_with_methods_do_not_reach_a_template():
    template, thing = ChatTemplate(source="{{ messages }}"), pathlib.PurePosixPath(".")
    with pytest.raises(DataError, match="a message holds a PurePosixPath; expected texts"):
        template.render([{"role": "user", "content": thing}])


def test_a_folder_gives_its_file_first_and_then_its_configuration(tmp_path):
    tokenizer = train(["a seed and a tree"] * 9, kind="bpe", vocab_size=260)
    assert load_template(tmp_path, tokenizer) is None
    tokenizer.extra["chat_template"] = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    assert load_template(tmp_path, tokenizer).source == "yes"
    tokenizer.extra["chat_template"] = "from the configuration"
    assert load_template(tmp_path, tokenizer).source == "from the configuration"
    (tmp_path / "chat_template.jinja").write_text("from the file")
    assert load_template(tmp_path, tokenizer).source == "from the file"
    assert json.dumps(load_template(tmp_path, tokenizer).special.eos)
