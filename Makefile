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

# In the order of tests/conftest.py: the longest files first, so that neither core is idle in the end.
pytest: .venv/.ready
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -q

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt .ci/install.py
	@$(PYTHON) .ci/install.py
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
