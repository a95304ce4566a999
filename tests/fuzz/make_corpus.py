"""Make those seeds in corpus/ anew that are not written by hand.

    make_corpus.py        after `make fuzz T="--seconds 1"` has built the writer of sealed ones

The seeds are in the repository, since compilers differ from machine to machine. Files that a
crash was found with are not touched.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"
REPLIES = ROOT / "fixtures" / "cmake_replies"

LIBRARY = """
namespace n {
enum E { a, b };
struct S { E e; S* next; int x : 3; virtual int f(S*) { return 0; } };
template <class T> struct V { T* at; struct { int p, q; } unnamed; };
inline int counter = 1;
template <class T> inline T shared{};
}
extern "C" {
int elsewhere(const void*);
int PyInit__core() { return elsewhere(&n::counter) + n::shared<int>; }
n::S* use(n::V<n::S> v) { static n::S kept; return v.at ? v.at : &kept; }
}
"""
VERSIONS = "X_1 { global: PyInit__core; }; X_2 { global: use; } X_1;\n"
SMALL = (
    "-std=c++17 -shared -fPIC -Os -nostdlib -fno-rtti -fno-exceptions"
    " -fno-asynchronous-unwind-tables"
)
PACKED = "-Wl,-z,norelro -Wl,--build-id=0x0123456789abcdef"
BFD = "-Wl,-z,noseparate-code"
NEEDED = 'extern "C" int elsewhere(const void*) { return 0; }'


def put(name: str, content: bytes | str) -> None:
    """Write one seed."""
    path = CORPUS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def compile_library(folder: Path, options: str) -> bytes:
    """Compile LIBRARY as small as it gets."""
    source, script, output = folder / "a.cpp", folder / "a.map", folder / "a.so"
    needed = folder / "libneeded.so.1"
    source.write_text(NEEDED)
    soname = f"-Wl,-soname,{needed.name}"
    subprocess.run(["c++", *SMALL.split(), soname, "-o", needed, source], check=True)
    source.write_text(LIBRARY)
    script.write_text(VERSIONS)
    words = [*SMALL.split(), *PACKED.split(), *options.format(script=script).split()]
    subprocess.run(["c++", *words, "-o", output, source, needed], check=True, cwd=folder)
    return output.read_bytes()


def libraries() -> None:
    """Make libraries as different linkers and options leave them."""
    soname = "-Wl,-soname,libdemo.so.1"
    kinds = {
        "gnu_hash": f"-s {BFD} -Wl,--hash-style=gnu {soname} -Wl,-rpath,$ORIGIN/x",
        "sysv_hash": f"-s {BFD} -Wl,--hash-style=sysv",
        "versions": f"-s {BFD} -Wl,--hash-style=both {soname} -Wl,--version-script={{script}}",
        "symbols": f"{BFD} -Wl,--hash-style=gnu",
        "lld": f"-s -fuse-ld=lld {soname}",
        "gold": f"-s -fuse-ld=gold {soname} -Wl,-Bsymbolic",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, options in kinds.items():
            try:
                library = compile_library(folder, options)
            except subprocess.CalledProcessError:
                print(f"no {kind} here")
                continue
            for target in ("elf_image", "elf_edits"):
                put(f"{target}/{kind}.elf", library)
            if kind in {"gnu_hash", "versions"}:
                put(f"private_libraries/{kind}.elf", library)
        scopes = f"namespace {'a' * 2000} {{" * 90
        classes = "".join(f"struct S{i} {{ int x; }};" for i in range(300))
        more = "-g -gno-column-info -fno-eliminate-unused-debug-types -Wl,-z,norelro"
        source = folder / "scopes.cpp"
        source.write_text(scopes + classes + "}" * 90)
        output = folder / "scopes.so"
        words = [*SMALL.split(), BFD, *more.split()]
        subprocess.run(["c++", *words, "-o", output, source.name], check=True, cwd=folder)
        put("class_layout_reader/long_names_of_scopes.elf", output.read_bytes())
        for kind, options in {
            "dwarf5": "-g -gdwarf-5",
            "dwarf4_types": "-g -gdwarf-4 -fdebug-types-section",
        }.items():
            more = "-fno-eliminate-unused-debug-types -gno-column-info"
            put(
                f"class_layout_reader/{kind}.elf",
                compile_library(folder, f"{BFD} {options} {more}"),
            )


def archive(files: dict[str, str]) -> str:
    """Put several files into one text, as MemoryFileSystem::put_archive reads it."""
    return "".join(f"--- {name}\n{text.rstrip()}\n" for name, text in files.items())


def short(text: str) -> str:
    """Leave out CMake's own modules and most white space of a reply."""
    text = re.sub(r'\{\s*"isCMake"[^{}]*\},?', "", text)
    text = re.sub(r",(\s*\])", r"\1", text)
    return re.sub(r"\n\s*", "\n", text)


