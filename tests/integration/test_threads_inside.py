"""Threads that are inside the old build when the new one takes over finish there, and are told."""

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

CMAKE = cmake_lists(
    "napper",
    """
    Python_add_library(napper MODULE WITH_SOABI napper.c)
    set_target_properties(napper PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
    """,
)

HEAD = """
    #include <unistd.h>
    static int pipe_ends[2];
    static long wait_for_byte(void) {
      char byte;
      Py_BEGIN_ALLOW_THREADS
      if (read(pipe_ends[0], &byte, 1) != 1) byte = 0;
      Py_END_ALLOW_THREADS
      return 10;
    }
"""
FUNCTIONS = {"nap": "wait_for_byte()", "answer": "1", "writing_end": "pipe_ends[1]"}


def test_calls_in_flight_are_counted_and_finish_in_the_old_code(tmp_path):
    source = c_module("napper", FUNCTIONS, head=HEAD, body="if (pipe(pipe_ends) != 0) return -1;")
    project = Project.of_files(tmp_path, "napper", {"CMakeLists.txt": CMAKE, "napper.c": source})
    result = project.run(
        """
import concurrent.futures, threading, time
import rehook
rehook.install(projects=[ROOT])
import napper
nap, end = napper.nap, napper.writing_end()
never = threading.Event()
threading.Thread(target=never.wait, daemon=True).start()  # somewhere else
pool = concurrent.futures.ThreadPoolExecutor(3)
waiting = [pool.submit(nap) for _ in range(3)]
def inside():
    tasks = os.listdir("/proc/self/task")
    return sum(Path("/proc/self/task", t, "wchan").read_text() == "pipe_read" or
               Path("/proc/self/task", t, "syscall").read_text().startswith("0 ") for t in tasks)
while inside() < 3:
    time.sleep(0.001)

def reload(old, new):
    text = Path(ROOT, "napper.c").read_text()
    write("napper.c", text.replace(f"return {old};", f"return {new};"))
    return [one for one in rehook.reload().left if "napper" in one["what"]]

left = reload(10, 20)
os.write(end, b"xxx")
old_calls = [one.result() for one in waiting]
left_later = reload(20, 30)
os.write(napper.writing_end(), b"x")
print(json.dumps([left, old_calls, left_later, nap()]))
"""
    ).json
    left, old_calls, left_later, new_call = result
    assert [(one["what"], one["count"]) for one in left] == [
        ("threads inside the old build of napper", 3)
    ]
    assert old_calls == [10, 10, 10]
    assert left_later == []
    assert new_call == 30
