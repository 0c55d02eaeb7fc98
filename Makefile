# Two commands do everything on a machine with Python and make:
#   make demo   installs into .venv, draws a small data set, trains on it, evaluates, predicts; pictures in demo/
#   make test   the same environment, then ruff, mypy --strict and pytest; `make slow` runs the slow tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The oldest and the newest Python that are tried, the first with the lowest versions of everything, the second with the newest:
# a version, or the path of an interpreter. `make test` is what lies between.
PYTHON_LOWEST ?= 3.10
PYTHON_NEWEST ?= 3.13
# What runs `make gpu`: on a machine that reaches no package index, the Python that has torch and Intarsia already.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
# Two test processes, one thread each: on a small machine more threads only wait for one another.
TESTENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# A process that has done its tests takes of the other's, so that none waits while the last long ones are run.
PYTEST  := $(TESTENV) $(BIN)/python -m pytest -n 2 --dist worksteal -q

# MINUTES=8 before a group of tests: those that begin in so many.
LIMIT   := $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: help install demo test lint types unit slow lowest newest golden properties mutants docs bench peers gpu clean

help:            ## what can be made
	@grep -hE '^[a-z]+: .*##|^[a-z]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

install: $(STAMP)  ## the virtual environment with Intarsia and the tools to develop it

$(STAMP): pyproject.toml
	@echo "== creating $(VENV) with $$($(PYTHON) --version) and installing (about 3 minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Intarsia needs Python 3.10 or newer, found %d.%d" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: $(STAMP)   ## train on drawn street scenes and show the result (3 minutes on 2 cores)
	$(BIN)/intarsia demo --out demo --overwrite

test: lint types unit  ## ruff, mypy, pytest; CI runs the slow tests too

lint: $(STAMP)   ## style
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## strict types
	@echo "== mypy --strict"
	@$(BIN)/mypy

unit: $(STAMP)   ## quick tests, on two processes
	@echo "== pytest"
	@$(PYTEST) -m "not slow"

slow: $(STAMP)   ## slow tests: whole command lines, trainings; MINUTES=N for those that begin in so many
	@echo "== pytest, the slow group$(if $(MINUTES), for $(MINUTES) minutes)"
	@$(PYTEST) -m slow $(LIMIT)

lowest: $(STAMP) ## a sample of the quick tests with the lowest versions of pyproject.toml, on the oldest Python
	@$(BIN)/python scripts/versions.py lowest $(PYTHON_LOWEST) $(LIMIT)

newest: $(STAMP) ## a sample of the quick tests with the newest versions of everything, on the newest Python
	@$(BIN)/python scripts/versions.py newest $(PYTHON_NEWEST) $(LIMIT)

golden: $(STAMP)  ## every network beside the reference's numbers, as a table; ONLY=pspnet for some of them
	@$(TESTENV) $(BIN)/python tests/golden/table.py --only "$(ONLY)"

properties: $(STAMP)  ## the property tests with other examples each time, TIMES over (6 by default; three minutes each)
	@for time in $$(seq $(or $(TIMES),6)); do \
	  INTARSIA_OTHER_EXAMPLES=1 $(PYTEST) -m "not slow" $$(grep -rl "from hypothesis" tests --include='test_*.py') || exit 1; done

mutants: $(STAMP)  ## break the source in three hundred small ways and see whether tests fail (about an hour)
	@$(TESTENV) $(BIN)/python scripts/mutate.py --sample 300

docs: $(STAMP)   ## write the generated pages of docs/ again; networks that are new are counted and exported
	@$(BIN)/python scripts/vocabulary.py
	@$(BIN)/python scripts/pretrained.py
	@$(BIN)/python scripts/published.py
	@$(BIN)/python benchmarks/models.py
	@$(BIN)/python scripts/models.py
	@$(TESTENV) $(BIN)/python scripts/exports.py --measure

bench: $(STAMP)  ## all measurements of benchmarks/, minutes each
	@for script in $(filter-out benchmarks/gpu.py benchmarks/peers.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

peers: $(STAMP)  ## the same work beside other libraries, each in an environment that is made; 40 minutes; ONLY=step for some of it
	@$(BIN)/python benchmarks/peers.py $(if $(ONLY),--only $(ONLY))

gpu:             ## whether everything is right on a GPU, and how fast, in 8 minutes; ONLY=training for some of it
	@PYTHONPATH=. $(GPU_PYTHON) benchmarks/gpu.py $(if $(ONLY),--only $(ONLY))

clean:           ## remove the environment and everything made
	rm -rf $(VENV) .venv-lowest .venv-newest demo runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
