"""A project that is made of everything a build can depend on, and what tests ask of it."""

from support.sources import c_module, cmake_lists

# One number in each file, and a function that gives it, so that one sees what a build is made of.
PARTS = {
    "CMakeLists.txt": cmake_lists(
        "parts",
        """
        set(number 1)
        add_subdirectory(lib)
        set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
        configure_file(config.h.in ${generated}/config.h @ONLY)
        add_custom_command(
          OUTPUT ${generated}/table.h
          COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_CURRENT_SOURCE_DIR}/table.txt
                  -DOUT=${generated}/table.h -P ${CMAKE_CURRENT_SOURCE_DIR}/table.cmake
          DEPENDS table.txt table.cmake)
        add_custom_command(
          OUTPUT ${generated}/copy.h
          COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_CURRENT_SOURCE_DIR}/include/both.h
                  -DOUT=${generated}/copy.h -P ${CMAKE_CURRENT_SOURCE_DIR}/copy.cmake
          DEPENDS include/both.h copy.cmake)
        file(GLOB watched CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/watched/*.c)
        file(GLOB plain ${CMAKE_CURRENT_SOURCE_DIR}/plain/*.c)
        python_add_library(_core MODULE WITH_SOABI core.c other.c ${watched} ${plain}
                           ${generated}/table.h ${generated}/copy.h)
        target_compile_definitions(_core PRIVATE DEFINED=${number})
        target_include_directories(_core PRIVATE include ${generated})
        target_link_libraries(_core PRIVATE lib)
        install(TARGETS _core DESTINATION parts)
        """,
    ),
    "core.c": c_module(
        "_core",
        {
            "core": "1",
            "other": "other_number()",
            "header": "HEADER",
            "shared": "SHARED + 10 * other_shared()",
            "both": "COPY + 10 * other_both()",  # a header that is also what another is made of
            "table": "TABLE",
            "config": "CONFIG",
            "lib": "lib_number()",
            "lib_header": "LIB_HEADER",
            "defined": "DEFINED",
            "globs": "files",
            "flag": "FLAG",
        },
        head="""
            #include "config.h"
            #include "copy.h"
            #include "header.h"
            #include "lib.h"
            #include "shared.h"
            #include "table.h"
            #ifndef FLAG
            #define FLAG 0
            #endif
            long other_number(void);
            long other_shared(void);
            long other_both(void);
            int files;
        """,
    ),
    "other.c": '#include "both.h"\n#include "shared.h"\n'
    "long other_both(void) { return BOTH; }\n"
    "long other_number(void) { return 1; }\n"
    "long other_shared(void) { return SHARED; }\n",
    "include/header.h": "#pragma once\n#define HEADER 1\n",
    "include/shared.h": "#pragma once\n#define SHARED 1\n",
    "include/both.h": "#define BOTH 1\n",
    "copy.cmake": 'file(READ "${IN}" text)\n'
    'string(REPLACE BOTH COPY text "${text}")\n'
    'file(WRITE "${OUT}" "${text}")\n',
    "config.h.in": "#pragma once\n// @number@\n#define CONFIG 1\n",
    "table.txt": "1\n",
    "table.cmake": 'file(STRINGS "${IN}" number)\n'
    'file(WRITE "${OUT}" "#define TABLE ${number}\\n")\n',
    "lib/CMakeLists.txt": "add_library(lib STATIC lib.c)\n"
    "target_include_directories(lib PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})\n"
    "set_target_properties(lib PROPERTIES POSITION_INDEPENDENT_CODE ON)\n",
    "lib/lib.c": '#include "lib.h"\nlong lib_number(void) { return 1; }\n',
    "lib/lib.h": "#pragma once\n#define LIB_HEADER 1\nlong lib_number(void);\n",
    "watched/none.c": "typedef int empty;\n",
    "plain/none.c": "typedef int empty;\n",
    "parts/__init__.py": "from . import _core\n",
}
A_FILE_MORE = "extern int files;\n__attribute__((constructor)) static void add(void) { ++files; }\n"

# value(): what the loaded build was made of. put(): change a file's number, with a time stamp.
HELPERS = """
import rehook
rehook.install(projects=[ROOT])
import parts

NAMES = ("core", "other", "header", "shared", "both", "table", "config", "lib", "lib_header",
         "defined", "globs", "flag")
TEXTS = {
    "core": ("core.c", "(long)({})"), "other": ("other.c", "return {};"),
    "header": ("include/header.h", "HEADER {}"), "shared": ("include/shared.h", "SHARED {}"),
    "both": ("include/both.h", "BOTH {}"),
    "table": ("table.txt", "{}"), "config": ("config.h.in", "CONFIG {}"),
    "lib": ("lib/lib.c", "return {};"), "lib_header": ("lib/lib.h", "LIB_HEADER {}"),
    "defined": ("CMakeLists.txt", "number {})"),
}

def values(*names):
    return {name: getattr(parts._core, name)() for name in names or NAMES}

def put(name, new, stamp="now"):
    file, text = TEXTS[name]
    path = Path(ROOT, file)
    before = path.stat()
    content = path.read_text()
    old = next(n for n in range(1, 10) if text.format(n) in content)
    if stamp == "now":
        edit(file, text.format(old), text.format(new))
        return
    path.write_text(content.replace(text.format(old), text.format(new)))
    times = {"same": before.st_mtime_ns, "older": before.st_mtime_ns - 10**12,
             "ancient": (1_600_000_000 + new) * 10**9}
    os.utime(path, ns=(times[stamp], times[stamp]))

def compiled():
    log = Path(ROOT).parent / "compiles.txt"
    return sorted(Path(line).name for line in log.read_text().splitlines()) if log.exists() else []
"""
ALL_OF_CORE = ["core.c", "none.c", "none.c", "other.c"]
ONE = dict.fromkeys(
    ("core", "other", "header", "table", "config", "lib", "lib_header", "defined"), 1
) | {"shared": 11, "both": 11, "globs": 0, "flag": 0}
