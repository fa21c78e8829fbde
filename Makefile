# Two commands for a newcomer: `make demo` and `make test`. Each sets up .venv first if needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check pytest setup format tables clean

demo: .venv/.ready
	@$(BIN)/runkit demo

test: check pytest

check: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: .venv/.ready
	$(BIN)/pytest -n 2 --dist loadfile -q

setup: .venv/.ready

# torch first and alone: an exact version lets pip take a CPU build where one is at hand.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "runkit needs Python 3.11 or newer; run make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once; a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

format: .venv/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Everything that is generated and committed; `make test` fails when one of them is stale.
tables: .venv/.ready
	$(BIN)/runkit table
	$(BIN)/runkit readme

clean:
	rm -rf .venv demo .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
