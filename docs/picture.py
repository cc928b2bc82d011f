"""The report of a run -> docs/images/report.png, the picture in the README; needs Chromium.

    python docs/picture.py runs/quickstart/run
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tohum.report.page import write_report

TARGET = Path(__file__).resolve().parent / "images" / "report.png"
WIDTH, HEIGHT = 1180, 1380  # pixels: header, baselines and the first curve


def picture(run: Path) -> None:
    """Open the page as a reader would and keep its upper part."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page_path = write_report(run, Path(folder).resolve() / "report.html")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_path.as_uri())
        page.screenshot(path=TARGET)
        browser.close()


if __name__ == "__main__":
    picture(Path(sys.argv[1]))
