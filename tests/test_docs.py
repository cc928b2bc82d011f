"""What the docs show is true: commands run as shown, links lead somewhere, generated pages are up to date."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READMES = (ROOT / "README.md", ROOT / "README.tr.md")
PAGES = [*READMES, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TRACKED = ("src", "tests", "docs", "examples", "benchmarks", "configs", "constraints", ".ci", ".github")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def commands(page: Path) -> list[str]:
    """`tohum …`, `make …` and `python …` of the page in their order: lines of bash blocks, and whole code spans.

    A command with a placeholder in capitals, such as `tohum verify-resume RUN`, is a mention, not a command.
    """
    text = page.read_text("utf-8")
    found = []
    for block in re.finditer(r"^```bash\n(.*?)^```|`((?:tohum|make|python) [^`\n]+)`", text, re.M | re.S):
        found += block[1].splitlines() if block[1] else [block[2]]
    plain = [line.split("  #")[0].strip() for line in found]
    return [line for line in dict.fromkeys(plain)
            if re.match(r"(tohum|make|python) ", line) and not re.search(r" [A-Z]{3,}\b(?!\.)", line)]


def python_blocks(page: Path) -> list[str]:
    return [body for kind, body in FENCED.findall(page.read_text("utf-8")) if kind == "python"]


def test_both_readmes_show_the_same_commands_and_code():
    english, turkish = map(commands, READMES)
    assert english == turkish
    assert python_blocks(READMES[0]) == python_blocks(READMES[1])
    assert len([line for line in english if line.startswith("tohum ")]) >= 10


@pytest.mark.parametrize("line", [line for line in commands(READMES[0]) if line.startswith("make ")])
def test_make_commands_of_the_readme_are_targets(line):
    done = subprocess.run(["make", "--dry-run", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pytest" in done.stdout or "tohum quickstart" in done.stdout


@pytest.mark.parametrize("line", [line for line in commands(READMES[0]) if line.startswith("python ")])
def test_example_commands_of_the_readme_name_examples(line):
    assert (ROOT / line.split()[1]).is_file()


@pytest.mark.slow
@pytest.mark.example
def test_commands_of_the_readme_run_in_their_order(tmp_path):
    """In a folder that holds nothing but the README; about a minute and a half, most of it the pre-training."""
    shutil.copy(READMES[0], tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in commands(READMES[0]):
        if line.startswith("tohum "):
            done = subprocess.run(line, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True,
                                  text=True, timeout=240, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
            assert done.stdout.strip(), line
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    for code in python_blocks(READMES[0]):
        shown = code.replace("runs/quickstart/run/best", "runs/first/best")
        done = subprocess.run([sys.executable, "-c", shown], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                              env=os.environ | {"HF_HUB_OFFLINE": "1"})
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text("utf-8")) if not re.match(r"[a-z]+:", link)]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_every_page_and_example_is_in_the_table_of_contents():
    text = (ROOT / "docs" / "README.md").read_text("utf-8")
    names = [path.name for folder, kind in (("docs", "*.md"), ("examples", "*.py"))
             for path in sorted((ROOT / folder).glob(kind)) if path.name != "README.md"]
    assert not [name for name in names if name not in text]


def test_generated_pages_are_up_to_date(tmp_path):
    subprocess.run([sys.executable, ROOT / "docs" / "generate.py", tmp_path], check=True, capture_output=True)
    for name in ("cli.md", "recipes.md"):
        written = (ROOT / "docs" / name).read_text("utf-8")
        assert (tmp_path / name).read_text("utf-8") == written, "run 'make docs'"


def test_nothing_names_a_folder_of_somebodys_machine():
    place = re.compile(r"(?<![\w.])/(?:work|root|Users/\w+|home/\w+)/")
    found = []
    for path in [ROOT / "Makefile", ROOT / "pyproject.toml", *READMES, *(p for f in TRACKED for p in (ROOT / f).rglob("*"))]:
        if path.is_file() and path.suffix not in (".png", ".pyc") and path != Path(__file__):
            lines = path.read_text("utf-8", errors="replace").splitlines()
            found += [f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, 1) if place.search(line)]
    assert not found, found
