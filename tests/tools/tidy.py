"""Run clang-tidy on our own C++ files: tidy.py BUILD_FOLDER...

Each folder has a compile_commands.json; a file found in several is checked once. What was clean
and did not change since (nor any header, nor .clang-tidy) is not checked again.
"""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("shadow_store", "builder", "hook")
# The compile commands are gcc's; clang need not know every option.
TOLERANT = ("-Wno-unknown-warning-option", "-Wno-ignored-optimization-argument")


def digest(*paths: Path) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(str(path).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:32]


def compiled_files(build_folders: list[str]) -> dict[Path, Path]:
    """Map each of our compiled sources to the build folder that knows its flags."""
    found: dict[Path, Path] = {}
    for folder in map(Path, build_folders):
        database = folder / "compile_commands.json"
        if not database.exists():
            continue
        for entry in json.loads(database.read_text(encoding="utf-8")):
            source = (Path(entry["directory"]) / entry["file"]).resolve()
            if source.exists() and any(source.is_relative_to(ROOT / name) for name in FOLDERS):
                found.setdefault(source, folder)
    return found


def check(source: Path, folder: Path, stamp: Path) -> bool:
    extra = [f"--extra-arg={flag}" for flag in TOLERANT]
    run = subprocess.run(
        ["clang-tidy", "--quiet", "-p", str(folder), *extra, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode == 0:
        stamp.touch()
        return True
    print(f"== {source.relative_to(ROOT)}\n{run.stdout}{run.stderr}", flush=True)
    return False


def main() -> int:
    files = compiled_files(sys.argv[1:])
    if not files:
        print("no compile_commands.json knows any of our files")
        return 1
    headers = [p for name in FOLDERS for p in sorted((ROOT / name).rglob("*.h*"))]
    common = digest(ROOT / ".clang-tidy", *headers)
    stamps = ROOT / "build" / "tidy"
    stamps.mkdir(parents=True, exist_ok=True)
    todo = {
        source: (folder, stamps / f"{source.name}.{digest(source)[:12]}.{common[:12]}")
        for source, folder in sorted(files.items())
    }
    todo = {source: work for source, work in todo.items() if not work[1].exists()}
    print(f"{len(todo)} of {len(files)} files to check")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clean = list(pool.map(lambda item: check(item[0], *item[1]), todo.items()))
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