def replies() -> None:
    """Make archives of recorded File API replies."""
    for version in ("3.24.3", "3.25.1-multi", "4.4.4"):
        top = REPLIES / version
        files = {
            str(path.relative_to(top)): short(path.read_text(encoding="utf-8"))
            for path in sorted(top.rglob("*"))
            if path.is_file() and not path.name.startswith("cache-")
        }
        put(f"cmake_reply/{version}.txt", archive(files))


def ninja_path(name: str, number: int) -> bytes:
    """Give one path record of a deps log."""
    raw = name.encode()
    raw += b"\0" * (-len(raw) % 4)
    return struct.pack("<I", len(raw) + 4) + raw + struct.pack("<I", ~number & 0xFFFFFFFF)


def ninja_logs() -> None:
    """Make deps logs of both versions."""
    paths = [ninja_path(name, i) for i, name in enumerate(("a.o", "../src/a.cpp", "/usr/x.h"))]
    for version, stamp in ((3, struct.pack("<i", 7)), (4, struct.pack("<q", 7))):
        body = struct.pack("<i", 0) + stamp + struct.pack("<ii", 1, 2)
        record = struct.pack("<I", len(body) | 1 << 31) + body
        log = b"# ninjadeps\n" + struct.pack("<i", version) + b"".join(paths) + record
        put(f"ninja_deps/version{version}.bin", log)
        put(f"ninja_deps/version{version}_torn.bin", log + record[:9])


def made_library(name: bytes = b"", sharing: int = 0) -> bytes:
    """Give a library without code: one UNIQUE symbol, and definitions of versions.

    `sharing` definitions are made of the same 100 names.
    """
    strings = b"\0x\0" + name + b"\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 3, 10 << 4 | 1, 0, 1, 0, 8)
    hashes = struct.pack("<5I", 1, 2, 1, 0, 0)
    aux = b"".join(struct.pack("<II", 1, 8) for _ in range(100))
    versions = b"".join(
        struct.pack("<HHHHIII", 1, 0, 1, 100, 0, 20 * (sharing - i), 20) for i in range(sharing)
    )
    place = 64 + 2 * 56 + 8 * 16
    dynamic, content = b"", b""
    parts = [(5, strings), (6, symbols), (4, hashes)]
    if sharing:
        parts.append((0x6FFFFFFC, versions + aux))
    for tag, part in parts:
        dynamic += struct.pack("<QQ", tag, place + len(content))
        content += part + bytes(-len(part) % 8)
    dynamic += struct.pack("<QQ", 10, len(strings))
    if sharing:
        dynamic += struct.pack("<QQ", 0x6FFFFFFD, sharing)
    dynamic += bytes(8 * 16 - len(dynamic))
    size = place + len(content)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    table = struct.pack("<IIQQQQQQ", 2, 4, 176, 176, 176, 128, 128, 8)
    return header + load + table + dynamic + content


def doubling_name(levels: int) -> bytes:
    """Give std::f<pair<pair<…>, pair<…>>>: each level refers twice to the one before."""

    def reference(number: int) -> str:
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        return f"S{digits[number - 1]}_"

    levels_text = (f"S0_I{reference(i)}{reference(i)}E" for i in range(2, levels + 2))
    return f"_ZSt1fISt4pairIiiE{''.join(levels_text)}E".encode()


def unsealed_layouts(lines: list[str]) -> bytes:
    """Give class layouts without their digest: one class of these lines."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    body = b"rehookly" + struct.pack("<I", 1) + text("") + struct.pack("<I", 1)
    body += text("n::S") + b"\0\0" + struct.pack("<I", len(lines))
    return body + b"".join(map(text, lines)) + struct.pack("<I", 0) + bytes(16)


def found() -> None:
    """Make what readers once crashed at, ran on, or asked for too much memory."""
    put("elf_image/versions_share_entries.elf", made_library(sharing=40))
    put("elf_edits/name_that_doubles.elf", made_library(name=doubling_name(30)))
    body = struct.pack("<iqi", 0, 7, 1) + struct.pack("<i", 1) * 500
    put(
        "ninja_deps/one_input_many_times.bin",
        b"# ninjadeps\n"
        + struct.pack("<i", 4)
        + ninja_path("a.o", 0)
        + ninja_path("a/" * 1000, 1)
        + struct.pack("<I", len(body) | 1 << 31)
        + body,
    )
    put("type_name/function_pointers_within_each_other.txt", "int" + "(*" * 5000)
    put("class_layouts/size_without_a_number.bin", unsealed_layouts(["size 8", "size"]))
    put("class_layouts/virtual_without_a_slot.bin", unsealed_layouts(["virtual 2", "virtual"]))


def main() -> int:
    """Make all of them."""
    libraries()
    replies()
    ninja_logs()
    found()
    writer = ROOT / "build" / "fuzz" / "tests" / "fuzz" / "rehook_fuzz_seeds"
    subprocess.run([writer, CORPUS], check=True)
    print(sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
