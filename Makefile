# run: install and start · test: check and test everything · bench · check: lint and types · fmt
# lock: newer packages for the server · gen: made parts of docs and code · docs: the site in build/docs · pictures: what the docs show of the user interfaces
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# An install by hand, such as pip install '.[streamlit]', puts a copy of the code before the checkout's.
COPIED := $(shell [ ! -x $(BIN)/python ] || $(BIN)/python -I -c 'import sys; from importlib.util import find_spec; spec = find_spec("headrace"); sys.exit(not spec or not spec.origin.startswith("$(CURDIR)/src/"))' || echo copied)

.PHONY: run test bench check fmt lock gen pictures docs copied

run: .venv/server
	$(BIN)/headrace serve --demo

# Files side by side, each as a whole, since the tests of a file share servers and browsers.
test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

bench: .venv/dev
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/adapters.py

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/python -m headrace.gen --check

fmt: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	for tools in sdk/typescript studio; do [ ! -d $$tools/node_modules ] || npm --prefix $$tools run --silent fmt || exit 1; done

lock: .venv/bin/python
	$(PIP) --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra server --universal --upgrade --generate-hashes --no-annotate --no-header --quiet --output-file server.lock

gen: .venv/dev
	$(BIN)/python -m headrace.gen

pictures: .venv/dev
	HEADRACE_PICTURES=docs/pictures $(BIN)/python -m pytest -q -k picture

# The TypeScript reference needs node; without it the site is made without that part.
docs: .venv/dev
	! command -v npm >/dev/null || { npm --prefix sdk/typescript/typedoc ci --ignore-scripts && npm --prefix sdk/typescript/typedoc run build; }
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs . build/docs

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headrace needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@echo "Making a virtual environment in .venv (step 1 of 2)"
	@$(PYTHON) -m venv .venv

# Two installs of one commit are the same: the lock names each package of the server, its version and its hashes.
.venv/server: .venv/bin/python pyproject.toml server.lock $(COPIED)
	@echo "Installing the server and its packages into .venv, about a minute the first time (step 2 of 2)"
	@$(PIP) --require-hashes --requirement server.lock
	@$(PIP) --no-deps --editable '.[server]'
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml server.lock $(COPIED)
	@echo "Installing everything that the tests need into .venv, some minutes the first time (step 2 of 2)"
	@$(PIP) --require-hashes --requirement server.lock
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/server
