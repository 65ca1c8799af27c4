"""Join points as they stand in one process, and whether a file of Python is the one that a join point is of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave.fingerprints import fingerprints_in
from launcher_recovery.weave.standing import Standing

logger = logging.getLogger("launcher_recovery")


@dataclass
class Place:
    """A join point of a host, how it stands, and what undoes the weaving."""

    host: Host
    point: JoinPoint
    standing: Standing
    undo: Callable[[], None] = lambda: None

    def stand(self, state: str, reason: str) -> None:
        """Let it stand so from now on; what a person should know of that is logged, once."""
        before = self.standing
        self.standing = replace(before, state=state, reason=reason)
        if self.standing.problem and self.standing != before:
            logger.warning("%s", self.standing.problem)


def is_another(host: Host, point: JoinPoint, file: str | None) -> str:
    """Why a module of the name is not the host's, as words; empty: it is."""
    neighbours = host.neighbours_of(point)
    if not neighbours:
        return ""
    if file is None:
        return f"the module {point.module} has no file"
    missing = missing_in(Path(file).absolute().parent, neighbours)
    return f"{file} is another module of that name: there is no {missing} beside it" if missing else ""


def missing_in(folder: Path, neighbours: Iterable[str]) -> str:
    """The first of the neighbours that is not in a folder; empty: all are."""
    return next((name for name in neighbours if not (folder / name).exists()), "")


def judged(point: JoinPoint, file: str | None) -> tuple[str, str]:
    """Why the function in this file is not to be woven, as words, empty: it is; and what is to be said all the same."""
    if not point.fingerprints:
        return ("", "") if point.tolerant else ("no fingerprint of it is known", "")
    if file is None or not file.endswith((".py", ".pyw")):
        return f"its source is not there to be compared ({file})", ""
    found = fingerprints_in(file).get(point.function)
    if found is None:
        return f"{file} has no function {point.function}", ""
    if found in point.fingerprints:
        return "", ""
    if point.tolerant and any(found.parameters == known.parameters for known in point.fingerprints):
        return "", f"its code in {file} is of an unknown version"
    return f"its shape in {file} is unknown; the launcher is of a version that this one does not know", ""
