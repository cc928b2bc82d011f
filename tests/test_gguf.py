"""The GGUF container: what the library writes is read; what is damaged is refused before anything is made of it."""

import struct

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st

from tohum.errors import CheckpointError
from tohum.gguf import TENSOR_TYPES, read_gguf


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file with values of every kind and two tensors."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 1e5)
    writer.add_bool("flag", True)
    writer.add_array("tokens", ["a", "ğ", "Ġthe"])
    writer.add_array("scores", [0.5, -1.0])
    writer.add_tensor("wide", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add_tensor("half", np.arange(6, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_values_and_places_of_tensors_are_those_that_were_written(small):
    found = read_gguf(small)
    assert found.values["general.architecture"] == "llama"
    assert found.values["llama.block_count"] == 2
    assert found.values["flag"] is True
    assert found.values["tokens"] == ["a", "ğ", "Ġthe"]
    assert found.values["scores"] == [0.5, -1.0]
    wide, half = found.tensors["wide"], found.tensors["half"]
    assert (wide.shape, wide.type_name, half.shape, half.type_name) == ((3, 4), "F32", (6,), "F16")
    data = small.read_bytes()
    assert np.frombuffer(data[wide.offset : wide.offset + wide.bytes], np.float32).tolist() == list(range(12))
    assert np.frombuffer(data[half.offset : half.offset + half.bytes], np.float16).tolist() == list(range(6))


def test_sizes_of_tensor_types_are_those_of_the_library():
    for number, (name, block, size) in TENSOR_TYPES.items():
        kind = GGMLQuantizationType(number)
        assert (kind.name, GGML_QUANT_SIZES[kind]) == (name, (block, size))


def test_a_file_cut_anywhere_is_refused(small, tmp_path):
    data, path = small.read_bytes(), tmp_path / "cut.gguf"
    tensors = read_gguf(small).tensors.values()
    first, last = min(t.offset for t in tensors), max(t.offset + t.bytes for t in tensors)
    for end in [*range(4, first, 3), first, last - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError, match=r"cut\.gguf: "):
            read_gguf(path)


@given(place=st.integers(4, 500), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_read_or_refused_and_nothing_else(small, tmp_path_factory, place, value):
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    data = bytearray(small.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)
    try:
        found = read_gguf(path)
    except CheckpointError:
        return
    assert all(tensor.offset + tensor.bytes <= len(data) for tensor in found.tensors.values())


@pytest.mark.parametrize(("content", "said"), [
    (b"GGML" + bytes(40), "first bytes are not 'GGUF'"),
    (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
    (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "1,152,921,504,606,846,976 tensors"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "1,099,511,627,776 values"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**50) + bytes(40), "bytes of a name of a value"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 4, 2**61), "entries of a list"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 77) + bytes(8), "type 77"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 9, 1) * 1
     + struct.pack("<IQ", 9, 1) * 6 + bytes(99), "lists inside lists"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"w" + struct.pack("<I", 9) + bytes(99), "9 dimensions"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"w" + struct.pack("<IQIQ", 1, 2**40, 0, 0), "beyond the end"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"w" + struct.pack("<IQIQ", 1, 4, 99, 0), "type 99"),
    (b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"w" + struct.pack("<IQIQ", 1, 33, 8, 0), "shape [33] and type Q8_0"),
])
def test_claims_that_the_file_cannot_hold_are_refused_by_name(content, said, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_gguf(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
