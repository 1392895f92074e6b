# Everything runs in .venv, which is made from constraints.txt when it is first needed. `make` lists the targets.
#   make demo PYTHON=python3.12     another Python (3.11 or later); remove .venv first if it was made by an older one

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TORCH  := $(shell grep -E '^torch==' constraints.txt)
# Two files of tests at a time, the slow ones first: much of the suite waits for processes and servers.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
DATA   := demo-data
UIHOME := $(CURDIR)/$(DATA)/dagster_home

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo ui new-day test check test-faults test-elsewhere mutants bench bench-peer bench-scale bench-sensor screenshot clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## *' '{ printf "  make %-14s %s\n", $$1, $$2 }'

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "Python 3.11 or later is needed; $(PYTHON) is " + v + ". Remedy: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt $(TORCH) -e '.[dev]'
	@touch $@

install: $(STAMP)  ## make .venv (done by the other targets when it is needed)

demo: $(STAMP)  ## flights: shards, training, 7 days of proven predictions in DuckDB, scores
	$(BIN)/python -m j2v_dagster.demo.run --data $(DATA)

ui: $(STAMP)  ## the Dagster UI on http://127.0.0.1:3000 with the demo's runs (after `make demo`)
	@$(BIN)/python -c 'import sys; from json2vec.errors import missing_extra; sys.exit(missing_extra("ui", "make ui"))'
	@test -f $(UIHOME)/dagster.yaml || { echo 'Nothing to show yet. Remedy: make demo'; exit 1; }
	DAGSTER_HOME=$(UIHOME) OMP_NUM_THREADS=1 $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

new-day: $(STAMP)  ## write the shards of a day that the demo has not predicted: make new-day DAY=2013-02-08
	$(BIN)/python -m j2v_dagster.demo.shards --root $(DATA)/shards --first $(or $(DAY),2013-02-08)

test: $(STAMP)  ## the whole test suite, fault injection included
	$(PYTEST)

check: $(STAMP)  ## lint, types and the fast tests
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(PYTEST) -m 'not slow and not faults'

test-faults: $(STAMP)  ## only the fault injection: ranks killed, files deleted, bytes flipped
	$(PYTEST) tests/faults

test-elsewhere: $(STAMP)  ## the fast tests as on other machines: processors, time zones, languages, programs, order
	$(BIN)/python tests/tools/elsewhere.py

mutants: $(STAMP)  ## change one thing in the code at a time: does a test notice? make mutants COUNT=100 SEED=1
	test -x $(VENV)/mutants/bin/python || $(PYTHON) -m venv $(VENV)/mutants
	$(VENV)/mutants/bin/python -m pip install --disable-pip-version-check --quiet 'cosmic-ray==8.7.0'
	$(VENV)/mutants/bin/python tests/tools/mutants.py --python $(BIN)/python --count $(or $(COUNT),100) \
	  --seed $(or $(SEED),1)

bench: $(STAMP)  ## each stage's share, distance from the network's and the processor's limit, start-up, verification
	$(BIN)/python benchmarks/stages.py
	$(BIN)/python benchmarks/limit.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/padding.py
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/verify.py --mutations 1000
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/incremental.py

bench-sensor: $(STAMP)  ## seconds, MiB and cursor of sensor ticks over 100,000 keys, local and on a real S3 server
	$(BIN)/python benchmarks/sensor.py

bench-peer: $(STAMP)  ## rows/s beside PyPI json2vec, in an environment of its own (needs Python 3.12, 2 GB to download)
	$(BIN)/python benchmarks/peer/run.py

bench-scale: $(STAMP)  ## 1e5 and 1e6 rows, 10,000 files, 1 to 4 ranks, planning a million files (ten minutes)
	$(BIN)/python benchmarks/scale.py

screenshot: $(STAMP)  ## docs/images/asset-graph.png from the real UI (needs Chromium and `make demo`)
	$(BIN)/python docs/tools/screenshot.py --data $(DATA)

clean:  ## remove what the demo, the tests and the linters made
	rm -rf $(DATA) .$(DATA)-*.tmp build dist lightning_logs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './.git/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and .venv too
	rm -rf $(VENV) *.egg-info
