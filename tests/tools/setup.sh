#!/usr/bin/env bash
# setup.sh [package] [native] [lint] [valgrind] [asan] [fuzz]: brings a machine from nothing to a working tree.
#   package   system packages, .venv, rehook built and installed into it
#   native    the C++ unit tests in build/native
#   lint      the linters
#   valgrind  the program of that name
#   asan      the sanitizers' libraries
#   fuzz      the fuzzers in build/fuzz
# Steps that are up to date are skipped. Packages are installed with apt-get when we are root or sudo
# asks no password; otherwise the exact line to type is printed.
source "$(dirname "$0")/common.sh"

wants() { [[ " $goals " == *" $1 "* ]]; }
has() { command -v "$1" >/dev/null 2>&1; }
pc() { has pkg-config && pkg-config --exists "$1" 2>/dev/null; }

goals="${*:-package}"
python_floor='import sys; sys.exit(sys.version_info < (3, 11))'

# ---------------------------------------------------------------- system packages

# is_usable <python>: new enough, able to make a virtual environment, with the C headers.
is_usable() {
  has "$1" && "$1" -c "$python_floor" 2>/dev/null && "$1" - >/dev/null 2>&1 <<'PY'
import ensurepip, os, sysconfig, venv
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
PY
}

candidates() {
  if [[ -n ${PYTHON:-} ]]; then printf '%s\n' "$PYTHON"; return; fi
  printf '%s\n' python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3
}

