"""A process of the torture: child.py ROLE ROOT, run with -P. Prints lines of "> " and JSON.

    import    imports the project and answers
    rebuild   the same, and configures and builds whether or not anything changed
    reload    the same as import, then for every line that it reads: reloads and answers
    build     `rehook build` of the project
    collect   for every line that it reads: `rehook store gc`, with room and time for nothing
    check     import, then what is in the store: folders of dead processes, damaged files
    clean     the same, but first what the dead left is collected

An answer is what the functions of the extension give. It tells from which sources it was built.
"""

from __future__ import annotations

import json
import sys
from typing import Any

ROLE, ROOT, STORE = sys.argv[1:4]


def say(what: object) -> None:
    print(">", json.dumps(what), flush=True)


def answer(box: Any, session: Any) -> dict[str, object]:
    core = box._core
    counters = session.status().counters
    (current,) = [one for one in session.generations() if one["current"]]
    return {
        "answer": [core.value(), core.other(), core.scale(), core.other_scale()],
        "built": counters["built"],
        "artifact": current["artifact"],
        "generation": current["generation"],
    }


def import_box() -> tuple[Any, Any]:
    import rehook

    rehook.install(projects=[ROOT], force_rebuild=ROLE == "rebuild")
    import box  # type: ignore[import-not-found]

    return box, rehook


def collect() -> None:
    from rehook.cli import main

    say("ready")
    for _ in sys.stdin:
        try:
            main(["store", "gc", "--size", "1", "--age", "0", "--json"])
        except SystemExit as end:
            say({"collected": end.code})


def check() -> None:
    from rehook._native import Store

    box, rehook = import_box()
    told = answer(box, rehook)
    store = Store(STORE)
    if ROLE == "clean":
        failures = store.collect(None, None)["failures"]
        assert not failures, failures
    contents = store.contents()
    say(
        {
            **told,
            "dead": [one["folder"] for one in contents["sessions"] if not one["live"]],
            "damaged": store.verify(),
        }
    )


def run() -> None:
    if ROLE == "collect":
        collect()
    elif ROLE in {"check", "clean"}:
        check()
    elif ROLE == "build":
        from rehook.cli import main

        main(["build", ROOT])
    else:
        box, rehook = import_box()
        say(answer(box, rehook))
        if ROLE != "reload":
            return
        for _ in sys.stdin:
            try:
                rehook.reload()
            except rehook.RehookError as error:
                say({"error": str(error)})
            else:
                say(answer(box, rehook))


if __name__ == "__main__":
    run()
