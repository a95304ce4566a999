#!/usr/bin/env bash
# test.sh [arguments for pytest]: the C++ units, then everything under tests/. Fails when either does.
# As many test processes as processors, at most eight; `make test T="-n 0 …"` has one (for --pdb, -s).
source "$(dirname "$0")/common.sh"

native=0 python=0
jobs=$(nproc 2>/dev/null || echo 2)

step "C++ units: run" ctest \
  ctest --test-dir build/native --output-on-failure --no-tests=error -j "$jobs" || native=1
grep -E '^[0-9]+% tests passed' build/logs/ctest.log || true

python -m pytest -n "$((jobs < 8 ? jobs : 8))" --dist loadgroup "$@" || python=1

if ((native)); then say "and the C++ units failed, see above or build/logs/ctest.log"; fi
exit $((native || python))
