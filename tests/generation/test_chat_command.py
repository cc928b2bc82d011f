"""`tohum chat`: messages from stdin, answers on stdout, the template's text before the model."""

import json

import pytest
from click.testing import CliRunner

from tohum.cli.main import cli
from tohum.errors import TohumError
from tohum.generation.text import generate_text

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[answer]{% endif %}"


def talk(folder, *arguments, stdin="", catch=False):
    return CliRunner().invoke(cli, ["chat", str(folder), "--device", "cpu", "--max-tokens", "5", *arguments],
                              input=stdin, catch_exceptions=catch, standalone_mode=False)


@pytest.fixture
def talker(model, tmp_path, monkeypatch):
    """A model folder with a template, and what was given to the network."""
    file, seen = tmp_path / "t.jinja", []
    file.write_text(TEMPLATE)

    def watched(network, tokenizer, prompts, **more):
        seen.append(tokenizer.decode(prompts[0]))
        return generate_text(network, tokenizer, prompts, **more)

    monkeypatch.setattr("tohum.generation.text.generate_text", watched)
    return lambda *arguments, **more: (talk(model, "--template", str(file), *arguments, **more), seen)


def test_each_line_is_a_message_and_the_conversation_is_kept(talker):
    result, seen = talker("--system", "Be brief.", stdin="the seed\n\nOne, two\n")
    assert result.exit_code == 0
    assert seen[0] == "[system]Be brief.\n[user]the seed\n[answer]"
    first = result.stdout.removesuffix("\n")
    assert seen[1].startswith("[system]Be brief.\n[user]the seed\n[assistant]")
    assert seen[1].endswith("\n[user]One, two\n[answer]")
    assert first


def test_reset_begins_anew_and_quit_ends(talker):
    result, seen = talker("--system", "S", stdin="one\n/reset\ntwo\n/quit\nthree\n")
    assert result.exit_code == 0
    assert len(seen) == 2
    assert seen[1] == "[system]S\n[user]two\n[answer]"


def test_greedy_answers_are_the_same_twice(talker):
    outputs = {talker("--temperature", "0", stdin="the seed\n")[0].stdout for _ in range(2)}
    assert len(outputs) == 1


def test_tokens_of_the_generation_configuration_end_an_answer(model, tmp_path):
    import shutil

    from tohum.loading.folder import load_model

    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    path = copy / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [3, 4]}))
    loaded = load_model(copy)
    assert loaded.stop_ids == {3, 4, loaded.tokenizer.eos_id}


def test_a_model_without_a_template_is_refused_with_a_way_out(model):
    with pytest.raises(TohumError, match=r"has no chat template.*\n.*--template FILE"):
        talk(model, stdin="hello\n")
    with pytest.raises(TohumError, match="no such file; expected a chat template"):
        talk(model, "--template", "missing.jinja", stdin="hello\n")


