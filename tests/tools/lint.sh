#!/usr/bin/env bash
# lint.sh: every check, all of them even when one fails.
source "$(dirname "$0")/common.sh"

failed=0
check() { step "$@" || failed=1; }

mapfile -t cxx < <(find shadow_store builder hook tests -name '*.cpp' -o -name '*.hpp' -o -name '*.h' | LC_ALL=C sort)
python=(python tests)

check "clang-format" clang-format clang-format --dry-run --Werror "${cxx[@]}"
check "ruff check" ruff ruff check --no-cache "${python[@]}"
check "ruff format" ruff-format ruff format --no-cache --check "${python[@]}"
check "mypy" mypy python -m mypy --cache-dir build/mypy
check "layers" layers python -m pytest -q -p no:cacheprovider tests/test_layering.py
check "clang-tidy" clang-tidy python tests/tools/tidy.py build/native build/core

if ((failed)); then say "lint: something failed, see above"; else say "lint: all clean"; fi
exit "$failed"
