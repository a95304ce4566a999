#!/usr/bin/env bash
# test.sh [arguments for pytest]: the C++ units, then everything under tests/. Fails when either does.
source "$(dirname "$0")/common.sh"

native=0 python=0
jobs=$(nproc 2>/dev/null || echo 2)

step "C++ units: run" ctest \
  ctest --test-dir build/native --output-on-failure --no-tests=error -j "$jobs" || native=1
grep -E '^[0-9]+% tests passed' build/logs/ctest.log || true

python -m pytest "$@" || python=1

if ((native)); then say "and the C++ units failed, see above or build/logs/ctest.log"; fi
exit $((native || python))
