"""Conversations -> token ids with the answers marked.

The text is rendered once and encoded once, so the ids are those of `transformers` for the same template. Where the
answers are is found by rendering beginnings of the conversation: what the template writes for the turns before an
answer, with the assistant to speak next, is the prompt that generation starts from, and an answer is what follows it,
up to and with its end of turn.
    - A template that rewrites earlier turns later on (thinking that is taken away) makes one example for each answer.
    - Where a token would cover the end of the prompt and the beginning of the answer, both are encoded apart, so that
      the prompt of training is the prompt of generation, token by token.
    - A conversation that the template refuses, or writes in another way than its own prompt, is refused with the
      reason.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from tohum.data_sampling.windows import IGNORED
from tohum.errors import DataError
from tohum.finetuning.conversations import Conversation, Message
from tohum.finetuning.ending import PROBE, EndOfTurn, end_of_turn
from tohum.tokenizing.template import ChatTemplate
from tohum.tokenizing.tokenizer import Tokenizer

Loss = Literal["answers", "all"]
Span = tuple[int, int]  # characters of a text, [begin, end)
R = TypeVar("R")
E = TypeVar("E")


class RefusedError(DataError):
    """A conversation that cannot be trained with this template; others may be."""

    def __init__(self, place: str, reason: str):
        super().__init__(f"{place}: {reason}")
        self.place, self.reason = place, reason


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One example: ids and, of the same length, which of them the model learns to say."""

    ids: list[int]
    learned: list[bool]
    place: str
    apart: bool = False  # prompt and answer were encoded apart
    straddled: bool = False  # a token covers the end of a prompt, and this vocabulary cannot part it

    @property
    def texts(self) -> "tuple[Encoded, ...]":
        """The sequences of this row."""
        return (self,)

    @property
    def targets(self) -> int:
        """Tokens that are learned; the first of all follows nothing, so it never is."""
        return sum(self.learned[1:])

    def cut(self, max_length: int) -> "Encoded":
        """The beginning: at most max_length inputs, and what follows the last of them."""
        return replace(self, ids=self.ids[: max_length + 1], learned=self.learned[: max_length + 1])

    def shifted(self) -> tuple[list[int], list[int]]:
        """(inputs, targets), both one shorter than ids: targets[i] follows inputs[: i + 1], IGNORED if not learned."""
        after = zip(self.ids[1:], self.learned[1:], strict=True)
        return self.ids[:-1], [token if learned else IGNORED for token, learned in after]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer in a text: the prompt is text[:begin], and it has ended at `end`."""

    text: str  # the conversation up to this turn, as the template writes it
    begin: int
    end: int
    spans: list[Span]  # what is learned of it

    def is_in(self, whole: str) -> bool:
        """A longer text begins with this turn and those before it."""
        return whole.startswith(self.text[: self.end])

    def learned_in(self, whole: str) -> list[Span]:
        """What its author marked behind the end, if anything, only where it is there."""
        return [(first, last if whole.startswith(self.text[:last]) else min(last, self.end))
                for first, last in self.spans]


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A template, a tokenizer and what is learned. Raises ConfigError for a template without an end of turn."""

    template: ChatTemplate
    tokenizer: Tokenizer
    loss: Loss = "answers"
    ending: EndOfTurn = field(init=False)  # how an answer ends, and where generation stops

    def __post_init__(self) -> None:
        object.__setattr__(self, "ending", end_of_turn(self.template, self.tokenizer))

    @cached_property
    def _roles(self) -> dict[tuple[str, bool], bool]:
        """(role, at the start) -> whether the template writes what it says."""
        return {}

    def encode(self, conversation: Conversation, *, learn_from: int = 0) -> list[Encoded]:
        """Usually one example; one for each answer where the template rewrites earlier turns.

        Answers before message number `learn_from` are not learned. Raises RefusedError.
        """
        try:
            self._check_roles(conversation)
            whole = self._render(conversation, len(conversation.messages))
            if self.loss == "all":
                ids = self.tokenizer.encode(whole, allow_special=True)
                return [Encoded(ids=ids, learned=[True] * len(ids), place=conversation.place)]
            answers = [self._answer(conversation, number, whole)
                       for number, message in enumerate(conversation.messages)
                       if message["role"] == "assistant" and number >= learn_from]
        except RefusedError:
            raise
        except DataError as error:
            raise RefusedError(conversation.place, str(error)) from None
        if all(answer.is_in(whole) for answer in answers):
            together = self._together(conversation.place, whole, answers)
            if together is not None:
                return [together]
        return [self._alone(conversation.place, answer) for answer in answers]

    def _render(self, conversation: Conversation, turns: int, *, prompt: bool = False) -> str:
        return self.template.render(conversation.messages[:turns], add_generation_prompt=prompt,
                                    tools=conversation.tools)

    def _check_roles(self, conversation: Conversation) -> None:
        """Some templates leave out, without a word, roles that they do not know. Raises RefusedError."""
        for number, message in enumerate(conversation.messages):
            role, first = message["role"], number == 0
            if role in ("user", "assistant"):
                continue
            if (role, first) not in self._roles:
                probe: list[Message] = [*conversation.messages]
                probe[number] = message | {"content": PROBE}
                self._roles[role, first] = PROBE in self.template.render(probe, tools=conversation.tools)
            if not self._roles[role, first]:
                raise RefusedError(conversation.place, f"the chat template leaves out what the role '{role}' says")

    def _answer(self, conversation: Conversation, number: int, whole: str) -> Answer:
        """Where answer `number` begins and ends. Raises RefusedError."""
        prompt = self._render(conversation, number, prompt=True)
        last = number + 1 == len(conversation.messages)
        text = whole if last else self._render(conversation, number + 1)
        if not text.startswith(prompt):
            raise RefusedError(conversation.place, (
                "the chat template asks in another way than it teaches: in the conversation, the answer does not come "
                f"after the prompt of generation, which ends with {prompt[common(text, prompt):][-40:]!r}"))
        begin = len(prompt)
        end = self.ending.find(text, begin)
        if end < 0:
            raise RefusedError(conversation.place, f"the chat template ends this answer without {self.ending.text!r}")
        if squeezed(conversation.messages[number]["content"]) not in squeezed(text[begin:end]):
            raise RefusedError(conversation.place, "the chat template leaves out a part of the assistant's answer")
        spans = self._marked(conversation, number, (begin, end)) if self.template.marks_answers else [(begin, end)]
        return Answer(text=text, begin=begin, end=end, spans=spans)

    def _marked(self, conversation: Conversation, number: int, answer: Span) -> list[Span]:
        """What the template's author marked of an answer, and its end of turn, whether that was marked or not."""
        begin, end = answer
        _, marked = self.template.render_marked(conversation.messages[: number + 1], tools=conversation.tools)
        spans = [(max(first, begin), last) for first, last in marked if last > begin]
        return [*spans, (end - len(self.ending.text), end)] if spans and spans[-1][1] < end else spans

    def _together(self, place: str, whole: str, answers: Sequence[Answer]) -> Encoded | None:
        """All answers in one text; None where the ids of a prompt are not the beginning of the ids."""
        ids, starts = self.tokenizer.encode_with_starts(whole)
        for answer in answers:
            prompt = self.tokenizer.encode(whole[: answer.begin], allow_special=True)
            if ids[: len(prompt)] != prompt:
                return None
        return Encoded(ids=ids, learned=inside(starts, [span for a in answers for span in a.learned_in(whole)]),
                       place=place)

    def _alone(self, place: str, answer: Answer) -> Encoded:
        """The conversation up to this answer, with this answer alone learned."""
        found = self._together(place, answer.text, [answer])
        if found is not None:
            return found
        tokenizer = self.tokenizer
        ids, starts = tokenizer.encode_with_starts(answer.text)
        prompt = tokenizer.encode(answer.text[: answer.begin], allow_special=True)
        rest, rest_starts = tokenizer.encode_with_starts(answer.text[answer.begin :])
        if spelled(tokenizer, prompt + rest) == spelled(tokenizer, ids):
            learned = inside([start + answer.begin for start in rest_starts], answer.spans)
            return Encoded(ids=prompt + rest, learned=[False] * len(prompt) + learned, place=place, apart=True)
        learned = inside(starts, answer.spans)  # a SentencePiece vocabulary puts a space before what stands alone
        learned[common(ids, prompt)] = True
        return Encoded(ids=ids, learned=learned, place=place, straddled=True)


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Length of the common beginning."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def squeezed(text: str) -> str:
    """Without blanks: templates trim what is said, and set line ends around thinking anew."""
    return "".join(text.split())


