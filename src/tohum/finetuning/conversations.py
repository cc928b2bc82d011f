"""Turns as they stand in a row of a file, in OpenAI's or ShareGPT's form -> a conversation of messages."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tohum.documents.records import json_kind
from tohum.errors import DataError
from tohum.finetuning.rows import Row

Message = dict[str, Any]  # "role" and "content"; "tool_calls"; of an Alpaca row "instruction" and "input" too
Messages = tuple[Message, ...]
T = TypeVar("T")

ROLES = {"system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
         "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "tool": "tool",
         "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
         "function_call": "assistant", "tool_call": "assistant"}
CALLS = ("function_call", "tool_call")  # ShareGPT: what the assistant says is a call in JSON
CONVERSATION_KEYS = ("messages", "conversations", "conversation")
MOST_LINES_NAMED = 8


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row: its messages, where it stands ("file:line"), and the functions that the assistant may call."""

    messages: Messages
    place: str
    tools: tuple[Mapping[str, Any], ...] | None = None


def turns(value: Any, where: str) -> Messages:
    """A list of turns -> messages. `where` names file, line and key. Raises DataError."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # in CSV a list is a text
        value = json_in(value, where)
    if not isinstance(value, list | tuple):
        raise DataError(f"{where} is a {json_kind(value)}; expected a list of turns, each with role and content")
    return tuple(turn(item, f"{where}, turn {number}") for number, item in enumerate(value, 1))


def turn(item: Any, where: str) -> Message:
    """{"role", "content"} or {"from", "value"} -> a message."""
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: a {json_kind(item)}; expected an object with role and content")
    names = ("from", "value") if "from" in item else ("role", "content")
    role = item.get(names[0])
    if not isinstance(role, str) or role.lower() not in ROLES:
        seen = f"{names[0]} is {json.dumps(role, ensure_ascii=False)}" if names[0] in item else (
            f"no key '{names[0]}' among {', '.join(map(str, item)) or 'none'}")
        raise DataError(f"{where}: {seen}; known roles are {', '.join(ROLES)}")
    role = role.lower()
    content = item.get(names[1])
    if role in CALLS and content:
        return {"role": "assistant", "content": "", "tool_calls": calls_in(content, where)}
    message: Message = {"role": ROLES[role], "content": content_text(content, f"{where}: {names[1]}")}
    if item.get("tool_calls"):
        message["tool_calls"] = [tool_call(call, where) for call in listed(item["tool_calls"], where, "tool_calls")]
    return message | {key: item[key] for key in ("name", "tool_call_id") if item.get(key) is not None}


def content_text(content: Any, where: str) -> str:
    """A text, or OpenAI's list of parts of which all are texts; nothing is an empty text."""
    if content is None:
        return ""
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
                kind = part.get("type") if isinstance(part, Mapping) else json_kind(part)
                raise DataError(f"{where} has a part of the type {kind}; only texts can be learned here")
        return "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise DataError(f"{where} is a {json_kind(content)}; expected a text")
    return content


def json_in(text: str, where: str) -> Any:
    """The value that a text spells. Raises DataError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error.msg} at character {error.pos}: {text[:60]}") from None


def listed(value: Any, where: str, key: str) -> list[Any]:
    """A list, or the list that a text spells in JSON; one object stands for a list of it."""
    found = json_in(value, f"{where}: {key}") if isinstance(value, str) else value
    return list(found) if isinstance(found, list | tuple) else [found]


def calls_in(content: Any, where: str) -> list[dict[str, Any]]:
    """ShareGPT's function_call: one call or several, in JSON."""
    return [tool_call(call, where) for call in listed(content, where, "function_call")]


def tool_call(call: Any, where: str) -> dict[str, Any]:
    """OpenAI's form, with the arguments as an object, as templates expect them."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"{where}: a call of a function without its name; expected name and arguments")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str) and arguments.strip():
        arguments = json_in(arguments, f"{where}: arguments of {function['name']}")
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return identity | {"type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}


def tools_of(row: Row, where: str) -> tuple[Mapping[str, Any], ...] | None:
    """The functions of the key "tools", a list or its JSON, each as {"type": "function", "function": …}."""
    value = row.get("tools")
    if value in (None, "", "[]"):
        return None
    found = []
    for tool in listed(value, where, "tools"):
        if not isinstance(tool, Mapping):
            raise DataError(f"{where}: 'tools' holds a {json_kind(tool)}; expected objects that describe functions")
        found.append(tool if "function" in tool else {"type": "function", "function": tool})
    return tuple(found) or None


def check_answered(messages: Sequence[Message], where: str) -> None:
    """There is an answer, none is empty, and one is the last. Raises DataError. `where` names file, line and key."""
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        raise DataError(f"{where} has no assistant turn ({', '.join(roles) or 'no turns'}); nothing could be learned")
    for number, message in enumerate(messages, 1):
        if message["role"] == "assistant" and not message["content"].strip() and not message.get("tool_calls"):
            raise DataError(f"{where}, turn {number}: the assistant's answer is empty; remove the row or fill it")
    if roles[-1] != "assistant":
        raise DataError(f"{where} ends with a turn of the {roles[-1]}; expected the assistant's: "
                        "what comes after the last answer teaches nothing")


def each_row(rows: Sequence[tuple[str, Row]], make: Callable[[Row, str], T]) -> list[T]:
    """make(row, place) of every row. One DataError for all rows that have problems: the first, and where others are."""
    made, problems = [], []
    for place, row in rows:
        try:
            made.append(make(row, place))
        except DataError as error:
            problems.append((place, str(error)))
    if problems:
        others = [place.rpartition(":")[2] for place, _ in problems[1:]]
        more = f" and {len(others) - MOST_LINES_NAMED:,} more" if len(others) > MOST_LINES_NAMED else ""
        rest = f"\n{len(others):,} more of {len(rows):,} rows have problems: lines " if others else ""
        raise DataError(problems[0][1] + rest + ", ".join(others[:MOST_LINES_NAMED]) + more)
    return made
