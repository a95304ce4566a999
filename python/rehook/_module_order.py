"""The order in which the modules of a reload run: what they import comes first."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rehook._member import Member

__all__ = ["in_order"]


def in_order(members: dict[str, Member]) -> list[list[Member]]:
    """Order modules by what they import: strongly connected components, dependencies first.

    Tarjan's algorithm ("Depth-first search and linear graph algorithms", 1972), without recursion.
    Within a component the module whose import began last comes first: it finished first.
    """
    started = {name: at for at, name in enumerate(sys.modules)}
    edges = {
        name: sorted(
            (one.new.imports(name, is_package=one.is_package) & members.keys()) - {name},
            key=lambda other: started.get(other, 0),
        )
        for name, one in members.items()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[Member]] = []
    for root in members:
        if root in index:
            continue
        work = [(root, 0)]
        while work:
            name, at = work.pop()
            if at == 0:
                index[name] = low[name] = len(index)
                stack.append(name)
                on_stack.add(name)
            for i in range(at, len(edges[name])):
                other = edges[name][i]
                if other not in index:
                    work.append((name, i + 1))
                    work.append((other, 0))
                    break
                if other in on_stack:
                    low[name] = min(low[name], index[other])
            else:
                if low[name] == index[name]:
                    cut = stack.index(name)
                    component = stack[cut:]
                    del stack[cut:]
                    on_stack.difference_update(component)
                    component.sort(key=lambda one: -started.get(one, 0))
                    found.append([members[one] for one in component])
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[name])
    return found
