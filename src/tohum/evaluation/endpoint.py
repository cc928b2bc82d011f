"""Endpoint: messages -> the reply of a server that speaks OpenAI's chat completions (Ollama, vLLM, llama.cpp, …).

Together with loading/hub.py the only part of the package that uses the network, and only for a URL that a user gives.
One call is one request; who calls decides what to ask again, by the kind of the error:

    Trouble     a time-out, a dropped connection, 429 or 5xx: the same request may do better later
    Unreachable Trouble before anything was heard: no such host, nobody listens there
    Refused     this request will not do better (a prompt too long); another one may
    ConfigError no request will (a wrong key or URL)
"""

import email.utils
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tohum.errors import ConfigError

LARGEST_REPLY_BYTES = 4_000_000
SHOWN_CHARACTERS = 160  # of what a server says
BUSY = (408, 409, 425, 429)  # and everything from 500 up
LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


class Trouble(Exception):
    """Worth another try, after `wait_seconds` if the server said so."""

    def __init__(self, message: str, wait_seconds: float | None = None):
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Unreachable(Trouble):
    """No connection came about."""


class Refused(Exception):
    """Not worth another try."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and whom to ask. The key is in no message and in no repr."""

    url: str  # of the chat completions (see chat_url)
    model: str
    timeout_seconds: float
    api_key: str | None = field(default=None, repr=False)

    @cached_property
    def opener(self) -> urllib.request.OpenerDirector:
        """Proxies of the environment are honoured, but for this machine itself.

        Redirects are not followed: one would carry the key to another host and turn the POST into a GET.
        """
        here = LOOPBACK.fullmatch(urlsplit(self.url).hostname or "")
        found = urllib.request.OpenerDirector()
        for handler in (urllib.request.ProxyHandler({} if here else None), urllib.request.HTTPHandler(),
                        urllib.request.HTTPSHandler(), urllib.request.HTTPErrorProcessor(),
                        urllib.request.HTTPDefaultErrorHandler()):
            found.add_handler(handler)
        return found


def chat_url(url: str) -> str:
    """What a user gives -> the URL to post to: HOST, HOST/v1 and HOST/v1/chat/completions all do.

    Raises ConfigError for anything that is no http or https URL of plain characters without a password.
    """
    expected = "expected one like http://localhost:11434/v1 (Ollama) or https://api.example.com/v1"
    shown = re.sub(r"//[^/@]*@", "//***@", url)[:SHOWN_CHARACTERS]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port that is no number raises ValueError
    except ValueError:
        raise ConfigError(f"--endpoint {shown}: not a URL; {expected}") from None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", url):
        raise ConfigError(f"--endpoint {shown}: not an http or https URL; {expected}")
    if "@" in parts.netloc:
        raise ConfigError(f"--endpoint {shown}: holds a user or password; name the environment variable that holds the "
                          "key with --api-key-env")
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = (path or "/v1") + "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def key_from(variable: str | None) -> str | None:
    """The API key in an environment variable. Raises ConfigError, without the key, where it is none."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[!-~]+", key):
        state = "holds characters that no key has" if key else "is not set"
        raise ConfigError(f"--api-key-env {variable}: that environment variable {state}; expected the API key in it")
    return key


def ask(endpoint: Endpoint, messages: Sequence[Mapping[str, str]], *, options: Mapping[str, Any]) -> str:
    """The text of the reply; options: further keys of the request. Raises Trouble, Refused, ConfigError."""
    body = json.dumps({"model": endpoint.model, "messages": list(messages), "stream": False, **options})
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tohum"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    request = urllib.request.Request(endpoint.url, data=body.encode(), headers=headers, method="POST")
    deadline = time.monotonic() + endpoint.timeout_seconds
    try:
        with endpoint.opener.open(request, timeout=endpoint.timeout_seconds) as response:
            return reply_text(endpoint, read(response, deadline))
    except urllib.error.HTTPError as error:
        with error:
            raise refusal(endpoint, error, deadline) from None
    except urllib.error.URLError as error:
        raise unconnected(endpoint, error.reason) from None
    except TimeoutError:
        raise Trouble(f"no reply within {endpoint.timeout_seconds:g} s") from None
    except (http.client.HTTPException, OSError) as error:
        raise Trouble(f"the connection broke ({type(error).__name__})") from None


def read(response: Any, deadline: float) -> bytes:
    """The body, given up at the deadline even if bytes keep trickling in, and where it is too large."""
    found = bytearray()
    while piece := response.read1(65536):
        found += piece
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(found) > LARGEST_REPLY_BYTES:
            raise Refused(f"the reply has more than {LARGEST_REPLY_BYTES:,} bytes")
    return bytes(found)


def reply_text(endpoint: Endpoint, body: bytes) -> str:
    """The content of the first choice; "" where it has none."""
    try:
        content = json.loads(body)["choices"][0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Refused(f"{endpoint.url} answers, but not with a chat completion: {said(endpoint, body)}") from None
    if isinstance(content, list):  # parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def said(endpoint: Endpoint, body: bytes) -> str:
    """What a server said about an error, short and without the key."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(body)
        error = found.get("error", found.get("message", found.get("detail"))) if isinstance(found, dict) else None
        text = str(error.get("message", error) if isinstance(error, dict) else error or text)
    except (ValueError, RecursionError):
        pass
    if endpoint.api_key:
        text = text.replace(endpoint.api_key, "***")
    return " ".join(text.split())[:SHOWN_CHARACTERS] or "nothing"


def refusal(endpoint: Endpoint, error: urllib.error.HTTPError, deadline: float) -> Exception:
    """The exception for a status that is no success."""
    try:
        text = said(endpoint, read(error, deadline))
    except (Refused, OSError, http.client.HTTPException):
        text = "nothing"
    status = f"{error.code} {error.reason}".strip()
    if error.code in BUSY or error.code >= 500:
        return Trouble(f"{status}: {text}", wait_asked_for(error.headers.get("Retry-After")))
    if error.code in (401, 403):
        hint = "the key was not accepted" if endpoint.api_key else "name the environment variable that holds the key " \
            "with --api-key-env"
        return ConfigError(f"{endpoint.url}: {status}: {text}\n{hint}")
    if error.code in (404, 405) or error.code < 400:
        moved = f", which has moved to {error.headers.get('Location')}" if error.code < 400 else ""
        return ConfigError(f"{endpoint.url}{moved}: {status}: {text}\nlook at --endpoint (it ends before "
                           f"/chat/completions) and at --model {endpoint.model}")
    return Refused(f"{status}: {text}")


def wait_asked_for(value: str | None) -> float | None:
    """Retry-After -> seconds: a number, or a date."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def unconnected(endpoint: Endpoint, reason: object) -> Exception:
    """The exception for a connection that did not come about, or broke while the request was sent."""
    if isinstance(reason, TimeoutError):
        return Trouble(f"no reply within {endpoint.timeout_seconds:g} s")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ConfigError(f"{endpoint.url}: its certificate cannot be verified: {reason.verify_message}")
    if isinstance(reason, ConnectionResetError | BrokenPipeError):
        return Trouble(f"the connection broke ({type(reason).__name__})")
    shown = getattr(reason, "strerror", None) or str(reason)
    return Unreachable(f"{endpoint.url} cannot be reached: {shown}")
