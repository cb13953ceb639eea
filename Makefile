# Each target sets up what it needs in $(VENV); `make help` lists them.

VENV ?= .venv
# The first Python 3.11 to 3.13 that can make a virtual environment.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	>/dev/null 2>&1 && { echo "$$python"; break; }; done)
# More arguments for pytest, for example: make test ARGS="-k conv2d"; for make gpu see ARGS=--help
ARGS ?=
# A GPU's machine has CuPy and PyTorch in a Python of its own; nothing is installed into it.
GPU_PYTHON ?= $(or $(wildcard $(VENV)/bin/python),python3)

BIN := $(VENV)/bin
# Stamps: they are newer than pyproject.toml once what it asks for is installed.
RUN_READY := $(VENV)/.ready-to-run
DEV_READY := $(VENV)/.ready-to-develop
PEERS_READY := $(VENV)/.ready-to-compare
TYPES := $(VENV)/types

.NOTPARALLEL:
.PHONY: help demo test test-peers lint bench gpu browser clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16
	@echo "VENV=folder (default .venv) and PYTHON=program (default: a Python 3.11 to 3.13) can be given; for gpu"
	@echo "GPU_PYTHON=program (default: that of VENV if there is one, else python3), which must have CuPy and numba-cuda."

demo: $(RUN_READY) ## train a small network on real digits and test it
	@echo "Training on the digits in the package: $(BIN)/fastconv train"
	@$(BIN)/fastconv train

test: $(DEV_READY) ## run the tests
	@echo "Running the tests: $(BIN)/pytest -n 2 --dist loadfile $(ARGS)"
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-peers: $(PEERS_READY) ## compare with Keras (installs Keras and its backends first: 4 GB)
	@echo "Comparing with Keras: $(BIN)/pytest -m peers $(ARGS)"
	@$(BIN)/pytest -m peers $(ARGS)

lint: $(DEV_READY) ## check format, style and types
	@echo "Checking the format: ruff format --check"
	@$(BIN)/ruff format --check
	@echo "Checking the style: ruff check"
	@$(BIN)/ruff check
	@echo "Checking the types: mypy -p fastconv, in $(TYPES), which links to fastconv/ and to kernels/ as fastconv/kernels"
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/fastconv
	@ln -s $(CURDIR)/fastconv/* $(CURDIR)/kernels $(TYPES)/fastconv/
	@cd $(TYPES) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p fastconv

bench: $(DEV_READY) ## time the kernels on the layers of small networks
	@echo "Timing the kernels: $(BIN)/pytest bench --benchmark-only $(ARGS)"
	@$(BIN)/pytest bench --benchmark-only $(ARGS)

gpu: ## check and time the CUDA kernels on a GPU, or without one: make gpu ARGS=--dry-run
	@$(GPU_PYTHON) bench/gpu.py $(ARGS)

browser: ## install Chromium for the tests of the report (apt, as root)
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit; done; \
		echo "Installing Chromium: apt-get install chromium"; \
		{ timeout 120 apt-get update -qq && timeout 300 apt-get install -y -qq chromium; } >/dev/null 2>&1 || \
		echo "It was not installed: the tests of the report in a browser will be skipped."

clean: ## remove .venv and everything built
	rm -rf .venv build dist gpu-results *.egg-info .pytest_cache .ruff_cache .mypy_cache .benchmarks
	find fastconv kernels tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV_READY): EXTRAS := [dev]
$(PEERS_READY): EXTRAS := [dev,peers]
$(RUN_READY) $(DEV_READY) $(PEERS_READY): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		test -n "$(PYTHON)" || { \
			echo "No Python 3.11 to 3.13 with venv and ensurepip was found."; \
			echo "Install one (Debian, Ubuntu: apt install python3-venv) or give it: make PYTHON=/path/to/python3.12"; \
			exit 1; }; \
		echo "Creating $(VENV) with $(PYTHON)"; \
		"$(PYTHON)" -m venv "$(VENV)" || { \
			echo "$(PYTHON) cannot make a virtual environment. Debian, Ubuntu: apt install python3-venv"; \
			exit 1; }; }
	@echo "Installing fastconv$(EXTRAS) and what it needs into $(VENV) (minutes, the first time)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e ".$(EXTRAS)" || { \
		echo "The installation failed. Without a network, see 'Without a network' in README.md."; \
		exit 1; }
	@touch $(RUN_READY) $@
