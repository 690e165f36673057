# Needs python3 (3.11 or newer) with pip, and make. Everything else goes into .venv, from the lock files.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_ARGS ?=
# Each process has a server of its own; tests/conftest.py says which tests stay in one process.
PARALLEL := --numprocesses logical --maxprocesses 4
# The same order and the same numbers in every run: what passes here passes everywhere.
REPEATABLE := --randomly-seed 1
# What knows no database has run on PostgreSQL.
ON_SQLITE := --ds=tests.settings_sqlite tests/ledger tests/library tests/holds \
  --ignore tests/ledger/test_engine.py --ignore tests/ledger/test_money.py

.DEFAULT_GOAL := help
.PHONY: help run test explore check bench lock clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

run: $(VENV)/service ## run everything on this machine; Ctrl-C stops it
	@exec $(BIN)/wallet up

# Tests start programs of ours by the hundred: each would compile all of them again where this is set.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/dev ## run the tests, on PostgreSQL and the library on SQLite too; TEST_ARGS goes to pytest
	$(BIN)/python -m pytest $(PARALLEL) $(REPEATABLE) $(TEST_ARGS)
	$(BIN)/python -m pytest $(PARALLEL) $(REPEATABLE) $(ON_SQLITE)

explore: $(VENV)/dev ## run the property tests on ten times as many random cases, new ones each time
	TESTS_DEPTH=10 $(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile explore \
	  $$(grep -rl --include='test_*.py' 'from hypothesis' tests) $(TEST_ARGS)

check: $(VENV)/dev ## format, lint, types, dependency directions, migrations, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/python -m wallet_service.embedded $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/codespell

bench: $(VENV)/dev ## measure; writes bench/out
	$(BIN)/python -m bench

# The resolver lives in a folder of its own: nothing it needs may leak into what it writes.
lock: $(VENV)/created ## remake the lock files from pyproject.toml
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(BIN)/python -m venv --without-pip "$$tools"; \
	$(call install,$$tools/bin/python) uv; \
	compile() { "$$tools/bin/uv" pip compile pyproject.toml --quiet --upgrade --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$$@"; }; \
	compile --extra service --extra sandbox --output-file requirements/service.txt; \
	compile --extra service --extra sandbox --group dev --output-file requirements/dev.txt

clean: ## remove the environment and caches, not the wallets in .wallet
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench/out bench/.venv-peers
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian ships python3 without ensurepip unless python3-venv is installed: then pip installs from outside.
install = pip_python=$(1); \
	if $$pip_python -c 'import pip' 2>/dev/null; then set -- $$pip_python -m pip; \
	else set -- $(PYTHON) -m pip --python $$pip_python; fi; \
	"$$@" install --quiet --disable-pip-version-check

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "dj-wallets needs Python 3.11 or newer; name one with: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PYTHON) -m pip --version >/dev/null 2>&1 \
	  || { echo "This Python has neither ensurepip nor pip. On Debian: apt install python3-venv"; exit 1; }
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	  else $(PYTHON) -m venv --without-pip $(VENV); fi
	@touch $@

$(VENV)/service: $(VENV)/created requirements/service.txt pyproject.toml
	@echo "Installing the service into $(VENV)"
	@$(call install,$(BIN)/python) --require-hashes -r requirements/service.txt
	@$(call install,$(BIN)/python) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/created requirements/dev.txt pyproject.toml
	@echo "Installing the service and the development tools into $(VENV)"
	@$(call install,$(BIN)/python) --require-hashes -r requirements/dev.txt
	@$(call install,$(BIN)/python) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/service
