"""Print what pyproject.toml asks for, one a line: to build, to run, and the extras named."""

import sys
import tomllib
from pathlib import Path


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*data["build-system"]["requires"], *data["project"]["dependencies"]]
    for extra in sys.argv[1:]:
        wanted += data["project"]["optional-dependencies"][extra]
    print("\n".join(dict.fromkeys(wanted)))


if __name__ == "__main__":
    main()
