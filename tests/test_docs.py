"""What the docs show is true: commands run as shown, links lead somewhere, generated pages are up to date."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.finetuning_table import replaced, tables

from tohum.loading.folder import save_model
from tohum.model.init import initialise
from tohum.model.network import Network
from tohum.model.presets import from_depth
from tohum.tokenizing.training import train

ROOT = Path(__file__).resolve().parents[1]
READMES = (ROOT / "README.md", ROOT / "README.tr.md")
TUNING_PAGES = [ROOT / "docs" / name for name in ("08-lora.md", "09-classification.md", "10-instructions.md")]
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


def blocks(page: Path, kind: str) -> list[str]:
    return [body for found, body in FENCED.findall(page.read_text("utf-8")) if found == kind]


def python_blocks(page: Path) -> list[str]:
    return blocks(page, "python")


def environment() -> dict[str, str]:
    """With the commands of this Python."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                         "HF_HUB_OFFLINE": "1"}


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
    """In a folder that holds nothing but the README; about two minutes, half of it the pre-training."""
    shutil.copy(READMES[0], tmp_path)
    for line in commands(READMES[0]):
        if line.startswith("tohum "):
            done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True,
                                  timeout=240, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
            assert done.stdout.strip(), line
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    for code in python_blocks(READMES[0]):
        shown = code.replace("runs/quickstart/run/best", "runs/first/best")
        done = subprocess.run([sys.executable, "-c", shown], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                              env=environment())
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """A folder with a small model that knows nothing, where the pages expect the run of the front page."""
    folder = tmp_path_factory.mktemp("pages")
    words = train([page.read_text("utf-8") for page in PAGES], kind="bpe", vocab_size=1024)
    network = Network(from_depth(1, words.vocab_size, 256))
    initialise(network, torch.Generator().manual_seed(0))
    save_model(folder / "runs" / "first" / "best", network.config, network.state_dict(), words)
    return folder


@pytest.mark.slow
@pytest.mark.example
@pytest.mark.parametrize("page", TUNING_PAGES, ids=lambda page: page.name)
def test_commands_and_python_of_the_tuning_pages_run_in_their_order(page, first_run):
    """One folder for all pages, so that none writes over what another left; about a minute for each page."""
    shown = blocks(page, "sh")
    assert sum("tohum finetune" in block for block in shown) >= 1
    for block in shown:
        done = subprocess.run(["bash", "-e", "-c", block], cwd=first_run, env=environment(), capture_output=True,
                              text=True, timeout=240, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{block}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
    for code in python_blocks(page):
        done = subprocess.run([sys.executable, "-c", code], cwd=first_run, capture_output=True, text=True, timeout=120,
                              env=environment())
        assert done.returncode == 0, done.stderr[-2000:]


def test_the_tables_of_the_tuning_pages_hold_mean_and_range_over_the_seeds():
    runs = [{"name": "sms, LoRA", "accuracy": accuracy, "macro_f1": 0.9, "tfidf_baseline": {"accuracy": 0.97},
             "majority_baseline": 0.866, "expected_calibration_error": 0.01, "seconds": 90}
            for accuracy in (0.98, 0.99)]
    runs += [{"name": "preferences, DPO", "ended_fraction": 1.0,
              "gains": {"chrf": {"before": 20.0, "after": 31.5}, "token_f1": {"before": 0.3, "after": 0.45}},
              "general_rise": {"value": 0.012}, "before": {"preferred": 0.5}, "preferred": 0.75, "accuracy": 0.8, "seconds": 30}]
    found = tables(runs)
    assert found["classify"][2:] == ["| sms, LoRA, 2 seeds | 98.5 % (98.0 % to 99.0 %) | 0.900 | 97.0 % | 86.6 % | 0.010 "
                                     "| 1.5 min |"]
    assert found["answers"][2:] == ["| preferences, DPO, 1 seed | 0.300 → 0.450 | 20.0 → 31.5 | 100.0 % | +1.2% | 80.0 % | 50.0 % → 75.0 % "
                                    "| 0.5 min |"]
    page = TUNING_PAGES[1].read_text("utf-8")
    assert replaced(replaced(page, "classify", ["| old |"]), "classify", ["| new |"]) == replaced(
        page, "classify", ["| new |"])


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
