# Listkeeper in two commands: `make demo` shows a night's work, `make up` keeps it running with the UI.
# Needs Python 3.11 or newer with venv, and make. Everything stays in .venv and .listkeeper.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
FLEET := $(VENV)/distributed

# A port that is taken is moved with, for example: make demo AIRFLOW_PORT=18080 SANDBOX_PORT=18900
AIRFLOW_PORT ?= 8080
SANDBOX_PORT ?= 8900
# Your own leads (CSV or JSON) in the sandbox instead of the FTC's: make demo LEADS=my.csv
LEADS ?=
# Seconds that the demo's runs may take.
TIMEOUT ?= 600
# Test processes side by side: many tests wait for a vendor, so one more than there are cores is well used.
WORKERS ?= 3
# Random nights of each vendor, and random orders of runs, that a proof plays: 10000 take hours on one core.
SCHEDULES ?= 200
STACK = --airflow-port $(AIRFLOW_PORT) --sandbox-port $(SANDBOX_PORT) $(if $(LEADS),--leads "$(LEADS)")

.DEFAULT_GOAL := help
.PHONY: help install lock demo up distributed fleet test check docs bench soak proof

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install the locked packages (the others call it)

demo: $(STAMP) ## run tonight's flows once in the sandbox and show where every row went (LEADS=my.csv)
	@$(BIN)/python -m include.stack.demo $(STACK) --timeout $(TIMEOUT)

up: $(STAMP) ## start the sandbox and Airflow with its UI, until Ctrl-C
	@$(BIN)/python -m include.stack.up $(STACK)

distributed: $(FLEET) ## the same night as demo on PostgreSQL, Redis and two Celery workers that share no disk
	@$(BIN)/python -m include.stack.distributed $(STACK) --timeout $(TIMEOUT)

test: $(STAMP) ## run the tests (ARGS="-k phones" for some of them); the ones on a whole stack alone, they need both cores
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore=tests/stack
	$(BIN)/python -m pytest tests/stack --ignore=tests/stack/test_fleet.py
else
	$(BIN)/python -m pytest $(ARGS)
endif

fleet: $(FLEET) ## test the promises across workers: one of two is killed, one pace, staging in S3 (minutes)
	$(BIN)/python -m pytest tests/stack/test_fleet.py tests/include/test_staging.py tests/include/test_callbacks.py

check: $(STAMP) ## lint, formatting, types, and no key in any file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.scan_secrets

docs: $(STAMP) ## write the pages of docs/ that are made from the code
	$(BIN)/python -m include.docs

bench: $(STAMP) ## measure time and memory on large lists
	@missed=0; for bench in tests/bench/*.py; do echo "$$bench"; $(BIN)/python "$$bench" || missed=1; done; exit $$missed

soak: $(STAMP) ## archive 100,000 leads over several nights, push 50,000, load campaigns of 100,000 at the limit (minutes)
	$(BIN)/python -m tests.soak.archive
	$(BIN)/python -m tests.soak.push
	PYTHONPATH=.:plugins $(BIN)/python -m tests.soak.ozonetel

proof: $(STAMP) ## play random nights with crashes and faults, kill every write, and all other proofs (SCHEDULES=10000)
	@failed=; for proof in tests/proof/*.py; do \
		name=$$(basename $$proof .py); echo "python -m tests.proof.$$name"; \
		SCHEDULES=$(SCHEDULES) $(BIN)/python -m tests.proof.$$name || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "Not proved:$$failed"; exit 1; }

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

lock: $(STAMP) ## resolve requirements*.txt anew into requirements*.lock
	$(COMPILE) requirements-dev.txt -o requirements.lock
	$(COMPILE) --constraints requirements.lock requirements-distributed.txt -o requirements-distributed.lock

# uv is itself in the lock, so that it stays through its own `sync`. The lock is a plain requirements file:
# `pip install -r requirements.lock` into any environment does the same, slower.
$(STAMP): requirements.lock bin/listkeeper
	@test -x $(BIN)/python || { \
		for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break || python=; \
		done; \
		test -n "$$python" || { echo "Listkeeper needs Python 3.11 or newer. Install it, or name it: make install PYTHON=/path/to/python3"; exit 1; }; \
		"$$python" -m venv $(VENV) || { rm -rf $(VENV); echo "$$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"
	@echo "Installing the locked packages into $(VENV) (0.9 GB; a minute or a few, without a word)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --compile-bytecode requirements.lock
	@ln -sf ../../bin/listkeeper $(BIN)/listkeeper
	@touch $@

# What a fleet needs comes on top, at the versions of the lock above: nothing of `make install` changes.
$(FLEET): requirements-distributed.lock $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements-distributed.lock
	@touch $@
