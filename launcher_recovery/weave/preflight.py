"""Looks at a launcher's files before it is started, without importing them: is it of a shape that is known?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.machinery import PathFinder

from launcher_recovery.joinpoints import Host
from launcher_recovery.weave.places import is_another, judged
from launcher_recovery.weave.standing import LIVE, OFF, Standing


def look(hosts: Iterable[Host], path: Sequence[str]) -> list[Standing]:
    """How the join points would stand whose modules are found on `path`; the others are left out."""
    found: list[Standing] = []
    for host in hosts:
        for point in host.join_points:
            if not host.neighbours_of(point):
                continue  # a library's, which is found when it is imported
            file = _file_of(point.module, path)
            if file is None or is_another(host, point, file):
                continue
            try:
                reason, remark = judged(point, file)
            except (OSError, SyntaxError, ValueError, RecursionError) as error:
                reason, remark = f"{file} cannot be read: {error}", ""
            state = OFF if reason else LIVE
            found.append(Standing(host.name, point.name, state, reason or remark))
    return found


def _file_of(module: str, path: Sequence[str]) -> str | None:
    names = module.split(".")
    where: Sequence[str] | None = list(path)
    for count in range(1, len(names) + 1):
        spec = PathFinder.find_spec(".".join(names[:count]), where)
        if spec is None:
            return None
        if count == len(names):
            return spec.origin if spec.has_location else None
        where = spec.submodule_search_locations
        if where is None:
            return None
    return None
