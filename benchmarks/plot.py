"""Points -> a picture (SVG) with panels side by side, both axes logarithmic; readable in light and dark pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN, TOP, BOTTOM = 380, 260, 58, 34, 44  # of a panel
COLOURS = ("#2f6fb0", "#c26a1a")
HEAD = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">\n<rect width="100%" height="100%" fill="#ffffff"/>\n')


@dataclass(frozen=True)
class Panel:
    """A line of a panel: its name and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def write_plot(path: Path, x_name: str, panels: Sequence[Sequence[Panel]]) -> None:
    """One panel for each list of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = "".join(panel(number * WIDTH, x_name, lines) for number, lines in enumerate(panels))
    path.write_text(HEAD.format(width=WIDTH * len(panels), height=HEIGHT) + drawn + "</svg>\n", "utf-8")


def panel(left: float, x_name: str, lines: Sequence[Panel]) -> str:
    """Axes, lines, points, names."""
    xs = [math.log10(value) for line in lines for value in line.x]
    ys = [math.log10(value) for line in lines for value in line.y]
    low, high = min(ys) - 0.05, max(ys) + 0.05
    if high - low < 0.4:  # a flat line is to look flat
        low, high = (low + high) / 2 - 0.2, (low + high) / 2 + 0.2

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - min(xs)) / (max(xs) - min(xs))
        up = (math.log10(y) - low) / (high - low)
        return left + MARGIN + across * (WIDTH - MARGIN - 16), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [text(left + MARGIN + (WIDTH - MARGIN) / 2, HEIGHT - 8, x_name, "middle")]
    for value in sorted({value for line in lines for value in line.x}):
        parts.append(text(place(value, 10**low)[0], HEIGHT - BOTTOM + 16, f"{value:g}", "middle"))
    for value in marks(10**low, 10**high):
        y = place(lines[0].x[0], value)[1]
        parts.append(f'<path d="M{left + MARGIN:.1f} {y:.1f}H{left + WIDTH - 16:.1f}" stroke="#dddddd"/>\n')
        parts.append(text(left + MARGIN - 6, y + 4, f"{value:,g}", "end"))
    for number, line in enumerate(lines):
        points = [place(x, y) for x, y in zip(line.x, line.y, strict=True)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>\n')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[number]}"/>\n' for x, y in points]
        parts.append(text(left + MARGIN + number * 150, 18, line.name, "start", COLOURS[number]))
    return "".join(parts)


def marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in between; more where that gives fewer than two."""
    found: list[float] = []
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [float(f"{digit * 10.0**power:g}") for power in range(-6, 9) for digit in digits
                 if low <= digit * 10.0**power <= high]
        if len(found) >= 2:
            break
    return found


def text(x: float, y: float, words: str, anchor: str, colour: str = "#444444") -> str:
    """A line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>\n'
