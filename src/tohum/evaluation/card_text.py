"""Card text: a before/after card -> what the terminal shows."""

import io
from typing import Any

from tohum.evaluation.card import TOLERATED_RISE, Card

NAMES = {"exact_match": "exact match", "token_f1": "token F1", "chrf": "chrF"}
SHOWN_CHARACTERS = 70


def card_text(card: Card, *, width: int = 100) -> str:
    """A table, the warnings below it, and a few answers of both."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{Text(card.tuned)} against {Text(card.base)}", title_justify="left")
    for name in ("", "base", "tuned", "change", "95 % interval", ""):
        table.add_column(name, justify="left" if name == "" else "right")
    for row in rows(card):
        table.add_row(*map(Text, row))
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False, highlight=False, markup=False)
    console.print(table)
    console.print("\n".join([*warnings(card), *examples(card)]), soft_wrap=True)
    return out.getvalue().rstrip()


def rows(card: Card) -> list[tuple[str, ...]]:
    """One for each score, then the general text."""
    found: list[tuple[str, ...]] = []
    for name, gain in card.gains.items():
        digits = 1 if name == "chrf" else 3
        change = gain.difference
        found.append((NAMES[name], f"{gain.before:.{digits}f}", f"{gain.after:.{digits}f}",
                      f"{change.value:+.{digits}f}", f"{change.low:+.{digits}f} to {change.high:+.{digits}f}",
                      gain.verdict))
    if card.general is not None:
        old, new, rise = card.general.before, card.general.after, card.general.rise
        found.append(("bits per byte on general text", f"{old.bits_per_byte:.4f}", f"{new.bits_per_byte:.4f}",
                      f"{rise.value:+.1%}", f"{rise.low:+.1%} to {rise.high:+.1%}",
                      "FORGETTING" if card.forgetting else "kept"))
        found.append(("loss on general text", f"{old.loss:.4f}", f"{new.loss:.4f}", f"{new.loss - old.loss:+.4f}",
                      "", ""))
    return found


def warnings(card: Card) -> list[str]:
    """What a person must know, and what was measured."""
    found = []
    if card.nothing_changed:
        found.append(f"NOTHING CHANGED: {card.nothing_changed}")
    if card.forgetting:
        found.append(f"FORGETTING: bits per byte on general text rose by more than {TOLERATED_RISE:.0%} and by more "
                     "than chance; a lower rate, fewer steps or some general text among the examples help")
    if card.identical_fraction is not None:
        found.append(f"{card.questions:,} questions, {card.identical_fraction:.0%} answered alike")
    if card.general is not None:
        found.append(f"general text: {card.general.text}, {card.general.after.bytes:,} bytes")
    return found


def examples(card: Card) -> list[str]:
    """Where the answers differ most."""
    lines = []
    for example in card.examples:
        lines += ["", f"  asked     {short(example.prompt)}", f"  expected  {short(example.expected)}",
                  f"  base      {short(example.before)}", f"  tuned     {short(example.after)}"]
    return lines


def short(value: Any) -> str:
    """One line of bounded length; of a conversation its last message."""
    text = value[-1]["content"] if isinstance(value, list) else value
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:SHOWN_CHARACTERS]
