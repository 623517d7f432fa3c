# Podium's commands. Needs only python3 (3.11 or later) and make; all else is installed into .venv from the lock files.
# A line `target: ## text` is what `make help` prints.

PYTHON ?= python3
BIN    := .venv/bin
RUN    := $(BIN)/python -m
EXAMPLE := src/podium/examples/research/research.yaml

# `-n auto` is one process a core; `loadgroup` keeps tests that share something on one of them.
PARALLEL := -n auto --dist loadgroup

# `make` lets nothing of a question be read as code: see the target `run`.
unexport Q
# The tests start thousands of processes. Where the environment forbids compiled files, each would compile Podium anew:
# more than half of what it costs to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.SHELLFLAGS := -ec
.PHONY: help setup run test test-slow soak seeds coverage check check-format check-lint check-types check-imports check-locks \
        check-docs asyncapi format bench bench-peers bench-postgres growth lock lock-peers build clean ready-to-run ready ready-peers

help: ## say what each command does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- set up ----------------------------------------------------------------------------------------------------------

ready-to-run:
	@command -v $(PYTHON) >/dev/null || { echo "Podium needs Python 3.11 or later; there is no $(PYTHON)." >&2; exit 1; }
	@$(PYTHON) .ci/setup_venv.py run

ready:
	@command -v $(PYTHON) >/dev/null || { echo "Podium needs Python 3.11 or later; there is no $(PYTHON)." >&2; exit 1; }
	@$(PYTHON) .ci/setup_venv.py dev

setup: ready ## install everything for development into .venv (quick when nothing changed)

# --- use -------------------------------------------------------------------------------------------------------------

# The question goes by the environment, raw: neither make nor the shell expands what is in it.
run: export QUESTION := $(value Q)
run: ready-to-run ## run the research example; another question: make run Q="…"
	@if [ -n "$$QUESTION" ]; then exec $(BIN)/podium run $(EXAMPLE) --input "question=$$QUESTION"; \
	 else exec $(BIN)/podium run $(EXAMPLE); fi

# --- test and check --------------------------------------------------------------------------------------------------

test: ready ## run the test suite, but for the slow tests
	@$(RUN) pytest $(PARALLEL) -m "not slow"

# pytest ends with 5 when it has collected nothing.
test-slow: ready ## run the slow tests: exhaustive kills, long simulations
	@$(RUN) pytest $(PARALLEL) -m slow || { status=$$?; [ $$status -eq 5 ] && echo "There are no slow tests yet."; }

# More: make soak MINUTES=60; the same faults and load again: make soak ARGS="--seed N".
MINUTES ?= 10
soak: ready ## three replicas, ten agents and a foreign one under load and faults for MINUTES (10), and report
	@$(RUN) podium.testing.soaking --minutes $(MINUTES) $(ARGS)

seeds: ready ## simulate new seeds for MINUTES (10), and report
	@$(RUN) podium.testing.seeds --minutes $(MINUTES) $(ARGS)

coverage: ready ## run what `make test` runs, measured, and hold it against the floors
	@mkdir -p reports
	@$(RUN) pytest $(PARALLEL) -m "not slow" --cov --cov-report=json:reports/coverage.json --cov-report=
	@$(RUN) coverage html --quiet --directory reports/coverage
	@$(BIN)/python .ci/coverage_floor.py reports/coverage.json

check: check-locks check-format check-lint check-types check-imports check-docs ## all that needs no test: format, lint, types, imports, locks, docs

check-format: ready
	@$(BIN)/ruff format --check

check-lint: ready
	@$(BIN)/ruff check

check-types: ready
	@$(BIN)/mypy

check-imports: ready
	@$(BIN)/lint-imports --no-logo

check-locks: ready
	@$(BIN)/python .ci/check_locks.py

check-docs: ready ## run the code blocks of README, CONTRIBUTING and docs/
	@if [ -d tests/docs ]; then $(RUN) pytest -q tests/docs; else echo "There are no docs tests yet."; fi

asyncapi: ready ## make docs/asyncapi.yaml anew from the code
	@$(BIN)/python -c "from podium.fleet.asyncapi import document; print(document(), end='')" > docs/asyncapi.yaml

format: ready ## put the code into the house's format, and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

bench: ready ## measure: prints the figures of docs/benchmarks.md
	@$(RUN) bench

# The peers live in an environment of their own, which knows nothing of Podium's; Redis is the system's.
PEERS := .venv-peers/bin/python
ready-peers: ready
	@[ -x $(PEERS) ] || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-peers
	@$(BIN)/uv pip sync --quiet --python $(PEERS) --require-hashes requirements/peers.txt

bench-peers: ready-peers ## measure Podium and its peers side by side (installs them into .venv-peers; under ten minutes)
	@$(RUN) bench --peers

bench-postgres: ready-peers ## measure P1 to P6: PostgreSQL and replicas, beside DBOS and Procrastinate (some 25 minutes)
	@$(RUN) bench P1 P2 P3 P4 P5 P6 --peers $(ARGS)

growth: ready ## measure cost by size: tasks of one execution, and executions (under ten minutes)
	@$(RUN) bench growth

lock-peers: ready ## make requirements/peers.txt anew from bench/peers/requirements.in
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-annotate $(UPGRADE) \
	   bench/peers/requirements.in --output-file requirements/peers.txt

# --- package ---------------------------------------------------------------------------------------------------------

# Pins stay as they are where they still fit; `make lock UPGRADE=--upgrade` takes the newest of everything.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header $(UPGRADE)
lock: ## make requirements/*.txt anew from pyproject.toml
	@[ -x $(BIN)/uv ] || $(PYTHON) .ci/setup_venv.py dev
	@$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --constraints requirements/dev.txt --output-file requirements/run.txt
	@$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt
	@$(BIN)/python .ci/check_locks.py

build: ready ## make the wheel and the source package in dist/
	@rm -rf dist
	@$(RUN) hatchling build

clean: ## remove what builds, tests and reports left (.venv stays)
	@rm -rf build dist reports htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
