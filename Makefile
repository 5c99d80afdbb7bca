# Every target makes what it needs: .venv, and system packages where they are missing.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ROS1_VENV := .venv-ros
ROS1_READY := $(ROS1_VENV)/.ready
ROS2_DISTRO ?= jazzy
ROS2_VENV := $(if $(filter jazzy,$(ROS2_DISTRO)),.venv-ros2,.venv-ros2-$(ROS2_DISTRO))
ROS2_READY := $(ROS2_VENV)/.ready
TASKS_VENV := .venv-tasks
TASKS_READY := $(TASKS_VENV)/.ready
OLD_TASKS_VENV := .venv-tasks-old
OLD_TASKS_READY := $(OLD_TASKS_VENV)/.ready
TASKS_TESTS := tests/unit/envs/tasks/foreign
LEROBOT_VENV := .venv-lerobot
LEROBOT_READY := $(LEROBOT_VENV)/.ready
DEMO_ARGS ?=
WORKERS ?= 2
PYTEST_ARGS ?=

# Where Python may not keep bytecode, each of the processes that tests start compiles what it imports
# anew, thousands of files of PyTorch, SymPy and others, which takes longer than most of these tests.
export PYTHONDONTWRITEBYTECODE :=

# One thread a worker: two workers with two threads each take longer than one after the other.
PYTEST_ENV := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE}
# A file is run by one worker, so that what its tests share is made once, in the order of folders.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
FAST := not slow and not long and not render and not process and not runtime and not browser

.DEFAULT_GOAL := help
.PHONY: help setup system format check lint test test-fast test-main test-ros test-ros-nodes test-ros-loop ros1-test test-ros2 test-ros2-nodes test-ros2-loop ros2-test test-slurm test-tasks test-lerobot test-parity docs build demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "PYTHON=python3.12 picks the interpreter, WORKERS=4 the number of test processes,"
	@echo "PYTEST_ARGS='-k tiling' adds options to pytest, DEMO_ARGS=--quick shortens the demo to about half."

setup: system $(READY) ## make .venv with the package and the development tools

system:
	@bash tools/system_packages.sh

$(READY): pyproject.toml tools/setup_venv.sh tools/pip_settings_for_uv.py
	PYTHON=$(PYTHON) bash tools/setup_venv.sh $(VENV)
	@touch $@

format: setup ## sort imports, fix what ruff can fix, format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: setup ## lint, formatting, types, import rules, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell

lint: check ## the same as check

test: setup ## everything: check, docs, all tests, ROS nodes
	@bash tools/test_all.sh

test-fast: setup ## short unit tests without subprocess, renderer, compiled runtime or ROS
	$(PYTEST_ENV) $(BIN)/python -m pytest tests/unit $(PARALLEL) -m "$(FAST)" --timeout 30 $(PYTEST_ARGS)

