# The commands of the README. `make run` and `make test` each work on a fresh Debian machine with
# Python 3.11 (pip, venv) and make; a second call installs nothing again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

# $(call install,LOCK): the locked packages, then this project itself, which brings no other
ifdef UV
install = $(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirement $(1) && \
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
else
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(1) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endif

# whole files to each of two, in the order of their names: the many short ones of tests/unit come last
WORKERS := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: run test test-long lint audit types lock clean help

run: $(VENV)/.run ## set up, fill with sample data where no source is configured, run the nightly job
	$(BIN)/prism sample --if-unconfigured
	$(BIN)/prism run

test: $(VENV)/.test ## set up, then the test suite
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

test-long: $(VENV)/.test ## the long trials: whole nights on a real log, random histories
	$(BIN)/python -m pytest -m long $(WORKERS) $(PYTEST_ARGS)

lint: $(VENV)/.test ## ruff, bandit and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive orchestration reports
	$(BIN)/sqlfluff lint --processes 2 dbt_project

audit: $(VENV)/.test ## known vulnerabilities of what is locked; asks PyPI, fails where that knows none of one
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements-dev.lock

types: $(VENV)/.test ## mypy
	$(BIN)/mypy

lock: ## resolve the dependencies anew; needs uv
	echo "setuptools>=75" | uv pip compile pyproject.toml - $(LOCK) --output-file requirements.lock
	echo "setuptools>=75" | uv pip compile pyproject.toml - $(LOCK) --extra dev \
		--constraint requirements.lock --output-file requirements-dev.lock

LOCK = --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-strip-extras --no-header

clean: ## remove the environment; what Prism has written stays
	rm -rf $(VENV)

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit("Prism needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/.made
	@echo "Installing what Prism needs (once; about a minute) …"
	@$(call install,requirements.lock)
	@touch $@

$(VENV)/.test: requirements-dev.lock pyproject.toml | $(VENV)/.made
	@echo "Installing what Prism and its tests need (once; about a minute) …"
	@$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/.run
