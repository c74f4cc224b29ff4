# Needs git, make and Python 3.11 or 3.12. Every target sets up .venv by itself; a second call skips that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: setup check test test-fast cluster-test demo benchmarks clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "lorasweep needs Python 3.11 or 3.12; name one with 'make PYTHON=python3.12 …'." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv." >&2; exit 1; }
	@echo "Setting up $(VENV): about 6 GB, a few minutes, once."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt -e '.[dev]'
	@touch $@

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	PYTHONPATH=src $(BIN)/lint-imports

test: setup
	$(THREADS) $(BIN)/python -m pytest -m "not gpu" -n 2 --dist loadfile

test-fast: setup
	$(THREADS) $(BIN)/python -m pytest

# A search of twelve trials by two workers against a PostgreSQL and an MLflow server, one of them killed; `test` runs it
# with four. Needs Debian's postgresql, or another whose initdb is in the path.
cluster-test: setup
	LORASWEEP_CLUSTER_TRIALS=12 $(THREADS) $(BIN)/python -m pytest -m "not gpu" -rs tests/app/test_search_cluster.py

demo: setup
	@$(BIN)/lorasweep demo

# The evidence of docs/evaluator.md, made again from nothing: some four hours on two cores. Trajectories come beside the
# committed ones, are compared with them and picked from; PEOPLE="601 607" makes only those of these people. What
# 'trajectories --draw' has drawn before, on a card say, is not drawn again.
benchmarks: setup
	$(THREADS) $(BIN)/python -m benchmarks.evaluator --jobs 2 --docs
	$(THREADS) $(BIN)/python -m benchmarks.picker.trajectories --jobs 2 --anew $(if $(PEOPLE),--people $(PEOPLE))
	$(THREADS) $(BIN)/python -m benchmarks.picker --jobs 2 --docs
	$(if $(PEOPLE),,$(THREADS) $(BIN)/python -m benchmarks.picker --jobs 2 --anew)
	$(if $(PEOPLE),,$(THREADS) $(BIN)/python -m benchmarks.pictures.evidence)

clean:
	rm -rf $(VENV) .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist
