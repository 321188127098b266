# Nothing is needed but make and Python 3.11 or later: every target makes or refreshes .venv itself.
# Another interpreter: make demo PYTHON=python3.12
# The index that pip uses, and with it the build of torch, is pip's own configuration.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m
WORKERS ?= 2
MINUTES ?= 60
PYTEST := $(RUN) pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo check lint types imports fast test test-slow docs bench speed quality gallery train fix clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: .venv/.demo ## edit pictures by five methods, into out/
	$(BIN)/scumble demo --out out

check: lint types imports fast ## before every commit: style, types, import directions, fast tests

lint: .venv/.dev
	$(RUN) ruff check
	$(RUN) ruff format --check

types: .venv/.dev
	$(RUN) pyright --pythonpath $(BIN)/python

imports: .venv/.dev
	$(BIN)/lint-imports --no-cache

fast: .venv/.dev
	$(PYTEST) -m "not slow and not thorough" --timeout 60 tests/framework tests/plugins tests/contracts tests/docs

test: .venv/.dev ## every test but the slow ones, with branch coverage
	$(PYTEST) -m "not slow" --cov --cov-report term:skip-covered

test-slow: .venv/.dev ## kill, race, fresh-venv and long parity tests
	$(PYTEST) -m slow

docs: .venv/.dev ## write the reference pages anew, from the code
	$(BIN)/python docs/generate.py

bench: .venv/.dev ## measure latency, the short matrix, into benchmarks/results/bench
	$(BIN)/scumble bench --short --out benchmarks/results/bench

speed: .venv/.dev ## time the hot paths of the host; nothing is asserted of the times
	$(RUN) pytest -n 0 --benchmark-enable --benchmark-only --benchmark-time-unit us \
	  --benchmark-columns min,median,iqr,rounds tests/benchmarks/speed

quality: .venv/.dev ## measure the demo checkpoint against its gates, and methods on its world
	@# The methods are measured too where a gate is missed; that the gate was is told at the end.
	$(RUN) scumble_bench.rooms.quality; gates=$$?; $(RUN) scumble_bench.rooms.methods && exit $$gates

gallery: .venv/.dev ## make the pictures of docs/gallery.md, and the page
	$(RUN) scumble_bench.gallery

train: .venv/.dev ## train the demo checkpoint for MINUTES (60), or go on with .train/
	$(RUN) scumble_bench.rooms.train --out benchmarks/scumble_bench/rooms/checkpoint \
	  --work .train --minutes $(MINUTES) $(if $(wildcard .train/state.json),--resume)
	$(RUN) scumble_bench.rooms.pack

fix: .venv/.dev ## let ruff repair what it can
	$(RUN) ruff check --fix
	$(RUN) ruff format

clean: ## remove .venv, out/ and every cache
	rm -rf .venv out dist build htmlcov .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis
	find framework engines export plugins benchmarks tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps. The second builds on the first, so that under -j no two pips write to one .venv.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Scumble needs Python 3.11 or later, and '$(PYTHON)' is not one; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { \
	  echo "'$(PYTHON) -m venv' failed; some systems pack it apart (Debian: python3-venv)" >&2; exit 1; }
	@touch $@

.venv/.demo: .venv/.made pyproject.toml constraints.txt
	$(RUN) pip install -c constraints.txt -e ".[onnxruntime]"
	@touch $@

.venv/.dev: .venv/.demo
	$(RUN) pip install -c constraints.txt -e ".[dev]"
	@touch $@
