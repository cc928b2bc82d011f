"""Templates: a name and values -> one HTML text with its style and script inside, everything else escaped."""

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tohum import __version__


def render(template: str, **values: Any) -> str:
    """Fill a template. Texts of a run (samples, names, prompts) are escaped; only our own files go in as they are."""
    own = {"style": Markup(part("style.css")), "script": Markup(part("script.js")), "version": __version__}
    return templates().get_template(template).render(**own, **values)


@cache
def templates() -> Environment:
    """Autoescaping, and an error for a name that no one filled in."""
    found = Environment(loader=PackageLoader("tohum.report", "templates"), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)
    found.filters["visible"] = visible
    return found


def visible(text: str) -> str:
    """Control characters as the signs that stand for them: models write them, and HTML cannot show them."""
    return "".join(chr(0x2400 + ord(c)) if c < " " and c not in "\n\t" else c for c in text)


def part(name: str) -> str:
    """A file beside the templates."""
    return resources.files("tohum.report").joinpath("templates", name).read_text("utf-8").strip()
