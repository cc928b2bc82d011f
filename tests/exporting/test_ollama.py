"""Modelfiles: fixed text around messages is found in published templates, and left alone in those of another kind."""

import os
from pathlib import Path

import pytest

from tohum.exporting.ollama import modelfile
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Special

from .conftest import CHATML

TEXTS = Path(os.environ.get("TOHUM_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "templates"


def rendered(go, system, prompt):
    """What Ollama makes of a template of ours: only .System, .Prompt and .Response stand in it."""
    if system:
        go = go.replace("{{ if .System }}", "").replace("{{ end }}", "", 1)
    else:
        start, stop = go.index("{{ if .System }}"), go.index("{{ end }}")
        go = go[:start] + go[stop + len("{{ end }}"):]
    go = go.replace("{{ if .Prompt }}", "").replace("{{ end }}", "", 1)
    return go.replace("{{ .System }}", system).replace("{{ .Prompt }}", prompt).partition("{{ .Response }}")[0]


def template_of(text):
    return text.partition('TEMPLATE """')[2].removesuffix('"""\n')


def test_chatml_in_the_form_of_ollama():
    made = modelfile("m.gguf", ChatTemplate(source=CHATML), 512)
    assert made.startswith("FROM ./m.gguf\nPARAMETER num_ctx 512\n")
    assert 'PARAMETER stop "<|im_end|>"' in made
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Merhaba?"}]
    expected = ChatTemplate(source=CHATML).render(messages, add_generation_prompt=True)
    assert rendered(template_of(made), "Be short.", "Merhaba?") == expected
    assert rendered(template_of(made), "", "Merhaba?") == ChatTemplate(source=CHATML).render(
        messages[1:], add_generation_prompt=True)


def test_a_model_without_a_template_continues_what_it_is_given():
    assert template_of(modelfile("m.gguf", None, 64)) == "{{ .Prompt }}"


@pytest.mark.skipif(not TEXTS.is_dir(), reason="the published templates are not here")
def test_published_templates_are_put_right_or_left_to_ollama():
    found = {}
    for path in sorted(TEXTS.glob("*.jinja")):
        template = ChatTemplate(source=path.read_text("utf-8"), special=Special(bos="<s>", eos="</s>"))
        go = template_of(modelfile("m.gguf", template, 64))
        found[path.stem] = bool(go)
        if go:
            messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Merhaba?"}]
            assert rendered(go, "Be short.", "Merhaba?") == template.render(messages, add_generation_prompt=True)
    assert any(found.values()), found
    assert not all(found.values()), found
