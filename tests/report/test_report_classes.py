"""report: the figures of a classifier are well-formed SVG that holds every number and escapes every label."""

import xml.etree.ElementTree as ElementTree

from tohum.report.classes import confusion_figure, reliability_figure

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure: str, tag: str = "text") -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(figure).iter(SVG + tag)]


def bins(*rows: int) -> list[dict]:
    return [{"low": n / len(rows), "high": (n + 1) / len(rows), "rows": count, "confidence": (n + 0.5) / len(rows),
             "accuracy": n / len(rows)} for n, count in enumerate(rows)]


def test_confusion_figure_shows_counts_and_shares_of_rows():
    figure = confusion_figure(("ham", "spam"), [[956, 9], [6, 144]])
    assert {"ham", "spam", "956", "9", "6", "144", "99.1%", "4.0%", "predicted", "true"} <= set(texts(figure))
    assert "true spam, predicted ham: 6 (4.0% of the row)" in texts(figure, "title")
    assert "var(--a, #1f6f4a)" in figure


def test_confusion_figure_of_many_classes_keeps_its_numbers_in_titles():
    labels = [f"class {n}" for n in range(30)]
    figure = confusion_figure(labels, [[n == m for n in range(30)] for m in range(30)])
    assert len(texts(figure, "title")) == 900
    assert texts(figure).count("class 29") == 2
    assert "1" not in texts(figure)


def test_labels_are_escaped_and_long_ones_cut():
    figure = confusion_figure(("<b>&", "a label that is far too long to show"), [[1, 0], [0, 0]])
    assert "<b>" not in figure
    assert {"<b>&", "a label that is f…"} <= set(texts(figure))
    assert "true a label that is far too long to show, predicted <b>&: 0 (0.0% of the row)" in texts(figure, "title")


def test_figures_go_into_a_template_unescaped():
    assert confusion_figure(("a", "b"), [[1, 0], [0, 1]]).__html__().startswith("<svg")


def test_reliability_figure_shows_the_bins_that_have_rows():
    figure = reliability_figure(bins(0, 10, 0, 30))
    titles = texts(figure, "title")
    assert len(titles) == 2
    assert titles[1] == "30 rows (75.0%) at 75% to 100%: mean probability 87.5%, right 75.0%"
    assert {"0%", "100%", "predictions that are right", "rows"} <= set(texts(figure))


def test_reliability_figure_without_rows_is_empty():
    assert reliability_figure(bins(0, 0)) == ""
