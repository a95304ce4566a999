# Sourced by the scripts beside it: where things are, and how a step is run.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
export PATH="$root/.venv/bin:$PATH"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# A jobserver inherited from `make -j` would not understand ninja.
unset MAKEFLAGS MFLAGS PYTHONPATH PYTHONHOME
mkdir -p build/logs

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step <what> <log name> <command...>: one line when it works; everything it printed when not.
# The command is one command: inside `if`, bash does not stop at a failure within a function.
step() {
  local what=$1 log="build/logs/$2.log" code=0 start=$SECONDS
  shift 2
  printf '%-46s' "$what"
  "$@" >"$log" 2>&1 || code=$?
  if ((code)); then
    printf 'FAILED\n'
    cat "$log"
    say "the step \"$what\" failed; its output is in $log"
    return "$code"
  fi
  printf 'ok  %3d s\n' $((SECONDS - start))
}

# The digest of all files below these paths (names and contents).
tree_digest() {
  find "$@" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
    xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# fresh <stamp file> <digest>: is the stamp there, and of this digest?
fresh() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# The folders of the C++ code and of the Python package that exist by now.
sources() {
  local path
  for path in CMakeLists.txt pyproject.toml shadow_store builder hook python; do
    if [[ -e $path ]]; then printf '%s\n' "$path"; fi
  done
}
