# One virtual environment in .venv with everything, hash-locked; see `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install run test check format lock clean

help:     ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

install: $(READY)  ## make the virtual environment

$(READY): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY)  ## train the smoke manifest on this machine into ./runs and write its report
	$(BIN)/job run --manifest manifests/jobs/smoke.json --output runs
	$(BIN)/job report runs

test: $(READY)  ## run all tests that this machine can run, with coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(READY)  ## lint, format, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(READY)  ## renew the locked requirements
	$(eval COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 --no-header pyproject.toml)
	$(COMPILE) -o requirements/base.txt
	$(COMPILE) --extra train -o requirements/train.txt
	$(COMPILE) --extra train --extra kubernetes --extra dev -o requirements/dev.txt

clean:    ## remove the virtual environment and what tools left
	rm -rf $(VENV) build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
