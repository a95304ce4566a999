"""Who may include whom: what the link lines of CMake cannot catch. See .github/CONTRIBUTING.md."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ("shadow_store", "builder", "hook", "tests", "fixtures")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
IMPORT_CORE = re.compile(
    r"^\s*(?:from\s+(?:rehook)?\.?_core\s+import|import\s+rehook\._core"
    r"|from\s+(?:rehook|\.)\s+import\s+[^#\n]*\b_core\b)",
    re.MULTILINE,
)

# Folder of the including file (the longest match counts) -> folders of ours it may include.
MAY_INCLUDE = {
    "shadow_store/base/": ("shadow_store/base/",),
    "shadow_store/": ("shadow_store/",),
    "builder/": ("builder/", "shadow_store/base/"),
    "hook/": ("hook/", "builder/", "shadow_store/"),
    "tests/": ("tests/", "hook/", "builder/", "shadow_store/"),
}
# Third-party header -> the files of ours that may see it; the number is how many may at once.
ONLY_IN = {
    r"Python\.h|structmember\.h|internal/pycore_.*": (r"hook/.*", None),
    r"pybind11/.*": (r"hook/bindings[^/]*\.(cpp|hpp)|hook/registry/pybind11_[^/]*", None),
    r"nanobind/.*|nb_.*\.h": (r"hook/registry/nanobind_bridge\.cpp", 1),
    r"git2(/.*|\.h)": (r"builder/[^/]*", 1),
    r"xxhash\.h": (r"shadow_store/base/[^/]*", 1),
    r"elfutils/.*|dwarf\.h|libelf\.h|gelf\.h": (r"shadow_store/class_layout_dwarf[^/]*", 1),
    r"elf\.h": (r"shadow_store/.*", None),
    r"nlohmann/.*": (r"builder/cmake_file_api\.cpp", 1),
}


def violations(root):
    """Return a line per broken rule in the tree at `root`."""
    found = []
    seen = {pattern: set() for pattern in ONLY_IN}
    for path in sorted(p for folder in OURS[:4] for p in (root / folder).rglob("*")):
        if path.suffix not in {".c", ".cpp", ".h", ".hpp"}:
            continue
        name = path.relative_to(root).as_posix()
        home = max((folder for folder in MAY_INCLUDE if name.startswith(folder)), key=len)
        for header in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if header.split("/")[0] in OURS and not header.startswith(MAY_INCLUDE[home]):
                found.append(f"{name} includes {header}")
            for pattern, (where, _) in ONLY_IN.items():
                if home != "tests/" and re.fullmatch(pattern, header):
                    seen[pattern].add(name)
                    if not re.fullmatch(where, name):
                        found.append(f"{name} includes {header}, only for {where}")
    for pattern, (_, limit) in ONLY_IN.items():
        if limit is not None and len(seen[pattern]) > limit:
            found.append(f"{pattern} is seen by several files: {', '.join(sorted(seen[pattern]))}")
    found += [
        f"{path.relative_to(root)} imports rehook._core; only _native.py may"
        for path in sorted((root / "python").rglob("*.py"))
        if path.name != "_native.py" and IMPORT_CORE.search(path.read_text(encoding="utf-8"))
    ]
    return found


def test_layers_are_respected():
    assert len(list((ROOT / "shadow_store").rglob("*.hpp"))) > 3, "looking in the wrong place"
    assert violations(ROOT) == []


def test_the_check_can_fail(tmp_path):
    planted = {
        "shadow_store/base/a.cpp": '#include "shadow_store/elf_image.hpp"\n#include <xxhash.h>',
        "shadow_store/base/b.cpp": '#include "xxhash.h"',
        "shadow_store/c.cpp": '#include "builder/process.hpp"\n#include <elf.h>',
        "builder/d.hpp": '#include "shadow_store/artifact_store.hpp"\n  #  include <Python.h>',
        "builder/e.cpp": "#include <nlohmann/json.hpp>\n#include <elf.h>\n#include <git2.h>",
        "hook/f.cpp": '#include <pybind11/pybind11.h>\n#include "tests/support/fake.hpp"',
        "hook/legal.cpp": "#include <Python.h>",
        "python/rehook/g.py": "from . import _native, _core",
        "python/rehook/h.py": "if True:\n    from rehook._core import x",
        "python/rehook/_native.py": "from . import _core",
        # Legal ones:
        "hook/bindings_store.cpp": '#include <pybind11/pybind11.h>\n#include "builder/process.hpp"',
        "builder/cmake_file_api.cpp": '#include "shadow_store/base/result.hpp"\n#include <vector>',
        "tests/native/i_test.cpp": '#include "hook/f.hpp"\n#include <Python.h>',
    }
    for name, text in planted.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    found = "\n".join(violations(tmp_path))
    for expected in (
        "shadow_store/base/a.cpp includes shadow_store/elf_image.hpp",
        "xxhash\\.h is seen by several files: shadow_store/base/a.cpp, shadow_store/base/b.cpp",
        "shadow_store/c.cpp includes builder/process.hpp",
        "builder/d.hpp includes shadow_store/artifact_store.hpp",
        "builder/d.hpp includes Python.h",
        "builder/e.cpp includes nlohmann/json.hpp",
        "builder/e.cpp includes elf.h",
        "hook/f.cpp includes pybind11/pybind11.h",
        "hook/f.cpp includes tests/support/fake.hpp",
        "python/rehook/g.py imports rehook._core",
        "python/rehook/h.py imports rehook._core",
    ):
        assert expected in found
    assert len(found.splitlines()) == 11
