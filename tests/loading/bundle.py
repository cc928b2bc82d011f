"""A writer of TensorFlow's checkpoints, as small as tests need it; a slow test holds it against TensorFlow's own."""

import json
import struct

import numpy as np
import torch

from tohum.loading.names import write_parameters
from tohum.loading.openai import TABLE
from tohum.loading.tensor_bundle import DTYPES, MAGIC, masked_crc

RESTART_EVERY = 16
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """A number, or a message, of a protocol buffer; zeros are left out, as TensorFlow does."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value) if value else b""


def block(rows):
    """Entries whose keys share what they can with the one before, and where sharing begins anew."""
    out, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(rows):
        shared = 0
        if number % RESTART_EVERY == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + b"".join(struct.pack("<I", at) for at in restarts or [0]) + struct.pack("<I", len(restarts or [0]))


def write_bundle(prefix, tensors):
    """tensors by name -> prefix.index and prefix.data-00000-of-00001."""
    data, rows = b"", [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name in sorted(tensors):
        values = np.asarray(tensors[name], order="C")
        shape = b"".join(field(2, varint(1 << 3) + varint(size)) for size in values.shape)
        raw = values.tobytes()
        crc = varint(6 << 3 | 5) + struct.pack("<I", masked_crc(raw))
        rows.append((name.encode(), field(1, NUMBERS[values.dtype.newbyteorder("<")]) + field(2, shape)
                     + field(4, len(data)) + field(5, len(raw)) + crc))
        data += raw
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    out, places = b"", []

    def add(content):
        nonlocal out
        places.append(varint(len(out)) + varint(len(content)))
        out += content + b"\0" + struct.pack("<I", masked_crc(content + b"\0"))

    add(block(rows))
    add(block([]))  # meta data
    last = rows[-1][0]
    add(block([(last[:1] and bytes([last[0] + 1]), places[0])]))
    footer = (places[1] + places[2]).ljust(40, b"\0")
    prefix.with_name(f"{prefix.name}.index").write_bytes(out + footer + MAGIC)


def write_openai(folder, network, tokenizer=None):
    """A network of GPT-2's shape as OpenAI's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = network.config
    stored = write_parameters(TABLE, len(config.layers), network.state_dict())
    write_bundle(folder / "model.ckpt", {name: tensor.detach().contiguous().numpy() for name, tensor in stored.items()})
    (folder / "hparams.json").write_text(json.dumps({
        "n_vocab": config.vocab_size, "n_ctx": config.context, "n_embd": config.width,
        "n_head": config.layers[0].attention.heads, "n_layer": len(config.layers)}))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    if tokenizer is not None:
        model = json.loads(tokenizer.engine.to_str())["model"]
        (folder / "encoder.json").write_text(json.dumps(model["vocab"]), "utf-8")
        lines = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
        (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *lines]) + "\n", "utf-8")
    return stored


def moved(network):
    """No parameter left at the one or zero that it starts from."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return network.eval()
