"""llama.cpp reads the GGUF files of every family that it knows, and gives our scores."""

from importlib.util import find_spec

import pytest
import torch
from benchmarks.families import CASES, GELU_BY_TABLE, GELU_LIMIT, LIMIT, READ_ONLY, by_llama_cpp, perturbed, some_ids

from tohum.errors import FailedError
from tohum.exporting.llama_cpp import LlamaCpp
from tohum.loading.folder import load_model

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")]


@pytest.mark.parametrize("name", ["gpt2", "llama-grouped-tied", "llama-3-scaling", "smollm3", "qwen2", "qwen3", "gemma2",
                                  "gemma3-long", "olmo2", "mixtral", "qwen3-moe", "phi3"])
@torch.no_grad()
def test_scores_of_a_family(tmp_path, name):
    perturbed((CASES | READ_ONLY)[name]()).save_pretrained(tmp_path / "hf")
    architecture, difference = by_llama_cpp(load_model(tmp_path / "hf"), tmp_path, some_ids())
    assert difference < (GELU_LIMIT if architecture in GELU_BY_TABLE else LIMIT)


def test_a_file_that_llama_cpp_does_not_take_is_said_in_a_line(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(FailedError, match=r"llama\.cpp does not read it") as caught:
        LlamaCpp(tmp_path / "m.gguf")
    assert len(str(caught.value).splitlines()) <= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]
