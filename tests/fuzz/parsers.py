"""Parsers under fuzzing: name -> valid seed files, and what reads a damaged one."""

import io
import json
import struct
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.fuzz.adapters import adapter_reader
from tests.loading.bundle import write_bundle
from tohum.gguf import read_gguf
from tohum.loading import families
from tohum.loading.folder import load_model, save_model
from tohum.loading.gguf.architectures import read_gguf_model
from tohum.loading.gguf.write import write_gguf
from tohum.loading.llama2c import read_llama2c
from tohum.loading.pickled import read_pickle
from tohum.loading.tensor_bundle import TensorBundle
from tohum.model.network import Network
from tohum.model.presets import PRESETS
from tohum.tokenizing.gguf_fields import gguf_fields
from tohum.tokenizing.gguf_vocabulary import load_gguf
from tohum.tokenizing.ranks import read_ranks
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Special, Tokenizer
from tohum.tokenizing.training import train

MOST_BYTES = 65_536  # of a seed file
CHATML = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>{{ m['content'] | trim }}"
          "{% else %}{{ m.content.upper()[:9] }}{{ '\\n' * loop.index }}{% endif %}{% endfor %}"
          "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}")
MESSAGES = [{"role": "user", "content": "Merhaba"}, {"role": "assistant", "content": "Selam, nasılsın?"}]


@dataclass(frozen=True)
class Parser:
    """`read` gets a folder in which the damaged bytes stand as `file`, beside what else the reader wants."""

    file: str
    seeds: list[bytes]
    read: Callable[[Path], object]


def small() -> tuple[Network, Tokenizer]:
    """A model and a tokenizer of a few kilobytes."""
    torch.manual_seed(0)
    words = train(["the seed waits under the snow " * 4], kind="bpe", vocab_size=262)
    network = Network(PRESETS["tiny-llama"]().replace(vocab_size=words.vocab_size, width=16, layers=[
        layer.replace(attention={**layer.attention.model_dump(), "heads": 2, "kv_heads": 1, "head_width": 8},
                      feed_forward={**layer.feed_forward.model_dump(), "width": 16}).model_dump()
        for layer in PRESETS["tiny-llama"]().layers]))
    return network, words


def gguf_seeds(folder: Path) -> list[bytes]:
    """In float32 and in bytes."""
    network, words = small()
    for dtype in ("fp32", "fp16"):
        write_gguf(folder / dtype, network.config, network.state_dict(), dtype=dtype, name="tiny",
                   vocabulary=gguf_fields(words, words.vocab_size, CHATML))
    return [(folder / dtype).read_bytes() for dtype in ("fp32", "fp16")]


def read_whole_gguf(folder: Path) -> None:
    """Head, weights, tokenizer."""
    read_gguf(folder / "m.gguf")
    read_gguf_model(folder / "m.gguf")


def llama2c_seed() -> bytes:
    """A header and as many numbers as it asks for."""
    width, hidden, layers, heads, rows, context = 8, 16, 1, 2, 20, 8
    count = (rows * width + layers * (2 * width + 4 * width * width + 3 * width * hidden) + width
             + 2 * context * width // heads // 2)
    return struct.pack("<7i", width, hidden, layers, heads, heads, rows, context) + bytes(4 * count)


def model_folder(folder: Path) -> None:
    """A whole folder; one of its files is then damaged."""
    network, words = small()
    save_model(folder, network.config, network.state_dict(), words)


def configs() -> list[bytes]:
    """config.json of several families."""
    made = []
    for name in ("tiny-llama", "tiny-gpt2", "tiny-gemma3", "tiny-qwen3-moe", "tiny-olmo2"):
        family, values = families.write_config(PRESETS[name]())
        made.append(json.dumps(values | {"model_type": family.model_type}).encode())
    return made


def read_config(folder: Path) -> None:
    """A config alone."""
    from tohum.loading.keys import read_json

    families.read_config(read_json(folder / "config.json"), "config.json")


def sentencepiece_seed() -> bytes:
    """A vocabulary that the format's own library trained."""
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the seed waits under the snow and the river rises"] * 9), model_writer=made,
        vocab_size=290, model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, hard_vocab_limit=False, minloglevel=2)
    return made.getvalue()


