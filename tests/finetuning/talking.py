"""A small tokenizer with the marks of conversations, and templates to try."""

from collections.abc import Sequence

from tohum.finetuning.conversations import Conversation
from tohum.finetuning.encode import Encoded
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Special, Tokenizer
from tohum.tokenizing.training import train

TEXT = ["What is a seed? A plant that waits, and a tree, one day.\n\nTürkçe: tohum nedir? Evet, ağaç olur.\n"] * 9

CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# As Qwen3: the thinking of earlier turns is taken away.
FORGETFUL = ("{% for m in messages %}{% set said = m.content if loop.last else m.content.split('</think>')[-1] %}"
             "{{ '<|im_start|>' + m.role + '\n' + said + '<|im_end|>\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
FOUR_TURNS = [{"role": "user", "content": "What is a seed?"}, {"role": "assistant", "content": "A plant that waits."},
              {"role": "user", "content": "Türkçe: tohum 🌱?"}, {"role": "assistant", "content": "Evet, ağaç olur."}]


def small_tokenizer(*marks: str, eos: str | None = None, bos: str | None = None) -> Tokenizer:
    """Byte-level, with special tokens `marks`; padding is the end of a text, as people have it."""
    engine = train(TEXT, kind="bpe", vocab_size=310).engine
    engine.add_special_tokens(list(marks))
    end = eos or "<|endoftext|>"
    return Tokenizer(engine, kind="bpe", special=Special(bos=bos, eos=end, pad=end))


def template_of(source: str, tokenizer: Tokenizer) -> ChatTemplate:
    return ChatTemplate(source=source, special=tokenizer.special)


def talk(*messages: dict[str, str] | str, place: str = "file.jsonl:1") -> Conversation:
    """Messages, or texts of user and assistant in turn."""
    roles = ("user", "assistant")
    return Conversation(tuple(m if isinstance(m, dict) else {"role": roles[i % 2], "content": m}
                              for i, m in enumerate(messages)), place)


def learned_text(example: Encoded, tokenizer: Tokenizer) -> list[str]:
    """The learned stretches as texts, special tokens by name."""
    return runs(example.ids, example.learned, tokenizer)


def runs(ids: Sequence[int], learned: Sequence[bool], tokenizer: Tokenizer) -> list[str]:
    found: list[list[int]] = [[]]
    for token, mine in zip(ids, learned, strict=True):
        if mine:
            found[-1].append(token)
        elif found[-1]:
            found.append([])
    return [whole_text(tokenizer, run) for run in found if run]


def whole_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return b"".join(tokenizer.token_text(i).encode() if i in tokenizer.special_ids else tokenizer.token_bytes(i)
                    for i in ids).decode("utf-8", "replace")
