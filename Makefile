# Every target sets up .venv by itself, when there is none, when it is broken or was moved, and when pyproject.toml or
# constraints.txt changed; otherwise at once.

PYTHON ?= python3
TRAIN_ARGS ?=
PYTEST_ARGS ?=

TRAIN_DEFAULTS := --env Drift/CartPole-v0 --memory.kind none --total-timesteps 60000
BIN := .venv/bin
# The stamp is written last and holds the folder it was made in: without it, or with another folder in it, .venv is
# half-made, broken or a copy, and is made anew.
STAMP := .venv/.installed
DOCS_STAMP := .venv/.docs-installed
VENV_STATE := $(shell test "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" && $(BIN)/python -c '' 2>/dev/null && echo good)

.DEFAULT_GOAL := help
.PHONY: help train test quick check format docs wheel clean

help:  ## show this list
	@echo "memagent: agents that remember, for control tasks that drift"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12       the interpreter that .venv is made with (3.11 or newer)"
	@echo "  TRAIN_ARGS='--seed 1'   arguments of train.py, after: $(TRAIN_DEFAULTS)"
	@echo "  PYTEST_ARGS='-k replay' arguments of pytest"

train: $(STAMP)  ## train an agent on drifting CartPole, then evaluate it (see TRAIN_ARGS)
	$(BIN)/python train.py $(TRAIN_DEFAULTS) $(TRAIN_ARGS)

test: check  ## check, then run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

quick: $(STAMP)  ## the tests but those that are marked slow
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow' $(PYTEST_ARGS)

check: $(STAMP)  ## layout, lint and types, changing nothing
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: $(STAMP)  ## lay out the code and mend what ruff can mend
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

docs: $(DOCS_STAMP)  ## build the pages of docs/ into docs/_build/html
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build/html
	@echo "open docs/_build/html/index.html"

wheel: $(STAMP)  ## build sdist and wheel into dist/, and try the wheel in an empty environment
	$(BIN)/python tests/try_wheel.py dist

clean:  ## remove .venv, caches and build outputs; runs/ stays
	rm -rf .venv build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

ifneq ($(VENV_STATE),good)
.PHONY: $(STAMP)
endif

# Beside what every target needs, for `make docs` alone.
$(DOCS_STAMP): $(STAMP)
	@rm -f $@
	@echo "setting up Sphinx"
	@$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "memagent needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there); name a newer one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@rm -f $@
	@$(if $(filter good,$(VENV_STATE)),,rm -rf .venv && $(PYTHON) -m venv .venv)
	@echo "setting up .venv, which takes a minute or two"
	@$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --editable '.[mujoco,box2d,ray,dev]'
	@# for tests of other libraries' environments; alone, since it asks for an older MuJoCo than ours, which it runs with
	@$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --no-deps ns-gym
	@echo "$(CURDIR)" > $@
