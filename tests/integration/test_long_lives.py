"""What many builds in one process take, how they end, and what they must not disturb."""

import re
import shutil
import subprocess
import textwrap

import pytest

from support.project import Project

CMAKE = """
cmake_minimum_required(VERSION 3.18...3.30)
project(single LANGUAGES C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
include(variant.cmake)
python_add_library(_core MODULE WITH_SOABI core.cpp)
install(TARGETS _core DESTINATION single)
"""

CORE = """
#include <Python.h>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define VALUE 1
#ifndef TLS
#define TLS 0
#endif

int plain_global() { return VALUE; }
#if TLS
thread_local char storage[TLS] = {1};
#endif
struct Log {
  std::vector<int> values = std::vector<int>(3, VALUE);
  ~Log() { if (getenv("SAY_GOODBYE")) std::fprintf(stderr, "goodbye %d\\n", VALUE); }
};
Log global_log;

static PyObject* value(PyObject*, PyObject*) {
  char* const block = static_cast<char*>(std::malloc(100));
  std::free(block);
  int result = plain_global() * 10 + static_cast<int>(global_log.values.size());
#if TLS
  result += storage[0] - 1;
#endif
  return PyLong_FromLong(result);
}
static PyMethodDef functions[] = {
    {"value", value, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef_Slot slots[] = {{0, nullptr}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, 0, functions, slots,
                                 nullptr, nullptr, nullptr};
PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&definition); }
"""

SETUP = """
import rehook
rehook.install(projects=[ROOT])
import single
from single import _core
def build(number):
    '''Save another source; an earlier one is served from the store.'''
    path = Path(ROOT, "core.cpp")
    text = path.read_text(encoding="utf-8")
    old = text.split("#define VALUE ")[1].split("\\n")[0]
    edit("core.cpp", f"VALUE {old}\\n", f"VALUE {number}\\n")
    rehook.reload()
    return _core.value()
def count_maps():
    return Path("/proc/self/maps").read_text(encoding="utf-8").count("\\n")
"""


@pytest.fixture
def single(tmp_path):
    """Return a function that makes a project of one extension: single(variant) -> Project."""

    def make(variant="", **environment):
        files = {
            "CMakeLists.txt": CMAKE,
            "core.cpp": CORE,
            "variant.cmake": variant + "\n",
            "single/__init__.py": "",
        }
        project = Project.of_files(tmp_path, "single", files)
        project.env.update(environment)
        return project

    return make


def run(project, script, **options):
    return project.run(SETUP + textwrap.dedent(script), **options)


def test_many_reloads_and_the_end(single):
    """Mappings and files stay within bounds; every static object is destroyed once."""
    project = single(SAY_GOODBYE="1")
    done = run(
        project,
        """
        seen = [build(2), build(1)]
        def bytes_read():
            text = Path("/proc/self/io").read_text(encoding="ascii")
            return int(text.split("rchar: ")[1].split()[0])
        def read_by_a_reload():
            before = bytes_read()
            for number in (2, 1):
                build(number)
            return (bytes_read() - before) / 2
        def length_of_maps():
            return len(Path("/proc/self/maps").read_bytes())
        read, length = read_by_a_reload(), length_of_maps()
        before, files = count_maps(), len(os.listdir("/proc/self/fd"))
        wrong = [number for number in range(200)
                 if build((number + 1) % 2 + 1) != 10 * ((number + 1) % 2 + 1) + 3]
        generations = rehook.generations()
        print(json.dumps({
            "maps": (count_maps() - before) / 200,
            "files": len(os.listdir("/proc/self/fd")) - files,
            "read": (read_by_a_reload() - read) / (length_of_maps() - length),
            "wrong": wrong,
            "count": len(generations),
            "private": (generations.totals["bytes of memory"]["used"]) / len(generations),
        }))
        """,
        timeout=900,
    )
    seen = done.json
    assert seen["wrong"] == []
    assert seen["maps"] <= 6
    assert seen["files"] == 0
    # The list of mappings, which gets longer with each of them, is read once per reload at most.
    assert seen["read"] < 1.5
    assert seen["count"] == 205
    assert seen["private"] < 250_000
    goodbyes = done.stderr.count("goodbye")
    assert goodbyes == 207