def pickles(folder: Path) -> list[bytes]:
    """Both formats of torch."""
    for new in (True, False):
        torch.save({"a": torch.ones(3, 4), "b": torch.zeros(2)}, folder / f"{new}", _use_new_zipfile_serialization=new)
    return [(folder / f"{new}").read_bytes() for new in (True, False)]


def bundle_seed(folder: Path) -> bytes:
    """An index of three tensors."""
    write_bundle(folder / "m", {name: torch.ones(2, 3).numpy() for name in ("model/a", "model/b", "model/h0/w")})
    return (folder / "m.index").read_bytes()


def read_bundle(folder: Path) -> None:
    """All tensors."""
    bundle = TensorBundle(folder / "m")
    for name in bundle.shapes:
        bundle.tensor(name)


def read_template(folder: Path) -> None:
    """Render a conversation."""
    source = (folder / "t.jinja").read_bytes().decode("utf-8", errors="replace")
    ChatTemplate(source=source, special=Special(bos="<s>")).render(MESSAGES, add_generation_prompt=True)


def prepare(name: str, folder: Path) -> Parser:
    """Make the seeds of a parser, and in `folder` what stands beside the damaged file."""
    _, words = small()
    if name in ("safetensors", "tokenizer", "tokenizer config"):
        model_folder(folder)
    if name == "gguf":
        return Parser("m.gguf", gguf_seeds(folder), read_whole_gguf)
    if name == "gguf tokenizer":
        return Parser("m.gguf", gguf_seeds(folder), lambda f: load_gguf(f / "m.gguf"))
    if name == "safetensors":
        return Parser("model.safetensors", [(folder / "model.safetensors").read_bytes()], load_model)
    if name == "config":
        return Parser("config.json", configs(), read_config)
    if name in ("tokenizer", "tokenizer config"):
        file = name.replace(" ", "_") + ".json"
        return Parser(file, [(folder / file).read_bytes()], Tokenizer.load)
    if name == "ranks":
        tokens = [*(bytes([n]) for n in range(256)), b"ab", b"the", b"th"]
        lines = b"\n".join(b64encode(token) + f" {n}".encode() for n, token in enumerate(tokens))
        return Parser("t.tiktoken", [lines], lambda f: read_ranks(f / "t.tiktoken"))
    if name == "gpt-2 vocabulary":
        vocabulary = json.loads(words.engine.to_str())["model"]
        merges = [" ".join(m) if isinstance(m, list) else m for m in vocabulary["merges"]]
        (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
        return Parser("encoder.json", [json.dumps(vocabulary["vocab"]).encode()], Tokenizer.load)
    if name == "sentencepiece":
        return Parser("t.model", [sentencepiece_seed()], lambda f: Tokenizer.load(f / "t.model"))
    if name == "llama2.c":
        return Parser("m.bin", [llama2c_seed()], lambda f: read_llama2c(f / "m.bin"))
    if name == "pickle":
        return Parser("pytorch_model.bin", pickles(folder), lambda f: read_pickle(f / "pytorch_model.bin"))
    if name in ("adapter", "adapter config"):
        read = adapter_reader(small()[0], folder)
        file = "adapter_model.safetensors" if name == "adapter" else "adapter_config.json"
        return Parser(file, [(folder / file).read_bytes()], read)
    if name == "tensorflow":
        return Parser("m.index", [bundle_seed(folder)], read_bundle)
    assert name == "template"
    return Parser("t.jinja", [CHATML.encode()], read_template)


NAMES = ("gguf", "gguf tokenizer", "safetensors", "config", "tokenizer", "tokenizer config", "ranks",
         "gpt-2 vocabulary", "sentencepiece", "llama2.c", "pickle", "tensorflow", "template", "adapter", "adapter config")
