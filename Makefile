# `make demo` and `make test` are all a newcomer needs; both set up what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two cores by default; `make test WORKERS=8` on a bigger machine.
WORKERS ?= 2
DEMO_DATA := .kfp-driver/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format types imports bench conformance lock clean

help:  ## What each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	@echo "setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/.ready  ## Create .venv with pinned dependencies (quick when nothing changed)

demo: setup  ## Run the example pipeline twice; the second run is served from the cache
	@rm -rf $(DEMO_DATA)
	@echo "== first run: everything is computed"
	@$(BIN)/kfp-driver local run examples/tune_classifier.yaml --data-dir $(DEMO_DATA)
	@echo
	@echo "== second run, same data directory: everything comes from the cache"
	@$(BIN)/kfp-driver local run examples/tune_classifier.yaml --data-dir $(DEMO_DATA)

test: setup  ## All quick tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

test-slow: setup  ## The tests that take minutes
	@$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadgroup

lint: setup  ## Style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup  ## Rewrite the sources in the house format
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

types: setup  ## mypy --strict
	@$(BIN)/mypy

imports: setup  ## Import contracts: the arrows between the rooms
	@$(BIN)/lint-imports

conformance: setup  ## Run KFP's fixture pipelines (../shared/conformance) and write docs/conformance.md
	@$(BIN)/python -m tests.conformance.sweep

bench: setup  ## Benchmarks; the numbers belong into docs/benchmarks.md
	@$(BIN)/python benchmarks/run.py

lock: setup  ## Pin the dependencies anew, with hashes
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra local pyproject.toml -o requirements/local.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra local --extra dev pyproject.toml -o requirements/dev.txt

clean:  ## Remove the virtual environment, caches and demo data
	rm -rf $(VENV) .kfp-driver .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