def test_other_users_of_many_mappings(single):
    """At half of the limit a warning, at four fifths a refusal, never a crash."""
    project = single()
    done = run(
        project,
        """
        import ctypes, mmap
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3,
                              ctypes.c_long]
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        limit = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="utf-8"))
        def fill(share):
            missing = int(limit * share) - count_maps()
            pages = max(missing, 2)
            start = libc.mmap(None, 4096 * pages, 3, 0x22, -1, 0)
            for page in range(0, pages, 2):
                libc.mprotect(start + 4096 * page, 4096, 1)
        seen = [build(2)]
        fill(0.55)
        seen.append(build(3))
        fill(0.82)
        try:
            seen.append(build(4))
        except rehook.ReloadError as error:
            seen += [str(error), error.hint]
        seen.append(_core.value())
        print(json.dumps(seen))
        """,
    )
    first, second, message, hint, after = done.json
    assert [first, second, after] == [23, 33, 33]
    assert re.search(r"not reloaded: \d+ of \d+ memory mappings are used", message)
    assert "restart" in hint
    assert done.stderr.count("half of the memory mappings are used") == 1


def test_initial_exec_thread_locals(single):
    """The room for them is small; when it is gone the running build stays."""
    project = single(
        "add_compile_options(-ftls-model=initial-exec)\nadd_compile_definitions(TLS=64)"
    )
    done = run(
        project,
        """
        passed = 0
        seen = {}
        for number in range(3, 60):
            try:
                if build(number % 2 + 1) != 10 * (number % 2 + 1) + 3:
                    seen["wrong"] = number
            except rehook.ReloadError as error:
                seen.update(message=str(error), hint=error.hint)
                break
            passed += 1
        seen.update(passed=passed, after=_core.value(),
                    total=rehook.generations().totals["bytes of static thread-local storage"])
        print(json.dumps(seen))
        """,
    )
    seen = done.json
    assert "wrong" not in seen
    assert seen["passed"] >= 20
    assert "static TLS" in seen["message"]
    assert "initial-exec" in seen["hint"]
    assert seen["after"] in {13, 23}
    assert seen["total"]["used"] == 64 * (seen["passed"] + 1)
    assert "it can be reloaded about" in done.stderr
    assert done.stderr.count("half of the bytes of static thread-local storage are used") == 1


@pytest.mark.parametrize("first", ["through rehook", "before rehook"])
def test_an_interpreter_that_loads_globally(single, first):
    """A build that was loaded with RTLD_GLOBAL lends nothing to the next one."""
    project = single(SAY_GOODBYE="1")
    if first == "through rehook":
        script = (
            "import os, sys\nsys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)\n"
            + SETUP
            + "print(json.dumps([_core.value(), build(2), build(3)]))\n"
        )
    else:
        # As an interpreter without rehook would: the file that the build made.
        project.run("import rehook\nrehook.install(projects=[ROOT])\nimport single._core")
        script = (
            textwrap.dedent(
                """
                import os, sys, importlib.util
                sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
                import single
                file, = _project.store.glob("projects/*/*/build/_core*.so")
                spec = importlib.util.spec_from_file_location("single._core", file)
                module = importlib.util.module_from_spec(spec)
                sys.modules["single._core"] = single._core = module
                spec.loader.exec_module(module)
                """
            )
            + SETUP
            + "print(json.dumps([_core.value(), build(2), build(3)]))\n"
        )
    done = project.run(script)
    assert done.json == [13, 23, 33]
    assert sorted(re.findall(r"goodbye \d", done.stderr)) == ["goodbye 1", "goodbye 2", "goodbye 3"]


