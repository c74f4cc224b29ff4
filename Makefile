# Needs git, make and Python 3.11 or 3.12. Every target sets up .venv by itself; a second call skips that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: setup check test test-fast cluster-test demo benchmarks bench-replay bench-test architecture clean
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
	$(THREADS) $(BIN)/python -m pytest -m "not gpu" -n 2 --dist worksteal

test-fast: setup
	$(THREADS) $(BIN)/python -m pytest

# A search of twelve trials by two workers against a PostgreSQL and an MLflow server, one of them killed; `test` runs it
# with four. Needs Debian's postgresql, or another whose initdb is in the path.
cluster-test: setup
	LORASWEEP_CLUSTER_TRIALS=12 $(THREADS) $(BIN)/python -m pytest -m "not gpu" -rs tests/search/test_cluster.py

demo: setup
	@$(BIN)/lorasweep demo

# The evidence of docs/evaluator.md, made again from nothing: some ten hours on two cores. Trajectories come beside the
# committed ones, are compared with them and picked from; PEOPLE="601 607" makes only those of these people. Images that
# 'trajectories --draw' has already drawn, for example on a card, are not drawn again.
benchmarks: setup
	$(THREADS) $(BIN)/python -m benchmarks.evaluator --jobs 2 --docs
	$(THREADS) $(BIN)/python -m benchmarks.picker.trajectories --jobs 2 --anew $(if $(PEOPLE),--people $(PEOPLE))
	$(if $(PEOPLE),,$(THREADS) $(BIN)/python -m benchmarks.picker.ways --jobs 2 --anew)
	$(THREADS) $(BIN)/python -m benchmarks.picker --jobs 2 --docs
	$(if $(PEOPLE),,$(THREADS) $(BIN)/python -m benchmarks.picker --jobs 2 --anew)
	$(if $(PEOPLE),,$(THREADS) $(BIN)/python -m benchmarks.pictures.evidence)

# Every table again, from the committed results: half a minute.
REPLAYS := evaluator picker picker.arc picker.ways check check.orientation search.quality search.rules real \
	real.dreambooth recovery.kill $(addprefix speed.,cards check cohort cohort_card overhead peers step_time sweep_cost)
bench-replay: setup
	@for each in $(REPLAYS); do \
		echo "== benchmarks.$$each --replay"; $(THREADS) $(BIN)/python -m benchmarks.$$each --replay || exit 1; \
	done
	@echo "== benchmarks.picker --replay --anew"; $(THREADS) $(BIN)/python -m benchmarks.picker --replay --anew

# The benchmarks' own tests, which lie beside them.
bench-test: setup
	$(THREADS) $(BIN)/python -m pytest benchmarks -m "not gpu" -n 2 --dist worksteal

# The picture of docs/architecture.md, from the imports as they are.
architecture: setup
	$(BIN)/python -m benchmarks.pictures.house

clean:
	rm -rf $(VENV) .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist
