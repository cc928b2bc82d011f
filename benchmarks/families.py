"""Families of the outside world, proven: tiny random models of `transformers` against ours -> the table in the docs.

`python -m benchmarks.families` measures each family and writes the table into docs/07-loading.md. A model has every
parameter moved away from its initial value (a norm whose scale is one proves nothing); all in float32.

    import      largest difference of logits, a folder of transformers read by us, at positions 0, 100 and the last
    export      the same, what we wrote read by transformers
    gguf        the same of a GGUF file read by llama.cpp (log-probabilities there), where it has such an architecture
    cache       greedy continuations with and without the key/value cache, past the context
    far         the last position lies beyond the window, or the context that stretched positions started from
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.common import ROOT
from transformers import AutoConfig, AutoModelForCausalLM

from tohum.errors import ConfigError
from tohum.exporting.llama_cpp import LlamaCpp
from tohum.generation.choice import Choice
from tohum.generation.decode import generate
from tohum.loading.folder import LoadedModel, load_model, save_model
from tohum.loading.gguf.architectures import architecture_for
from tohum.loading.gguf.write import write_gguf
from tohum.model.network import Network
from tohum.tokenizing.gguf_fields import gguf_fields
from tohum.tokenizing.training import train

PAGE = ROOT / "docs" / "07-loading.md"
BEGIN, END = "<!-- families -->", "<!-- /families -->"
LIMIT = 1e-5
GELU_BY_TABLE, GELU_LIMIT = ("gpt2", "gemma2", "gemma3"), 1e-2  # llama.cpp reads GELU from a table in float16
TOKENS = 160  # past the original context of the scaled rotary models (32), and past position 100
PLACES = [0, 100, TOKENS - 1]
ROWS = 261  # of the token table: a byte-level tokenizer fits
SIZES = {"vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": TOKENS}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 4.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}


def made(model_type: str, **changes: Any) -> Any:
    """A tiny model of transformers' own."""
    config = AutoConfig.for_model(model_type, **changes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def gpt2(**changes: Any) -> Any:
    """GPT-2 has names of its own."""
    sizes = {"vocab_size": ROWS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": TOKENS}
    return made("gpt2", **(sizes | {"bos_token_id": 1, "eos_token_id": 1} | changes))


def like_llama(model_type: str, **changes: Any) -> Any:
    """Any family that shares the names of Llama's sizes."""
    ids = {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    return made(model_type, **(SIZES | ids | {"num_key_value_heads": 2} | changes))


def llama(**changes: Any) -> Any:
    """Llama."""
    return like_llama("llama", **changes)


def qwen3(**changes: Any) -> Any:
    """Qwen3."""
    return like_llama("qwen3", head_dim=16, **changes)


def gemma2(**changes: Any) -> Any:
    """Gemma 2, with a window shorter than the text."""
    return like_llama("gemma2", head_dim=16, query_pre_attn_scalar=16, sliding_window=24, **changes)


def gemma3(**changes: Any) -> Any:
    """Gemma 3: two layers with a window, one without, and again."""
    return like_llama("gemma3_text", head_dim=16, query_pre_attn_scalar=16, sliding_window=24, num_hidden_layers=4,
                      sliding_window_pattern=3, **changes)


def qwen3_moe(**changes: Any) -> Any:
    """Qwen3 with experts."""
    return like_llama("qwen3_moe", head_dim=16, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24,
                      num_hidden_layers=3, **changes)


WINDOWS = {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}
LONG_GEMMA = {"sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
              "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0}}
CASES = {
    "gpt2": lambda: gpt2(),
    "gpt2-untied-narrow": lambda: gpt2(tie_word_embeddings=False, n_inner=40, scale_attn_weights=False),
    "llama-multi-head": lambda: llama(num_key_value_heads=4),
    "llama-grouped-tied": lambda: llama(tie_word_embeddings=True),
    "llama-grouped-untied": lambda: llama(tie_word_embeddings=False),
    "llama-3-scaling": lambda: llama(rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
    "llama-biases-geglu": lambda: llama(attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh"),
    "llama-wide-heads": lambda: llama(head_dim=12),
    "mistral-window": lambda: like_llama("mistral", sliding_window=24),
    "smollm3": lambda: like_llama("smollm3", num_hidden_layers=4),
    "smollm3-windows": lambda: like_llama("smollm3", num_hidden_layers=4, no_rope_layers=[1, 0, 1, 0],
                                          use_sliding_window=True, sliding_window=24, attention_bias=True),
    "qwen2": lambda: like_llama("qwen2"),
    "qwen2-windows-tied": lambda: like_llama("qwen2", tie_word_embeddings=True, **WINDOWS),
    "qwen3": lambda: qwen3(),
    "qwen3-tied-eps": lambda: qwen3(tie_word_embeddings=True, rms_norm_eps=1e-3, attention_bias=True),
    "qwen3-windows": lambda: qwen3(**WINDOWS),
    "gemma2": lambda: gemma2(),
    "gemma2-no-caps": lambda: gemma2(attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma3": lambda: gemma3(),
    "gemma3-long": lambda: gemma3(rope_parameters=LONG_GEMMA),
    "olmo2": lambda: like_llama("olmo2"),
    "olmo2-tied": lambda: like_llama("olmo2", num_key_value_heads=4, tie_word_embeddings=True),
    "mixtral": lambda: like_llama("mixtral", num_local_experts=4, num_experts_per_tok=2),
    "mixtral-window": lambda: like_llama("mixtral", num_local_experts=4, num_experts_per_tok=3, sliding_window=24),
    "qwen3-moe": lambda: qwen3_moe(norm_topk_prob=True),
    "qwen3-moe-dense-layers": lambda: qwen3_moe(mlp_only_layers=[1], norm_topk_prob=False),
}
READ_ONLY = {"phi3": lambda: like_llama("phi3"), "phi3-window": lambda: like_llama("phi3", sliding_window=24),
             "mistral-no-window": lambda: like_llama("mistral", sliding_window=None)}


def perturbed(model: Any) -> Any:
    """Evaluation mode, float32, no parameter left at the one or zero that it starts from."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def some_ids(vocab_size: int = ROWS, tokens: int = TOKENS) -> torch.Tensor:
    """(2, tokens) random ids."""
    return torch.randint(0, vocab_size, (2, tokens), generator=torch.Generator().manual_seed(7))


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference at the named places; logits must be of a size at which it says something."""
    assert theirs[:, PLACES].abs().mean() > 0.3
    return float((ours[:, PLACES] - theirs[:, PLACES]).abs().max())


def greedy(network: Network, prompt: list[int], *, cache: bool) -> list[int]:
    """Continue past the end of the context."""
    stream = generate(network, [prompt], choice=Choice(temperature=0), max_tokens=40, cache=cache)
    return [token for _, token in stream]


def by_llama_cpp(ours: LoadedModel, folder: Path, ids: torch.Tensor) -> tuple[str, float] | None:
    """Architecture and largest difference of a GGUF file, None where llama.cpp computes nothing of the kind."""
    try:
        architecture, _ = architecture_for(ours.config)
    except ConfigError:
        return None
    tokenizer = train(["the seed waits"], kind="bpe", vocab_size=258)
    write_gguf(folder / "m.gguf", ours.config, ours.network.state_dict(), dtype="fp32", name="tiny",
               vocabulary=gguf_fields(tokenizer, ROWS, None))
    places = [0, 100, TOKENS - 2]
    row = ids[0].tolist()
    with LlamaCpp(folder / "m.gguf") as theirs:
        found = theirs.scores(row, places)
    expected = ours.network.logits(ids[:1])[0, places].log_softmax(-1)
    return architecture.name, float((found - expected).abs().max())


@torch.no_grad()
def measure(make: Callable[[], Any]) -> dict[str, Any]:
    """One line of the table."""
    theirs, ids = perturbed(make()), some_ids()
    expected = theirs(ids).logits
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        theirs.save_pretrained(folder / "theirs")
        ours = load_model(folder / "theirs")
        family = save_model(folder / "ours", ours.config, ours.network.state_dict(), None)
        again = AutoModelForCausalLM.from_pretrained(folder / "ours", attn_implementation="eager").eval()
        prompt = ids[0, : TOKENS - 20].tolist()
        return {"gguf": by_llama_cpp(ours, folder, ids), "type": theirs.config.model_type,
                "import": difference(ours.network.logits(ids), expected),
                "export": difference(again(ids).logits, expected), "as": family.model_type,
                "cache": greedy(ours.network, prompt, cache=True) == greedy(ours.network, prompt, cache=False)}


def main() -> None:
    """Measure all and write the table; leaves with 1 if a line does not hold."""
    lines = ["| model | import | export | written as | llama.cpp | its architecture | cache on = off |",
             "|---|---|---|---|---|---|---|"]
    good = True
    for name, make in (CASES | READ_ONLY).items():
        row = measure(make)
        architecture, gguf = row["gguf"] or ("", 0.0)
        good &= row["import"] < LIMIT and row["export"] < LIMIT and row["cache"]
        good &= gguf < (GELU_LIMIT if architecture in GELU_BY_TABLE else LIMIT)
        shown = f"{gguf:.1e} | `{architecture}`" if architecture else "none |"
        lines.append(f"| {name} | {row['import']:.1e} | {row['export']:.1e} | `{row['as']}` | {shown} | "
                     f"{'yes' if row['cache'] else '**no**'} |")
        print(lines[-1], flush=True)
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}", "utf-8")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