ALLOCATOR = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Blocks carry a mark; a block without one was allocated by somebody else. */
static char arena[1 << 28];
static size_t used;
static const uint64_t mark = 0x5ca1ab1e0ddba115u;
static uint64_t* header(void* p) { return (uint64_t*)((char*)p - 16); }
void* malloc(size_t size) {
  size_t need = (size + 16 + 15) & ~(size_t)15;
  size_t at = __atomic_fetch_add(&used, need, __ATOMIC_RELAXED);
  if (at + need > sizeof arena) return NULL;
  uint64_t* h = (uint64_t*)(((uintptr_t)arena + 15 & ~(uintptr_t)15) + at);
  h[0] = mark;
  h[1] = size;
  return h + 2;
}
void free(void* p) {
  if (p != NULL && *header(p) != mark) {
    (void)!write(2, "FOREIGN FREE\\n", 13);
    abort();
  }
}
void* calloc(size_t n, size_t m) { void* p = malloc(n * m); return p ? memset(p, 0, n * m) : p; }
void* realloc(void* p, size_t size) {
  void* q = malloc(size);
  if (p != NULL && q != NULL) memcpy(q, p, header(p)[1] < size ? header(p)[1] : size);
  return q;
}
"""


def test_a_preloaded_allocator(single, tmp_path):
    """Every build uses the allocator that the process was started with."""
    source = tmp_path / "allocator.c"
    source.write_text(ALLOCATOR, encoding="utf-8")
    library = tmp_path / "allocator.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    project = single()
    run(project, "print(json.dumps([build(2), build(1)]))")
    done = run(
        project,
        """
        seen = [build(2), build(1)]
        os.environ.pop("LD_PRELOAD")
        print(json.dumps(seen))
        """,
        env={"LD_PRELOAD": str(library)},
    )
    assert done.json == [23, 13]
    assert "FOREIGN FREE" not in done.stderr


@pytest.mark.skipif(not shutil.which("addr2line"), reason="there is no addr2line")
@pytest.mark.parametrize("options", ["-g", "-g -gz"])
def test_source_lines_of_copies(single, options):
    """Tools find the source of code in a shadow copy, also in one that is retired."""
    project = single(f"add_compile_options({options})")
    run(
        project,
        """
        import subprocess
        build(2), build(3)
        for one in rehook.generations()[1:]:
            where = subprocess.run(["nm", "-C", one["file"]], capture_output=True, text=True,
                                   check=True).stdout
            address = [line.split()[0] for line in where.splitlines()
                       if line.endswith("plain_global()")]
            told = subprocess.run(["addr2line", "-e", one["file"], *address],
                                  capture_output=True, text=True, check=True).stdout
            assert "core.cpp:12" in told, told
        """,
    )


@pytest.mark.skipif(not shutil.which("gdb"), reason="there is no gdb")
def test_a_debugger_attaches(single):
    """gdb shows where a thread stands in a retired build."""
    project = single("add_compile_options(-g)")
    project.edit(
        "core.cpp",
        "static PyMethodDef functions[] = {",
        """
        #include <unistd.h>
        static PyObject* stop(PyObject*, PyObject*) {
          Py_BEGIN_ALLOW_THREADS
          pause();
          Py_END_ALLOW_THREADS
          Py_RETURN_NONE;
        }
        static PyMethodDef functions[] = {
            {"stop", stop, METH_NOARGS, nullptr},
        """,
    )
    done = run(
        project,
        """
        import subprocess, threading
        old = _core.stop
        thread = threading.Thread(target=old, daemon=True)
        thread.start()
        build(2), build(3)
        done = subprocess.run(["gdb", "-p", str(os.getpid()), "-batch", "-nx", "-iex",
                               "set debuginfod enabled off", "-ex", "thread apply all bt 5"],
                              capture_output=True, text=True)
        print(json.dumps(done.stdout + done.stderr))
        sys.stdout.flush()
        os._exit(0)
        """,
    )
    shown = done.json
    if "Could not attach" in shown or "ptrace" in shown:
        pytest.skip("this machine does not let a debugger attach")
    assert re.search(r"stop \(.*core\.cpp:\d+", shown), shown


@pytest.mark.skipif(not shutil.which("gdb"), reason="there is no gdb")
def test_source_lines_in_files_beside_the_build(single):
    """With split DWARF the lines are in the build folder, and the copy leads there."""
    project = single("add_compile_options(-g -gsplit-dwarf)")
    done = run(
        project,
        """
        import subprocess
        build(2)
        file = rehook.generations()[-1]["file"]
        done = subprocess.run(["gdb", "-batch", "-nx", "-iex", "set debuginfod enabled off",
                               "-ex", "info line plain_global", file],
                              capture_output=True, text=True)
        print(json.dumps(done.stdout + done.stderr))
        """,
    )
    assert re.search(r"Line 12 of .*core\.cpp", done.json), done.json
