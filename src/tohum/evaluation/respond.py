"""Responding: prompts and a model -> its answers, the best token each time, so that two models can be compared.

A model with a chat template is asked: a text becomes the message of a user. One without continues the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tohum.errors import DataError
from tohum.evaluation.answer_file import Messages
from tohum.generation.choice import Choice
from tohum.generation.text import Generated, generate_text
from tohum.loading.folder import LoadedModel
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.template import ChatTemplate, load_template

GREEDY = Choice(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a model is spoken to, and what ends its answers."""

    template: ChatTemplate | None
    ends: Ends
    tokenizer_sha256: str


def manner_of(loaded: LoadedModel, other: Manner | None = None) -> Manner:
    """The model's own manner; without a template of its own, that of the `other` model it is compared with."""
    words = loaded.tokenizer
    template, ends = load_template(loaded.folder, words), loaded.ends
    if template is None and other is not None:
        template = other.template
        if other.tokenizer_sha256 == words.sha256:  # so that it may end a turn as that template does
            ends |= other.ends
    return Manner(template=template, ends=ends, tokenizer_sha256=words.sha256)


def prompt_ids(loaded: LoadedModel, manner: Manner, prompt: str | Messages) -> list[int]:
    """The ids that the model reads before it answers. Raises DataError for messages without a template."""
    if manner.template is None:
        if isinstance(prompt, str):
            return loaded.tokenizer.prompt_ids(prompt)
        raise DataError(f"{loaded.folder}: has no chat template, but a prompt is a list of messages; give texts")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = manner.template.render(messages, add_generation_prompt=True)
    return loaded.tokenizer.encode(text, allow_special=True)


def respond(loaded: LoadedModel, prompts: Sequence[str | Messages], *, manner: Manner,
            max_tokens: int) -> list[Generated]:
    """The answers in the order of the prompts; equal prompts get equal answers. Raises DataError, ConfigError."""
    ids = [prompt_ids(loaded, manner, prompt) for prompt in prompts]
    return generate_text(loaded.network, loaded.tokenizer, ids, choice=GREEDY, max_tokens=max_tokens,
                         ends=manner.ends)
