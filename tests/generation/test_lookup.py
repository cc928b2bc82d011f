"""Prompt lookup: the greedy text, in fewer passes."""

import json
import shlex
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tohum.cli.main import cli
from tohum.errors import ConfigError
from tohum.generation.choice import Choice
from tohum.generation.decode import Decoder, generate
from tohum.generation.lookup import Lookup
from tohum.generation.text import Ends, generate_text
from tohum.loading.folder import save_model
from tohum.model.network import Network
from tohum.model.presets import PRESETS
from tohum.tokenizing.training import train


def greedy(lookup):
    return Choice(temperature=0, lookup=lookup)


def note(pieces, number, piece):
    pieces.append((number, piece))


PROMPTS = {"repeats": [5, 6, 7, 8, 9] * 4, "new": list(range(3, 20)), "short": [4]}


def network_of(name, **changes):
    torch.manual_seed(1)
    return Network(PRESETS[name]().replace(**changes)).eval()


@pytest.mark.parametrize("name", ["tiny-gpt2", "tiny-llama", "tiny-qwen3", "tiny-olmo2", "tiny-qwen3-moe"])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("guesses", [1, 3, 10])
def test_the_ids_are_those_without_it(name, prompt, guesses):
    """Past the end of the context, too."""
    network = network_of(name, context=48)
    runs = [list(generate(network, [PROMPTS[prompt]], choice=greedy(lookup), max_tokens=90))
            for lookup in (0, guesses)]
    assert runs[0] == runs[1]


def test_a_text_that_repeats_itself_takes_fewer_passes():
    """A random network soon goes in circles when it is greedy."""
    network = network_of("tiny-llama", context=256)
    decoder = Decoder(network, [[5, 6, 7]], choice=greedy(8), max_tokens=200)
    while decoder.active:
        decoder.step()
    assert len(decoder.rows[0].ids) == 203
    assert decoder.passes < 120


def test_ends_and_lengths_are_those_without_it():
    words = train(["the seed waits under the snow and the river rises " * 4], kind="bpe", vocab_size=270)
    network = network_of("tiny-llama", vocab_size=270, context=128)
    plain = generate_text(network, words, ["the seed the seed the"], choice=greedy(0), max_tokens=60)[0]
    for ends, most in ((Ends(), 60), (Ends(), 7), (Ends(texts=[plain.text[20:22]]), 60),
                       (Ends(ids=frozenset({plain.token_ids[25]})), 60)):
        pieces = []
        found = [generate_text(network, words, ["the seed the seed the", "a river"], choice=greedy(lookup),
                               max_tokens=most, ends=ends, on_text=partial(note, pieces))
                 for lookup in (0, 6)]
        assert found[0] == found[1]
        half = "".join(piece for number, piece in pieces if number == 0)
        assert half == 2 * found[0][0].text


def test_where_guesses_cannot_be_checked_it_is_refused():
    network = network_of("tiny-llama")
    for arguments in ({"choice": Choice(lookup=3)}, {"prompts": [[1], [2]]}, {"cache": False},
                      {"choice": Choice(temperature=0, repetition_penalty=1.2, lookup=3)}):
        arguments = {"prompts": [[1, 2]], "choice": greedy(3)} | arguments
        with pytest.raises(ConfigError, match="prompt lookup"):
            Decoder(network, max_tokens=5, **arguments)
    windows = network_of("tiny-gemma3")
    with pytest.raises(ConfigError, match="windows"):
        Decoder(windows, [[1, 2]], choice=greedy(3), max_tokens=windows.config.context)


def test_guesses_are_what_followed_last():
    lookup = Lookup([1, 2, 3, 4, 5, 1, 2, 3])
    assert lookup.guess(2) == [4, 5]
    assert lookup.guess(0) == []
    lookup.extend([9, 1, 2, 3])
    assert lookup.guess(3) == [9, 1, 2]
    assert Lookup([1, 2, 3]).guess(4) == []
    assert Lookup([7, 2, 3, 8, 6, 2, 3]).guess(1) == [8]  # two tokens are enough


def test_the_command_of_the_docs_page_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "11-generation.md").read_text("utf-8")
    command = next(line for line in page.splitlines() if "--lookup" in line and line.startswith("tohum generate"))
    words = train(["def add(a, b):\n    return a + b\n" * 9], kind="bpe", vocab_size=270)
    network = network_of("tiny-llama", vocab_size=words.vocab_size, context=200)
    save_model(tmp_path / "runs" / "first", network.config, network.state_dict(), words)
    monkeypatch.chdir(tmp_path)
    texts = [CliRunner().invoke(cli, [*shlex.split(line)[1:], "--json"], catch_exceptions=False)
             for line in (command, command.partition("--lookup")[0])]
    ids = [json.loads(done.stdout)["token_ids"] for done in texts]
    assert ids[0] == ids[1]
