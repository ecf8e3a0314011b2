# Needs Python 3.11 or newer and make; everything else goes into .venv, by uv where that is there.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH := $(CURDIR)

DEMO := --steps 150000 --runs runs/demo --overwrite --console bar

.PHONY: help try demo test nightly slow fuzz ends lint format type check page site notebook verify claims bench lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile | expand -t 14

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@echo 'Installing what is needed into .venv: PyTorch is large, so the first time takes some minutes'
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --quiet --python .venv -r requirements.lock && \
	  uv pip install --quiet --python .venv --no-deps -e .; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

# PyTorch's builds differ in what follows a plus, which no registry knows
lock:  ## resolve requirements-dev.txt anew; run the tests before this is committed
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	(echo '# The set that was tested, made by `make lock` out of requirements-dev.txt.'; \
	  .lock/bin/pip freeze | sed 's/+[a-z0-9.]*$$//') >requirements.lock
	rm -rf .lock

try: .venv/installed  ## watch a trained robot that is told once which cue means which way
	@echo 'A robot is told once what each of two cues means: run forward or run backward.'
	@echo 'From then on it sees the cue alone, and has to remember; later the meanings are swapped and told again.'
	@echo 'Left: its synapses learn while it runs. Right: the same weights with plasticity off, which can only guess.'
	@$(BIN)/python -m spikepropamine enjoy cue-lesson/HalfCheetahCueLesson-v0/ndp-hebb \
	  --lesions off --video runs/try --open
	@echo 'Pull the plug yourself, in a browser: make page, then spikepropamine play'

demo: .venv/installed  ## train and evaluate a plastic and a static actor (minutes)
	@echo 'Training a plastic actor on new cues, 150,000 steps'
	@$(BIN)/python train.py --env CueAssociation-v0 --policy ndp-oja $(DEMO)
	@echo 'Training the same network without plasticity, 150,000 steps'
	@$(BIN)/python train.py --env CueAssociation-v0 --policy snn $(DEMO)
	@echo 'Evaluating both in 200 new episodes each, with noise and with plasticity off'
	@$(BIN)/python evaluate.py runs/demo/CueAssociation-v0/*/seed-0 --episodes 200 --out runs/demo/evaluation --overwrite

test: .venv/installed  ## the default tests
	$(BIN)/python -m pytest -q -n 2

nightly: .venv/installed  ## the tests of data on file and of oddities of platforms
	$(BIN)/python -m pytest -q -n 2 -m nightly

slow: .venv/installed  ## the tests that take minutes: of learning, compiling, and ends of commands
	$(BIN)/python -m pytest -q -m slow

fuzz: .venv/installed  ## wrong input by the thousand
	FUZZ=40 $(BIN)/python -m pytest -q tests/test_fuzz.py tests/test_fuzz_python.py

ends: .venv/installed  ## a thousand random ends of commands
	ENDS=30 $(BIN)/python -m pytest -q -m slow tests/test_ends.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: .venv/installed
	$(BIN)/mypy

check: lint type test  ## everything that has to pass before a commit

# Node and npm make the page alone: without them the rest is built
page: .venv/installed  ## the page on which one pulls the plug, for `play` and the site (needs Node 20)
	@if command -v npm >/dev/null; then \
	  (cd web && npm ci --no-progress && npm run --silent build) && \
	  $(BIN)/python -m spikepropamine.export.page export/assets/data; \
	else \
	  echo 'The page of `spikepropamine play` is not built: it needs Node 20 or newer, with npm.'; \
	fi

# not quiet: warnings that are not shown do not count
site: .venv/installed page  ## the documentation, in site/index.html; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

NOTEBOOK := docs/cue-task.ipynb

notebook: .venv/installed  ## run the notebook, and keep its outputs (minutes)
	$(BIN)/jupyter execute --inplace --timeout=1800 $(NOTEBOOK)

verify: .venv/installed  ## prove that every perturbation does what it says (2-3 minutes)
	$(BIN)/python -m spikepropamine verify

claims: .venv/installed  ## every table and figure from rows, and which commands made these in how many hours
	$(BIN)/python -m spikepropamine claims

bench: .venv/installed  ## short benchmarks (minutes)
	$(BIN)/python -m benchmarks.layer --short
	$(BIN)/python -m benchmarks.throughput --short

clean:
	rm -rf .venv runs
