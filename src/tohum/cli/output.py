"""What a verb prints: data on stdout, logs and progress on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any


def say(message: str) -> None:
    """A log line on stderr."""
    print(message, file=sys.stderr, flush=True)


def emit(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """The result of a verb: one JSON object with --json, else text for people."""
    print(json.dumps(result, ensure_ascii=False) if as_json else text, flush=True)
