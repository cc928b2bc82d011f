"""The text that every Python carries: language topics, docstrings and the source of its standard library.

`python-docs` (about 2 MB of English): one document per topic and one per module, which holds the docstrings
of the module, its classes and its functions in the order of the file. `python-source` (about 12 MB): one
document per file. All is read in place from syntax trees; no module is imported, and tests are left out.
"""

import ast
import functools
import hashlib
import os
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tohum.documents.document import Document

LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test", "pydoc_data"}
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One documented thing: module ("os.path"), dotted name ("" for the module), signature, docstring."""

    module: str
    name: str
    signature: str
    docstring: str


def library_files() -> list[Path]:
    """The standard library's .py files, sorted, without tests and installed packages."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        found += [Path(folder, name) for name in sorted(names) if name.endswith(".py")]
    return found


def module_name(path: Path) -> str:
    """".../json/decoder.py" -> "json.decoder"."""
    parts = path.relative_to(sysconfig.get_paths()["stdlib"]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def topics() -> list[tuple[str, str]]:
    """(name, text) of the reference topics of `help()`, sorted by name; none where Python has none."""
    path = Path(sysconfig.get_paths()["stdlib"], "pydoc_data", "topics.py")
    if not path.is_file():
        return []
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return sorted(ast.literal_eval(node.value).items())
    return []


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Everything documented in the standard library, file by file, in the order of the source."""
    found: list[Entry] = []
    for path in library_files():
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # templates and tests of the compiler are not meant to parse
        module = module_name(path)
        if docstring := ast.get_docstring(tree):
            found.append(Entry(module=module, name="", signature="", docstring=docstring))
        found += definitions(tree.body, module, "")
    return tuple(found)


def definitions(body: list[ast.stmt], module: str, prefix: str) -> Iterator[Entry]:
    """Documented classes and functions of a block, with what is inside them."""
    for node in body:
        if isinstance(node, Definition):
            name = prefix + node.name
            if docstring := ast.get_docstring(node):
                yield Entry(module=module, name=name, signature=signature(node), docstring=docstring)
            yield from definitions(node.body, module, name + ".")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in (node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])):
                yield from definitions(part, module, prefix)
            for handler in getattr(node, "handlers", []):
                yield from definitions(handler.body, module, prefix)


def signature(node: Definition) -> str:
    """"join(a, *p)"; for a class its name and bases."""
    if isinstance(node, ast.ClassDef):
        return f"{node.name}({', '.join(map(ast.unparse, node.bases))})" if node.bases else node.name
    return f"{node.name}({ast.unparse(node.args)})"


@functools.cache
def docs() -> tuple[Document, ...]:
    """The corpus `python-docs`; a text that occurred before is left out."""
    by_text = {text.strip("\n") + "\n": name for name, text in reversed(topics())}  # "if" and "else" share one
    found = [Document(text, f"topic {name}") for text, name in reversed(by_text.items())]
    seen: set[str] = set()
    modules: dict[str, list[str]] = {}
    for entry in entries():
        if entry.docstring.strip() and entry.docstring not in seen:
            seen.add(entry.docstring)
            modules.setdefault(entry.module, []).append(entry.docstring.rstrip())
    return tuple(found + [Document("\n\n".join(texts) + "\n", name) for name, texts in modules.items()])


class PythonDocs:
    """The source `python-docs`."""

    name = "python-docs"

    def __init__(self) -> None:
        self.skipped: list[Path] = []

    @property
    def bytes(self) -> int:
        return sum(len(document.text.encode()) for document in docs())

    def documents(self) -> Iterator[Document]:
        """Topics by name, then modules by path."""
        yield from docs()

    def sha256(self) -> str:
        """Of the texts themselves: it changes with the Python version."""
        return digest_of(self.documents())


class PythonSource:
    """The source `python-source`."""

    name = "python-source"

    def __init__(self) -> None:
        self.skipped: list[Path] = []

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in library_files())

    def documents(self) -> Iterator[Document]:
        """Files by path, each once even if Python carries a copy of it under another name."""
        seen: set[bytes] = set()
        for path in library_files():
            try:
                with tokenize.open(path) as file:
                    text = file.read()
            except (SyntaxError, UnicodeDecodeError):
                continue  # deliberately broken examples
            key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            if text.strip() and key not in seen:
                seen.add(key)
                yield Document(text, f"{module_name(path)}")

    def sha256(self) -> str:
        """Of the texts themselves."""
        return digest_of(self.documents())


def digest_of(documents: Iterator[Document]) -> str:
    """SHA-256 over places and texts, lengths included so that no two streams collide."""
    digest = hashlib.sha256()
    for document in documents:
        text = document.text.encode()
        digest.update(f"{document.place}\n{len(text)}\n".encode() + text)
    return digest.hexdigest()