def inside(starts: Sequence[int], spans: Sequence[Span]) -> list[bool]:
    """Of every token, whether it begins inside a span."""
    learned, waiting = [], list(reversed(spans))
    for start in starts:
        while waiting and start >= waiting[-1][1]:
            waiting.pop()
        learned.append(bool(waiting) and start >= waiting[-1][0])
    return learned


def spelled(tokenizer: Tokenizer, ids: Sequence[int]) -> bytes:
    """The bytes of a text, special tokens with their names."""
    return b"".join(tokenizer.token_text(token).encode() if token in tokenizer.special_ids
                    else tokenizer.token_bytes(token) for token in ids)


@dataclass(frozen=True, kw_only=True)
class EncodedRows(Generic[E]):
    """What became of the rows of a file."""

    rows: int
    examples: list[E]
    refused: list[RefusedError]  # rows that the template cannot write
    parted: int = 0  # rows of which several examples were made


def encode_rows(rows: Iterable[R], encode: Callable[[R], list[E]]) -> EncodedRows[E]:
    """encode(row) of every row; a row that is refused is left out and counted with its reason."""
    examples: list[E] = []
    refused: list[RefusedError] = []
    count = parted = 0
    for row in rows:
        count += 1
        try:
            made = encode(row)
        except RefusedError as error:
            refused.append(error)
            continue
        parted += len(made) > 1
        examples += made
    return EncodedRows(rows=count, examples=examples, refused=refused, parted=parted)
