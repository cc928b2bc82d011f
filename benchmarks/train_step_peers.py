"""Training steps of the peers, for benchmarks/train_step.py: `train_step_peers.py PEER SHAPE MANNER FORMAT [FOLDER]`.

It imports nothing of Tohum, so that it runs in an environment of the peer's own. The manner is `plain`, as a user of
the peer has it, or `given`: glibc told to keep memory, as we tell it (from the environment), and the fused AdamW.
"""

import contextlib
import sys
import time
import warnings
from collections.abc import Callable

import torch

SHAPES = {"a": {"layers": 6, "heads": 6, "width": 384, "rows": 8}, "b": {"layers": 12, "heads": 12, "width": 768,
                                                                         "rows": 4}}
VOCABULARY, CONTEXT = 50304, 256
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def transformers(shape: dict[str, int], folder: str) -> tuple[torch.nn.Module, Loss]:
    """GPT2LMHeadModel with torch's attention."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_layer=shape["layers"], n_head=shape["heads"],
                        n_embd=shape["width"], resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                        attn_implementation="sdpa", use_cache=False)
    model = GPT2LMHeadModel(config)

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=inputs).logits
        return torch.nn.functional.cross_entropy(logits.view(-1, logits.size(-1)).float(), targets.reshape(-1))

    return model, loss


def litgpt(shape: dict[str, int], folder: str) -> tuple[torch.nn.Module, Loss]:
    """litgpt's GPT with GPT-2's shape; its head is never tied."""
    from litgpt import GPT, Config

    config = Config(name="gpt2", block_size=CONTEXT, vocab_size=VOCABULARY, padded_vocab_size=VOCABULARY,
                    n_layer=shape["layers"], n_head=shape["heads"], n_embd=shape["width"], rotary_percentage=0.0,
                    parallel_residual=False, bias=True, norm_class_name="LayerNorm", mlp_class_name="GptNeoxMLP",
                    gelu_approximate="tanh")
    model = GPT(config)

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from litgpt.utils import chunked_cross_entropy

        return chunked_cross_entropy(model(inputs), targets, chunk_size=0)

    return model, loss


def nanogpt(shape: dict[str, int], folder: str) -> tuple[torch.nn.Module, Loss]:
    """model.py of a checkout."""
    sys.path.insert(0, folder)
    from model import GPT, GPTConfig

    with contextlib.redirect_stdout(sys.stderr):
        model = GPT(GPTConfig(block_size=CONTEXT, vocab_size=VOCABULARY, n_layer=shape["layers"],
                              n_head=shape["heads"], n_embd=shape["width"], dropout=0.0, bias=True))
    return model, lambda inputs, targets: model(inputs, targets)[1]


BUILDERS = {"transformers": transformers, "litgpt": litgpt, "nanoGPT": nanogpt}


def main() -> None:
    """Answer every line with the tokens per second of one step."""
    warnings.filterwarnings("ignore")
    peer, name, manner, narrow, *folder = sys.argv[1:]
    shape = SHAPES[name]
    torch.manual_seed(1)
    model, loss = BUILDERS[peer](shape, *(folder or [""]))
    model.train()
    compiled = torch.compile(loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True if manner == "given" else None)
    ids = torch.randint(0, VOCABULARY, (shape["rows"], CONTEXT + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def step() -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16) if narrow == "bf16" else contextlib.nullcontext():
            found = compiled(inputs, targets)
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return inputs.numel() / (time.perf_counter() - started)

    step()  # compiles
    print("ready", flush=True)
    for _ in sys.stdin:
        print(step(), flush=True)


if __name__ == "__main__":
    main()
