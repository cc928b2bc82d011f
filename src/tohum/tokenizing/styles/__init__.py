"""Prompt styles: a name or a .jinja file -> the chat template, for models that come without one of their own.

The styles spell their marks as ordinary text where the vocabulary has no such tokens. An answer always ends with an end
of turn, and with one that is a token if the vocabulary has any: the style's own, else the end of a document. A model
whose end of turn is a token stops by itself in every program; of a text mark each program must be told.
"""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from tohum.errors import ConfigError, DataError
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Tokenizer


@dataclass(frozen=True)
class Style:
    """What differs between vocabularies: the token that ends an answer, and what is written where there is none."""

    token: str | None
    text: str


STYLES = {"alpaca": Style(None, "\n\n### End"), "chatml": Style("<|im_end|>", "<|im_end|>"),
          "phi3": Style("<|end|>", "<|end|>")}


def choose_template(name: str, tokenizer: Tokenizer) -> ChatTemplate:
    """The style of that name, else the template in the file of that name.

    Raises ConfigError for a name that is neither, DataError for a file that is not text.
    """
    if name in STYLES:
        return ChatTemplate(source=style_source(name, tokenizer), special=tokenizer.special)
    path = Path(name)
    if path.is_file():
        try:
            return ChatTemplate(source=path.read_text("utf-8-sig"), special=tokenizer.special)
        except UnicodeDecodeError:
            raise DataError(f"{path}: is not UTF-8 text; expected a chat template in Jinja") from None
    near = difflib.get_close_matches(name, STYLES, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ConfigError(f"template '{name}' is neither a style nor a file{hint}\n"
                      f"styles are {', '.join(STYLES)}; a file holds a chat template in Jinja")


def style_source(name: str, tokenizer: Tokenizer) -> str:
    """The program of a style for this vocabulary, complete: it can be stored as chat_template.jinja."""
    style = STYLES[name]
    if style.token is not None and len(tokenizer.encode(style.token, allow_special=True)) == 1:
        end = json.dumps(style.token)
    else:
        end = "eos_token" if tokenizer.eos_id is not None else json.dumps(style.text)
    begin = "bos_token" if tokenizer.adds_bos else '""'
    body = Path(__file__).with_name(f"{name}.jinja").read_text("utf-8")
    return f"{{%- set begin = {begin} %}}\n{{%- set end_of_turn = {end} %}}\n{body}"
