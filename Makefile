# make demo   watch it decide (no root, no broker needed)      DEMO_SECONDS=N ends it after N seconds
# make demo-update  watch a model being published, fetched, tried and kept, and a bad one not
# make test   linters, types, import contracts, tests          PYTEST="-k outbox" narrows the tests
# make test-slow  the tests that take long                     PYTEST="-k outbox" narrows the tests
# make forge  the tools that build models, in .venv-forge     then .venv-forge/bin/appliance forge --help
# make test-forge  real trainings and conversions, in there   PYTEST="-k quantize" narrows the tests
# make bench  speed as ratios, measured in one run             BENCH="--json bench.json"

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
TFLITE := .venv-tflite
FORGE  := .venv-forge
PARALLEL := -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo demo-update test test-slow lint bench forge test-forge contract-tflite clean

help:
	@sed -n 's/^# //p' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv module: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the appliance (about 250 MB, once) ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing the appliance and its test tools (about 350 MB, once) ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/appliance demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

demo-update: $(VENV)/.demo
	@$(BIN)/appliance demo --update

test: lint contract-tflite
	@$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

test-slow: $(VENV)/.dev
	@.ci/system-packages $(BIN)/python
	@$(BIN)/python -m pytest -m slow $(PARALLEL) $(PYTEST)

lint: $(VENV)/.dev
	@.ci/system-packages $(BIN)/python
	@echo "ruff ..."; $(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@echo "mypy ..."; $(BIN)/mypy
	@set -e; for recipe in models/*/build.py models/imported/*/build.py tests/data/models/*/build.py; do $(BIN)/mypy --no-error-summary $$recipe; done
	@echo "import contracts ..."; $(BIN)/lint-imports

# The same contract on the other TFLite runtime, in an environment of its own: it needs NumPy below 2 and Python 3.11.
contract-tflite: $(TFLITE)/.installed
	@test ! -x $(TFLITE)/bin/pytest || $(TFLITE)/bin/python -m pytest --quiet tests/contract/test_backend.py

$(TFLITE)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@mkdir -p $(TFLITE)
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then \
	  echo "installing tflite-runtime in $(TFLITE) ..." && $(PYTHON) -m venv $(TFLITE) && \
	  grep -vE '^(numpy|opencv-python-headless)==' constraints.txt >$(TFLITE)/constraints.txt && \
	  $(TFLITE)/bin/python -m pip --disable-pip-version-check install --quiet \
	    --constraint $(TFLITE)/constraints.txt 'tflite-runtime==2.14.0' 'numpy<2' 'opencv-python-headless<4.12' \
	    paho-mqtt prometheus-client pydantic structlog hypothesis pytest pytest-randomly pytest-timeout; \
	else echo "tflite-runtime has wheels for Python 3.11 only: its contract suite does not run here"; fi
	@touch $@

forge: $(FORGE)/.installed
	@echo "ready: $(FORGE)/bin/appliance forge --help"

test-forge: $(FORGE)/.installed
	@$(FORGE)/bin/python -m pytest tests/forge_slow $(PYTEST)

# tf-keras asks for the package tensorflow, which would overwrite tensorflow-cpu's files, and is content with the
# latter; so it and tensorflow-model-optimization come without their dependencies. Decision 0009.
$(FORGE)/.installed: $(BIN)/python pyproject.toml constraints.txt constraints-forge.txt
	@echo "installing the forge's tools in $(FORGE) (about 2.1 GB, once) ..."
	@$(PYTHON) -m venv $(FORGE)
	@$(FORGE)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  --constraint constraints-forge.txt --editable '.[forge,dev]'
	@$(FORGE)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints-forge.txt \
	  --no-deps tf-keras tensorflow-model-optimization
	@touch $@

bench: $(VENV)/.dev
	@.ci/system-packages $(BIN)/python
	@$(BIN)/appliance bench $(BENCH)

clean:
	rm -rf $(VENV) $(TFLITE) $(FORGE) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
