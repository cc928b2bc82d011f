"""The end of a turn: a chat template and a tokenizer -> what ends an answer, and at which tokens generation stops."""

from dataclasses import dataclass

from tohum.errors import ConfigError
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Tokenizer

PROBE = "tohumsaysthis"  # letters alone: no template trims, escapes or splits them


@dataclass(frozen=True, kw_only=True)
class EndOfTurn:
    """What the template writes after an answer, up to where the answer has ended."""

    text: str  # "<|im_end|>"
    ids: tuple[int, ...]
    is_token: bool  # its last token is one that spells no text, or the only one
    after: str  # what the template writes behind it at the end of a conversation: a line end, more tokens

    def find(self, text: str, begin: int) -> int:
        """Where an answer that begins at `begin` and is the last of its text has ended; -1 where it has not."""
        if text.endswith(self.text + self.after):
            return len(text) - len(self.after)
        at = text.rfind(self.text, begin)
        return at if at < 0 else at + len(self.text)

    @property
    def ends(self) -> Ends:
        """Where generation stops: at a token, or at a text where the end is spelled in several."""
        return Ends(ids=frozenset(self.ids[-1:])) if self.is_token else Ends(ids=frozenset(), texts=(self.text,))


def end_of_turn(template: ChatTemplate, tokenizer: Tokenizer) -> EndOfTurn:
    """Found by what follows a probe that the assistant says.

    The end is the first special token after the answer (and the end of a document, if it follows at once), else the
    text that is there. Raises ConfigError for a template that writes neither, DataError for one that cannot be used.
    """
    asked = [{"role": "user", "content": "?"}]
    text = template.render([*asked, {"role": "assistant", "content": PROBE}])
    _, found, tail = text.rpartition(PROBE)
    if not found:
        raise ConfigError("the chat template does not write what the assistant says; nothing could be learned with it\n"
                          "choose one with --template: alpaca, chatml, phi3, or a file")
    size = special_end(tail, tokenizer)
    mark = (tail[:size] if size else tail).strip()
    after = tail[size:] if size else tail[len(tail.rstrip()):]
    ids = tuple(tokenizer.encode(mark, allow_special=True))
    if not mark or (tokenizer.unk_id is not None and tokenizer.unk_id in ids):
        seen = f"ends an answer with {tail!r}" + (", which this vocabulary cannot spell" if mark else "")
        raise ConfigError(f"the chat template {seen}, and not with an end of turn: the model would never stop\n"
                          "write {{ eos_token }} after the assistant's content, or choose another with --template: "
                          "alpaca, chatml, phi3")
    return EndOfTurn(text=mark, ids=ids, is_token=len(ids) == 1 or bool(size), after=after)


def special_end(tail: str, tokenizer: Tokenizer) -> int:
    """Characters of `tail` up to the end of its first special token; 0 without one."""
    size = 0
    for token in tokenizer.encode(tail, allow_special=True):
        if token not in tokenizer.special_ids or token == tokenizer.unk_id:
            continue
        spelled = tokenizer.token_text(token)
        at = tail.find(spelled, size)
        if at < 0:
            continue
        if not size:
            size = at + len(spelled)
        elif at == size and token == tokenizer.eos_id:  # <|END_RESPONSE|><|END_OF_TURN|>
            return at + len(spelled)
        else:
            break
    return size
