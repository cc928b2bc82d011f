"""The page in a real browser, without any network: no error, and what moves does move."""

import shutil

import pytest

from tests.report.runs import write_run
from tests.report.tuned_runs import write_tuned
from tohum.report.compare import write_comparison
from tohum.report.page import write_report

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium on this machine: the page is not opened in a browser")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Opens a file; every request but the file itself is refused and noted, as are all errors."""
    contexts, problems = [], []

    def opened(path, **settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))

        def refuse(route):
            if route.request.url == path.as_uri():
                route.continue_()
            else:
                problems.append(route.request.url)
                route.abort()

        page.route("**/*", refuse)
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems, problems


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(write_run(tmp_path_factory.mktemp("browser") / "first", steps=300))


def test_hover_reads_the_values_at_the_pointer(open_page, report):
    page = open_page(report)
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    assert plot.locator(".readout").is_visible()
    words = plot.locator(".readout").inner_text()
    assert "614k tokens" in words
    assert "training" in words
    assert "validation" in words
    page.mouse.move(5, 5)
    assert not plot.locator(".readout").is_visible()


def test_switch_shows_time_instead_of_tokens(open_page, report):
    page = open_page(report)
    assert page.locator("svg.tokens").first.is_visible()
    page.get_by_text("over time").click()
    assert page.locator("svg.seconds").first.is_visible()
    assert not page.locator("svg.tokens").first.is_visible()
    plot = page.locator(".plot").first
    plot.hover()
    assert " s" in plot.locator(".readout").inner_text()


def test_slider_goes_through_the_moments_of_the_samples(open_page, report):
    page = open_page(report)
    assert page.locator(".moment:visible").count() == 1
    assert "step 300" in page.locator(".steer output").inner_text()
    page.locator(".steer input").fill("0")
    assert "step 60" in page.locator(".steer output").inner_text()
    assert page.locator(".moment:visible .card").count() == 3


def test_page_is_complete_without_scripts(open_page, report):
    page = open_page(report, java_script_enabled=False)
    assert page.locator("svg.tokens").first.is_visible()
    assert page.locator(".moment:visible").count() == 5
    page.get_by_text("over time").click()
    assert page.locator("svg.seconds").first.is_visible()


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_screen(open_page, report, width, scheme):
    page = open_page(report, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 22, 20)"
    assert dark == (scheme == "dark")


def test_comparison_works_too(open_page, tmp_path):
    a, b = write_run(tmp_path / "a", steps=100), write_run(tmp_path / "b", steps=80, seed=2)
    page = open_page(write_comparison(a, b))
    page.locator(".plot").first.hover()
    words = page.locator(".plot").first.locator(".readout").inner_text()
    assert "A a" in words
    assert "B b" in words


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("kind", ["classify", "instruct", "prefer"])
def test_pages_of_fine_tuning_fit_the_screen(open_page, tmp_path, kind, width):
    run = write_tuned(tmp_path / "tuned", kind)
    size = {"width": width, "height": 800}
    for path in (write_report(run), write_comparison(run, run, tmp_path / "both.html")):
        page = open_page(path, viewport=size, color_scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_curves_of_fine_tuning_count_what_was_learned(open_page, tmp_path):
    page = open_page(write_report(write_tuned(tmp_path / "tuned", "classify")))
    page.locator(".plot").first.hover()
    words = page.locator(".plot").first.locator(".readout").inner_text()
    assert "texts" in words
    assert "validation" in words
    assert page.locator(".flag:visible").inner_text() == "best: step 15"
    page.get_by_text("over time").click()
    assert page.locator(".flag:visible").count() == 1


def test_answers_unfold_and_canaries_follow_the_slider(open_page, tmp_path):
    page = open_page(write_report(write_tuned(tmp_path / "tuned", "instruct")))
    assert page.locator(".answer:visible").count() == 20
    page.get_by_text("5 more").click()
    assert page.locator(".answer:visible").count() == 25
    assert "At 20 it sings." in page.locator(".moment:visible").inner_text()
    page.locator(".steer input").fill("0")
    assert "At 10 it sings." in page.locator(".moment:visible").inner_text()
