# `make demo`: set-up, then demonstrations -> embeddings -> policies -> rollouts -> report.
# `make test`: set-up, then the tests. Both make .venv and install system packages when missing.
# `make ros1-test`: the ROS 1 nodes on a master of their own; `make test` ends with it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ROS1_VENV := .venv-ros
ROS1_READY := $(ROS1_VENV)/.ready
PYTEST := OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE}
DEMO_ARGS ?=

.PHONY: help demo test ros1-test lint setup system clean

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
	$(PYTEST) $(BIN)/python -m pytest
	@$(MAKE) --no-print-directory ros1-test

# Where ROS 1 cannot be had (it is in Debian 12), this says so and tests nothing.
ros1-test: setup
	@bash tools/ros1_packages.sh; status=$$?; \
	if [ $$status = 3 ]; then echo "SKIPPED: the tests of the ROS 1 nodes"; exit 0; fi; \
	[ $$status = 0 ] && $(MAKE) --no-print-directory $(ROS1_READY) && \
	$(PYTEST) $(ROS1_VENV)/bin/python -m pytest tests/ros/test_ros1_node.py tests/ros/test_ros1_closed_loop.py

$(ROS1_READY): $(READY) tools/setup_ros1_venv.sh
	bash tools/setup_ros1_venv.sh $(ROS1_VENV) $(VENV)
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf build dist .pytest_cache .ruff_cache runs data
