"""Docstrings of the standard library -> a labelled set and an instruction set, the same on every run of one Python.

Labelled: the opening of a docstring -> the package that it documents, for the eight packages with most docstrings;
words that hold the name of any of them are masked. Instructions: "What does `os.path.join` do?" -> signature and
first paragraph, what it is called with, and in which module a name is found.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tohum.documents.python_library import Entry, entries

PACKAGES = 8
MASK = "___"
FEWEST_WORDS = 5  # of a labelled docstring: "See above." tells nothing
MOST_CHARACTERS = 500  # of an opening
PUBLIC_NAMES = {"posixpath": "os.path", "_pydecimal": "decimal", "_pydatetime": "datetime", "_pyio": "io",
                "_collections_abc": "collections.abc"}  # where the text of a public module stands elsewhere
NOT_ASKED = {"idlelib", "lib2to3", "distutils", "ntpath"}  # tools and doubles, not what people import
LONGEST_SIGNATURE = 200
DOES = ("What does `{}` do?", "Explain `{}`.", "Describe what `{}` is for.", "What is `{}`?")
TAKES = ("What is the signature of `{}`?", "Which arguments does `{}` take?", "How is `{}` called?")
FOUND_IN = ("In which module is `{}`?", "Where do I import `{}` from?", "Which module defines `{}`?")


def labelled_docs() -> list[tuple[str, str]]:
    """(text, package) in the order of the library; a text that two packages share is left out."""
    folders = {entry.module.partition(".")[0] for entry in entries() if "." in entry.module}
    texts: dict[str, set[str]] = {}
    for entry in entries():
        package, text = entry.module.partition(".")[0], opening(entry.docstring, MOST_CHARACTERS)
        if len(text.split()) >= FEWEST_WORDS:
            texts.setdefault(text, set()).add(package)
    own = [(text, min(packages)) for text, packages in texts.items() if len(packages) == 1]
    sizes = Counter(package for _, package in own if package in folders)
    chosen = sorted(sizes, key=lambda package: (-sizes[package], package))[:PACKAGES]
    named = re.compile("|".join(rf"\w*{re.escape(package)}\w*" if len(package) > 3 else rf"\b{re.escape(package)}\b"
                                for package in chosen), re.IGNORECASE)
    masked: dict[str, set[str]] = {}
    for text, package in own:
        if package in chosen:
            masked.setdefault(named.sub(MASK, text), set()).add(package)
    return [(text, min(packages)) for text, packages in masked.items() if len(packages) == 1]


def instruction_docs() -> list[tuple[str, str]]:
    """(instruction, output) in the order of the library; every instruction once."""
    asked: dict[str, str] = {}
    public = [(public_module(entry), entry) for entry in entries() if is_public(entry)]
    homes: dict[str, set[str]] = {}
    for module, entry in public:
        homes.setdefault(entry.name, set()).add(module)
    for module, entry in public:
        for instruction, output in questions(module, entry, alone=len(homes[entry.name]) == 1):
            asked.setdefault(instruction, output)
    return list(asked.items())


def questions(module: str, entry: Entry, *, alone: bool) -> Iterator[tuple[str, str]]:
    """What can be asked about one entry; `alone`: no other module has its name."""
    name = f"{module}.{entry.name}"
    call = without_self(entry.signature)
    about = " ".join(opening(entry.docstring, MOST_CHARACTERS).split("\n\n")[0].split())
    if len(about.split()) >= 3 and len(call) <= LONGEST_SIGNATURE:
        yield choose(DOES, name).format(name), f"`{call}`\n\n{about}"
    if "(" in call and len(call) <= LONGEST_SIGNATURE and entry.name[:1].islower():
        yield choose(TAKES, name).format(name), f"`{call}`"
    if alone and "." not in entry.name:
        yield choose(FOUND_IN, name).format(entry.name), f"`{entry.name}` is in the module `{module}`."


def is_public(entry: Entry) -> bool:
    """A class or function that people import and call by name."""
    parts = (*public_module(entry).split("."), *entry.name.split("."))
    return bool(entry.name) and parts[0] not in NOT_ASKED and not any(part.startswith("_") for part in parts)


def public_module(entry: Entry) -> str:
    return PUBLIC_NAMES.get(entry.module, entry.module)


def without_self(signature: str) -> str:
    """"join(self, a, /)" -> "join(a, /)"."""
    return re.sub(r"\((self|cls)(, /)?(, |(?=\)))", "(", signature, count=1)


def choose(phrasings: Sequence[str], name: str) -> str:
    """One of some phrasings, by a hash of the name."""
    return phrasings[hashlib.sha256(name.encode()).digest()[0] % len(phrasings)]


def opening(docstring: str, most: int) -> str:
    """The first paragraphs that fit into `most` characters; a longer first one is cut after a word."""
    text = docstring.strip()
    if len(text) <= most:
        return text
    end = text.rfind("\n\n", 0, most + 2)
    return (text[:end] if end > 0 else text[:most].rsplit(maxsplit=1)[0]).rstrip()