test-main: setup
	$(PYTEST_ENV) $(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

# Where ROS 1 cannot be had (it is in Debian 12), this prints so and tests nothing. The closed loop
# runs in real time: beside other work the actions come late and cubes are missed.
ROS1_NODE_TESTS := tests/ros/test_ros1_node.py tests/ros/test_ros1_lerobot_policy.py
ROS1_LOOP_TESTS := tests/ros/test_ros1_closed_loop.py
ROS1_TESTS ?= $(ROS1_NODE_TESTS) $(ROS1_LOOP_TESTS)
test-ros: setup ## the ROS nodes on a master that the tests start
	@bash tools/ros1_packages.sh; status=$$?; \
	if [ $$status = 3 ]; then echo "SKIPPED: the tests of the ROS 1 nodes"; exit 0; fi; \
	[ $$status = 0 ] && $(MAKE) --no-print-directory $(ROS1_READY) && \
	$(PYTEST_ENV) $(ROS1_VENV)/bin/python -m pytest $(ROS1_TESTS) $(PYTEST_ARGS)

test-ros-nodes:
	@$(MAKE) --no-print-directory test-ros ROS1_TESTS="$(ROS1_NODE_TESTS)"

test-ros-loop:
	@$(MAKE) --no-print-directory test-ros ROS1_TESTS="$(ROS1_LOOP_TESTS)"

ros1-test: test-ros

$(ROS1_READY): $(READY) tools/setup_ros1_venv.sh tools/add_command.sh
	bash tools/setup_ros1_venv.sh $(ROS1_VENV) $(VENV)
	@touch $@

ROS2_PARTS := node data quality policy lifecycle parameters camera recorder closed_loop
ROS2_TESTS ?= $(ROS2_PARTS:%=tests/ros/test_ros2_%.py)
test-ros2: setup ## the ROS 2 nodes on real rclpy and FastDDS, in an environment of wheels
	@bash tools/ros2_wheels.sh $(ROS2_READY) $(BIN)/python $(ROS2_DISTRO); status=$$?; \
	if [ $$status = 3 ]; then echo "SKIPPED: the tests of the ROS 2 nodes"; exit 0; fi; \
	[ $$status = 0 ] && $(MAKE) --no-print-directory $(ROS2_READY) && \
	$(PYTEST_ENV) $(ROS2_VENV)/bin/python -m pytest $(ROS2_TESTS) $(PYTEST_ARGS)

test-ros2-nodes:
	@$(MAKE) --no-print-directory test-ros2 PYTEST_ARGS='-m "not slow" $(PYTEST_ARGS)'

test-ros2-loop:
	@$(MAKE) --no-print-directory test-ros2 PYTEST_ARGS='-m slow $(PYTEST_ARGS)'

ros2-test: test-ros2

ROS2_MSGS := $(wildcard ros/ros2/s2robot_msgs/*.* ros/ros2/s2robot_msgs/msg/*.msg)
$(ROS2_READY): $(READY) tools/setup_ros2_venv.sh tools/add_command.sh $(ROS2_MSGS)
	bash tools/setup_ros2_venv.sh $(ROS2_VENV) $(VENV) $(ROS2_DISTRO)
	@touch $@

test-slurm: setup ## sweeps as jobs of a Slurm cluster of one node, which the tests start
	@bash tools/slurm_packages.sh; status=$$?; \
	if [ $$status = 3 ]; then echo "SKIPPED: the tests with Slurm"; exit 0; fi; [ $$status = 0 ] && \
	$(BIN)/python -m pip install -q 'hydra-submitit-launcher>=1.2' && \
	$(PYTEST_ENV) $(BIN)/python -m pytest tests/slurm $(PYTEST_ARGS)

test-tasks: $(TASKS_READY) $(OLD_TASKS_READY) ## tasks of other packages, in two environments with them
	$(PYTEST_ENV) $(TASKS_VENV)/bin/python -m pytest $(TASKS_TESTS) $(PYTEST_ARGS)
	$(PYTEST_ENV) $(OLD_TASKS_VENV)/bin/python -m pytest $(TASKS_TESTS) $(PYTEST_ARGS)

$(TASKS_READY): $(READY) tools/setup_tasks_venv.sh tools/add_command.sh
	bash tools/setup_tasks_venv.sh $(TASKS_VENV) $(VENV) new
	@touch $@

$(OLD_TASKS_READY): $(READY) tools/setup_tasks_venv.sh tools/add_command.sh
	bash tools/setup_tasks_venv.sh $(OLD_TASKS_VENV) $(VENV) old
	@touch $@

test-lerobot: setup $(LEROBOT_READY) ## the LeRobot plug-ins, in an environment with LeRobot (Python 3.12)
	$(BIN)/pyright -p integrations/lerobot --pythonpath $(LEROBOT_VENV)/bin/python
	$(PYTEST_ENV) $(LEROBOT_VENV)/bin/python -m pytest tests/lerobot_plugins $(PYTEST_ARGS)

$(LEROBOT_READY): pyproject.toml tools/setup_lerobot_venv.sh
	bash tools/setup_lerobot_venv.sh $(LEROBOT_VENV)
	@touch $@

test-parity: setup ## against the original packages and on a GPU, where they are
	$(PYTEST_ENV) $(BIN)/python -m pytest -m "parity or gpu" $(PYTEST_ARGS)

docs: setup ## the documentation site, in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: setup ## wheel and sdist in dist/, each installed outside the tree and tried
	@bash tools/check_build.sh $(BIN)/python

demo: setup ## demonstrations, embeddings, policies, rollouts, report: one page in runs/demo
	$(BIN)/s2robot demo $(DEMO_ARGS)

clean: ## remove build outputs, caches, runs/ and data/
	rm -rf build dist site .pytest_cache .ruff_cache .import_linter_cache runs data
