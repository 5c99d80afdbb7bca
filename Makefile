# `make demo`: set-up, then demonstrations -> embeddings -> policies -> rollouts -> report.
# `make test`: set-up, then the tests. Both make .venv and install system packages when missing.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_ARGS ?=

.PHONY: help demo test lint setup system clean

help:
	@grep -E '^# ' Makefile | cut -c3-
	@echo "Others: make setup | lint | clean.  DEMO_ARGS=--quick make demo  takes a fifth of the time."

setup: system $(READY)

system:
	@bash tools/system_packages.sh

# robomimic's egl_probe is built from source: it needs cmake on PATH, and its CMakeLists asks for a
# policy version that cmake 4 dropped.
$(READY): pyproject.toml tools/setup_venv.sh
	PYTHON=$(PYTHON) bash tools/setup_venv.sh $(VENV)
	@touch $@

demo: setup
	$(BIN)/s2robot demo $(DEMO_ARGS)

test: setup lint
	OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE} $(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf build dist .pytest_cache .ruff_cache runs data
