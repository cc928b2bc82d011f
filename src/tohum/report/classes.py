"""Figures of a classifier: counts and calibration bins -> SVG text in the page's colours, light and dark.

Colours are the style sheet's variables; where an SVG is opened by itself, the light ones stand in for them.
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

from tohum.report.read import Line
from tohum.report.scale import label as short

A, B = "var(--a, #1f6f4a)", "var(--b, #b5732c)"
INK, SOFT, FAINT = "var(--ink, #1e231f)", "var(--soft, #5d655f)", "var(--faint, #8b928c)"
CARD, LINE = "var(--card, #ffffff)", "var(--line, #e4e3da)"
SANS = "var(--sans, ui-sans-serif, system-ui, sans-serif)"
CHARACTER = 7.2  # width of a character of 13 px, on average
LONGEST_LABEL = 18  # characters
MOST_NUMBERED, MOST_SHARES = 20, 8  # classes up to which cells show counts, and shares beneath them
PLOT, LEFT, TOP, STRIP = 300, 46, 26, 46  # square of the reliability figure, room left of and above it, bars below


def confusion_figure(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Rows are the true classes, columns the predicted ones; a cell is as dark as its share of its row."""
    cell = 64 if len(labels) <= MOST_SHARES else 40 if len(labels) <= MOST_NUMBERED else 14
    names = [name if len(name) <= LONGEST_LABEL else name[:LONGEST_LABEL - 1] + "…" for name in labels]
    longest = max(map(len, names)) * CHARACTER
    turn = 0 if longest < cell - 6 else -45 if cell > 20 else -90  # of the names above the columns
    high, right = {0: (20.0, 8.0), -45: (longest * 0.72 + 12, longest * 0.72), -90: (longest + 10, 8.0)}[turn]
    left, top, size = longest + 34, 30 + high, cell * len(labels)
    parts = [text((left + size / 2, 14), "predicted", colour=FAINT),
             text((12, top + size / 2), "true", colour=FAINT, turn=-90)]
    for index, name in enumerate(names):
        middle = cell * (index + 0.5)
        font = 13 if cell > 20 else 11
        parts.append(text((left - 8, top + middle + 4.5), name, anchor="end", size=font))
        parts.append(text((left + middle + (4 if turn == -90 else 0), top - 8), name, turn=turn, size=font,
                          anchor="start" if turn else "middle"))
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            at = (left + cell * column, top + cell * row)
            parts.append(one_cell(at, cell, count, total=sum(counts), right=row == column, classes=len(labels),
                                  about=f"true {labels[row]}, predicted {labels[column]}"))
    return svg(parts, width=left + size + right, height=top + size + 4,
               about="Confusion matrix: true classes by predicted classes")


def one_cell(at: tuple[float, float], cell: int, count: int, *, total: int, right: bool, classes: int,
             about: str) -> str:
    """A square, its count and its share of the row of `total`."""
    share = count / total if total else 0.0
    x, y = at
    strong = share > 0.55
    colour = CARD if strong else INK if count else FAINT
    drawn = (f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2}" height="{cell - 2}" rx="3" fill="{LINE}" '
             f'fill-opacity="0.45"/>')
    drawn += (f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2}" height="{cell - 2}" rx="3" '
              f'fill="{A if right else B}" fill-opacity="{share**0.6:.3f}"/>')
    with_share = classes <= MOST_SHARES and count > 0
    if classes <= MOST_NUMBERED:
        middle = (x + cell / 2, y + cell / 2 + (-1 if with_share else 4.5))
        drawn += text(middle, short(count), colour=colour, bold=right)
    if with_share:
        drawn += text((x + cell / 2, y + cell / 2 + 15), f"{share:.1%}", colour=colour, size=11)
    return f"<g><title>{escape(about)}: {count:,} ({share:.1%} of the row)</title>{drawn}</g>"


def reliability_figure(bins: Sequence[Line]) -> Markup:
    """bins: low, high, rows, confidence and accuracy of each; "" without rows.

    Bars of accuracy; what the mean confidence promises above it in the second colour, what accuracy has above the
    confidence paler; the diagonal of a calibrated model; below it the rows of each bin.
    """
    rows = sum(part["rows"] for part in bins)
    if not rows:
        return Markup("")
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = LEFT + PLOT * tick, TOP + PLOT * (1 - tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{PLOT}" stroke="{LINE}" fill="none"/>')
        parts.append(text((LEFT - 8, y + 4), f"{tick:.0%}", colour=FAINT, anchor="end", size=12))
        parts.append(text((x, TOP + PLOT + STRIP + 24), f"{tick:.0%}", colour=FAINT, size=12))
    most = max(part["rows"] for part in bins)
    parts += [one_bin(part, most=most, share=part["rows"] / rows) for part in bins if part["rows"]]
    parts.append(f'<path d="M{LEFT} {TOP + PLOT}L{LEFT + PLOT} {TOP}" stroke="{SOFT}" stroke-dasharray="4 4" '
                 'fill="none"/>')
    parts.append(f'<path d="M{LEFT} {TOP + PLOT}h{PLOT}m0 {STRIP + 8}h-{PLOT}" stroke="{FAINT}" fill="none"/>')
    parts.append(text((LEFT + PLOT / 2, TOP + PLOT + STRIP + 44), "probability of the predicted class"))
    parts.append(text((LEFT, 14), "predictions that are right", anchor="start"))
    parts.append(text((LEFT + 4, TOP + PLOT + 18), "rows", anchor="start", size=12))
    return svg(parts, width=LEFT + PLOT + 20, height=TOP + PLOT + STRIP + 52,
               about="Reliability: right predictions by probability")


def one_bin(part: Line, *, most: int, share: float) -> str:
    """The bar of accuracy, the gap above or below it, and the bar of its rows."""
    x, width = LEFT + PLOT * part["low"] + 1, PLOT * (part["high"] - part["low"]) - 2
    low, high = sorted((part["accuracy"], part["confidence"]))
    over = part["confidence"] > part["accuracy"]
    tall = max(1.0, (STRIP - 4) * part["rows"] / most)

    def bar(top: float, height: float, *, colour: str, opacity: float) -> str:
        return (f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" '
                f'fill-opacity="{opacity}"/>')

    about = (f"{part['rows']:,} rows ({share:.1%}) at {part['low']:.0%} to {part['high']:.0%}: "
             f"mean probability {part['confidence']:.1%}, right {part['accuracy']:.1%}")
    return (f"<g><title>{about}</title>"
            + bar(TOP + PLOT * (1 - low), PLOT * low, colour=A, opacity=0.85)
            + bar(TOP + PLOT * (1 - high), PLOT * (high - low), colour=B if over else A, opacity=0.6 if over else 0.4)
            + bar(TOP + PLOT + STRIP + 8 - tall, tall, colour=FAINT, opacity=0.7) + "</g>")


def text(at: tuple[float, float], content: str, *, colour: str = SOFT, anchor: str = "middle", size: int = 13,
         turn: int = 0, bold: bool = False) -> str:
    """One line of text, turned about its place."""
    x, y = at
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"{turned}'
            f'{" font-weight=" + chr(34) + "600" + chr(34) if bold else ""}>{escape(content)}</text>')


def svg(parts: Sequence[str], *, width: float, height: float, about: str) -> Markup:
    """The drawing at its own size, narrower where the page is."""
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'role="img" aria-label="{escape(about)}" style="max-width: 100%; height: auto; font-family: {SANS}; '
        f'font-variant-numeric: tabular-nums">{"".join(parts)}</svg>')