# Looks past .venv: an environment is not made from another one.
find_python() {
  local candidate PATH=${PATH#"$root/.venv/bin:"}
  while read -r candidate; do
    if is_usable "$candidate"; then command -v "$candidate"; return; fi
  done < <(candidates)
  return 1
}

# The apt names of a Python that can do it: the distribution's own, or the newest beside it.
apt_python() {
  local version major minor
  version=$(apt-cache show python3 2>/dev/null | sed -nE 's/^Version: ([0-9]+)\.([0-9]+).*/\1 \2/p' | head -1)
  read -r major minor <<<"${version:-0 0}"
  if ((major == 3 && minor >= 11)); then
    say "python3 python3-venv python3-dev"
    return
  fi
  for minor in 14 13 12 11; do
    if [[ -n $(apt-cache show "python3.$minor" 2>/dev/null) ]]; then
      say "python3.$minor python3.$minor-venv python3.$minor-dev"
      return
    fi
  done
  say "python3 python3-venv python3-dev"
}

cxx20() { has g++ && echo '#include <concepts>' | g++ -std=c++20 -x c++ -fsyntax-only - 2>/dev/null; }

# A name without a folder is what the compiler says when it has no such file.
has_sanitizers() { has c++ && [[ $(c++ -print-file-name=libasan.so) == /* ]]; }

# Whether clang++ has libFuzzer and the sanitizers, which some distributions package apart.
has_fuzzer() {
  has clang++ && mkdir -p build && clang++ -fsanitize=fuzzer,address,undefined -x c++ -o build/empty_fuzzer - 2>/dev/null <<'CPP'
#include <cstddef>
extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, std::size_t) { return 0; }
CPP
}

# Where there is no such package, it comes with clang.
apt_sanitizers() { if [[ -n $(apt-cache show libclang-rt-dev 2>/dev/null) ]]; then say libclang-rt-dev; fi; }

apt=() dnf=()
need() { apt+=("$1"); dnf+=("$2"); }

list_missing() {
  apt=() dnf=()
  cxx20 || need g++ gcc-c++
  has cmake || need cmake cmake
  has ninja || need ninja-build ninja-build
  has git || need git git-core
  has pkg-config || need pkg-config pkgconf-pkg-config
  pc libgit2 || need libgit2-dev libgit2-devel
  pc libxxhash || need libxxhash-dev xxhash-devel
  pc libdw || need libdw-dev elfutils-devel
  pc nlohmann_json || need nlohmann-json3-dev json-devel
  if wants native; then
    pc gtest || need libgtest-dev gtest-devel
    has clang++ || need clang clang # some cases read what both compilers write
  fi
  if wants valgrind; then has valgrind || need valgrind valgrind; fi
  if wants asan; then has_sanitizers || need g++ "libasan libubsan"; fi
  if wants fuzz; then
    has clang++ || need clang clang
    has_fuzzer || need "$(has apt-cache && apt_sanitizers)" compiler-rt
    has llvm-symbolizer || need llvm llvm # names in reports
  fi
  if wants lint; then has clang-tidy || need clang-tidy clang-tools-extra; fi
  if ! is_usable .venv/bin/python && ! find_python >/dev/null; then
    if [[ -n ${PYTHON:-} ]]; then
      die "PYTHON=$PYTHON is not a Python >= 3.11 with venv and its C headers"
    fi
    need "$(has apt-cache && apt_python || say 'python3 python3-venv python3-dev')" "python3 python3-devel"
  fi
}

as_root() {
  if [[ $(id -u) == 0 ]]; then echo env; return; fi
  if has sudo && sudo -n true 2>/dev/null; then echo "sudo -n env"; return; fi
  return 1
}

install_packages() {
  list_missing
  if ((${#apt[@]} == 0)); then return; fi
  if has apt-get; then
    local prefix
    if ! prefix=$(as_root); then
      say "these packages are missing, and this user may not install them. Type:"
      say "  sudo apt-get update && sudo apt-get install -y ${apt[*]}"
      exit 1
    fi
    # shellcheck disable=SC2086  # the prefix and the names are words
    step "package lists" apt-update $prefix DEBIAN_FRONTEND=noninteractive apt-get update -q
    list_missing # a fresh machine knew no versions before
    # shellcheck disable=SC2086
    step "packages: ${#apt[@]} missing" apt-install $prefix DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -q --no-install-recommends ${apt[*]}
  else
    say "these packages are missing. Type:"
    if has dnf; then
      say "  sudo dnf install -y ${dnf[*]}"
    else
      say "  the equivalent, on your system, of: apt-get install ${apt[*]}"
    fi
    exit 1
  fi
  list_missing
  if ((${#apt[@]})); then die "still missing after the installation: ${apt[*]}"; fi
}

# ---------------------------------------------------------------- Python

# A virtual environment knows its own path, so a moved tree gets a new one.
make_venv() {
  if is_usable .venv/bin/python && fresh .venv/stamp-root "$root"; then return; fi
  local python
  python=$(find_python) || die "no Python >= 3.11 with venv and its C headers"
  rm -rf .venv build/core
  step "virtual environment ($("$python" -V))" venv "$python" -m venv .venv
  printf '%s' "$root" >.venv/stamp-root
}

# What pyproject.toml asks for: to build, to run, to test, and the linters for `lint`. A CMake older
# than our floor is replaced inside the environment.
requirements() {
  .venv/bin/python tests/tools/requirements.py test "$@"
  if ! cmake --version | .venv/bin/python -c '
import re, sys
sys.exit(tuple(map(int, re.search(r"(\d+)\.(\d+)", sys.stdin.read()).groups())) < (3, 24))'; then
    echo "cmake>=3.24,<4"
  fi
}

install_requirements() {
  local list digest extras=()
  if wants lint || [[ -f .venv/stamp-dev ]]; then extras=(dev); fi
  list=$(requirements "${extras[@]}")
  digest=$(sha256sum <<<"$list" | cut -d' ' -f1)
  if fresh .venv/stamp-requirements "$digest"; then return; fi
  printf '%s\n' "$list" >build/requirements.txt
  step "Python packages" pip .venv/bin/python -m pip install "pip>=23.1" -r build/requirements.txt
  printf '%s' "$digest" >.venv/stamp-requirements
  if wants lint; then touch .venv/stamp-dev; fi
}

# Not editable: the tests see what a user gets. The build folder stays, so this is incremental.
install_rehook() {
  local digest
  # shellcheck disable=SC2046  # names without spaces, by construction
  digest=$(tree_digest $(sources))
  if fresh .venv/stamp-rehook "$digest"; then return; fi
  step "rehook, built and installed into .venv" package .venv/bin/python -m pip install -v --no-deps \
    --no-build-isolation --force-reinstall --config-settings=build-dir=build/core .
  step "rehook can be imported" import .venv/bin/python -P -c "import rehook"
  printf '%s' "$digest" >.venv/stamp-rehook
}

# ---------------------------------------------------------------- C++ units

build_native() {
  step "C++ units: configure" native-configure cmake -S . -B build/native -G Ninja \
    -DREHOOK_TESTS=ON -DREHOOK_PYTHON=OFF -DREHOOK_WERROR=ON
  step "C++ units: build" native-build cmake --build build/native
}

# Little optimization, so that sanitizers see what the source says; asserts of the standard library.
build_fuzzers() {
  step "fuzzers: configure" fuzz-configure cmake -S . -B build/fuzz -G Ninja \
    -DCMAKE_CXX_COMPILER=clang++ -DREHOOK_BUILD_FUZZERS=ON -DREHOOK_PYTHON=OFF \
    -DREHOOK_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -gline-tables-only"
  step "fuzzers: build" fuzz-build cmake --build build/fuzz --target rehook_fuzzers
}

install_packages
make_venv
install_requirements
if wants package; then install_rehook; fi
if wants native; then build_native; fi
if wants fuzz; then build_fuzzers; fi
