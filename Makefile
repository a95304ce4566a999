# Every target does its own set-up from nothing: system packages where it may install them, a virtual
# environment in .venv, an incremental build in build/. Nothing is done twice without need.
#   PYTHON=python3.13 make test     picks the interpreter (before .venv exists)
#   make test T="-k reload -x"      arguments for pytest; also for the long checks

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: demo test bench lint test-matrix soak torture fuzz test-asan test-valgrind clean help

T ?=

demo: ## a live session: edit, reload, break, repair, undo
	@tests/tools/setup.sh package
	@tests/tools/env.sh python tests/demo/demo.py

test: ## C++ units, then the Python and integration tests
	@tests/tools/setup.sh package native
	@tests/tools/test.sh $(T)

bench: ## the numbers of the README; also written to build/bench.json
	@tests/tools/setup.sh package
	@tests/tools/env.sh python tests/bench/bench.py --json build/bench.json

lint: ## formatting, clang-tidy, ruff, mypy, who may include whom
	@tests/tools/setup.sh package native lint
	@tests/tools/lint.sh

test-matrix: ## every binding library in every version, with every Python found
	@tests/tools/setup.sh package
	@tests/tools/env.sh python tests/matrix/matrix.py $(T)

soak: ## 1,200 reloads in one interpreter: answers, memory, time
	@tests/tools/setup.sh package
	@tests/tools/env.sh python tests/soak/soak.py $(T)

torture: ## 1,000 times kill -9, many reloads at once, power cuts: T="--kills 50" is shorter
	@tests/tools/setup.sh package
	@tests/tools/env.sh python tests/torture/torture.py $(T)

test-asan: ## the core scenarios under the address and undefined-behaviour sanitizers
	@tests/tools/setup.sh package asan
	@tests/tools/env.sh python tests/memory/memory.py asan $(T)

test-valgrind: ## the core scenarios under valgrind
	@tests/tools/setup.sh package valgrind
	@tests/tools/env.sh python tests/memory/memory.py valgrind $(T)

fuzz: ## every file format's reader under libFuzzer, 600 s each; T="--seconds 20" is shorter
	@tests/tools/setup.sh fuzz
	@tests/tools/env.sh python tests/fuzz/fuzz.py $(T)

clean: ## remove everything these targets made inside this folder
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache
	@echo "removed build/ and .venv/"

help: ## this list
	@sed -nE 's/^([a-z-]+): ## (.*)/  make \1\t\2/p' Makefile | expand -t 24
