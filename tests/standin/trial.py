"""One import by a host that has just been started, looked at until it ends."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.standin.processes import HOST, PATIENCE_S, StandIn
from tests.standin.world import MODEL_FOLDER, World

MIB = 1 << 20
_LOOK_S = 1.0


@dataclass(frozen=True)
class How:
    """How hosts are run.

    Args:
        size: bytes of the model.
        patience_s: seconds without any change after which a project is taken to be stuck.
        environment: variables beside those of the world.
        host, python, prefix, is_woven, is_quick: see `StandIn`.
    """

    size: int = 64 * MIB
    patience_s: float = 45.0
    environment: Mapping[str, str] = field(default_factory=dict)
    host: Path = HOST
    python: str = sys.executable
    prefix: tuple[str, ...] = ()
    is_woven: bool = False
    is_quick: bool = False


@dataclass(frozen=True)
class Seen:
    """What came of a fault.

    Args:
        state: in which the project is in the end, "" when there is none any more.
        message: the host's own status message, as it is shown; of a project that is gone the last one.
        is_stuck: nothing happened any more for as long as one was willing to wait.
        states: of the project one after the other, without repetitions.
        sent: bytes of the model's body.
        needed: bytes of the model.
        seconds: from the import to the end, without the waiting for what is stuck.
        models: files in the folder of models, each with "whole" or its size.
        explanation: what recovery says of the project in the end, "" when it says nothing or takes no part.
    """

    state: str
    message: str
    is_stuck: bool
    states: tuple[str, ...]
    sent: int
    needed: int
    seconds: float
    models: Mapping[str, str]
    explanation: str = ""


class Trial:
    """A host, the world that it imports from, and imports that are looked at until they end."""

    def __init__(self, world: World, host: StandIn, how: How) -> None:
        self.world, self.host, self.how = world, host, how

    def run(self, name: str = "Project", **of_file: object) -> Seen:
        """One import, to its end."""
        began = time.monotonic()
        project_id = self.host.import_project(name, self.world.launcher_json(**of_file))
        return self.watch(project_id, began)

    def watch(self, project_id: str, began: float, until: Callable[[], bool] | None = None) -> Seen:
        """What is seen of a project from now on, to its end; with `until`, to that."""
        moved_at = time.monotonic()
        moved = -1

        def moves() -> int:
            nonlocal moved, moved_at
            now = self.sent + len(self.world.far.asked)
            if now != moved:
                moved, moved_at = now, time.monotonic()
            return now

        looked_at = 0.0

        def is_given_up() -> bool:
            nonlocal looked_at
            if time.monotonic() < looked_at + _LOOK_S:
                return False
            looked_at = time.monotonic()
            return self._is_given_up(project_id)

        states = []
        patience_s = self.how.patience_s if until is None else PATIENCE_S
        kept = self.host.follow(project_id, patience_s, moves, until or is_given_up)
        for state in kept:
            name = state.get("state", "")
            if name not in states[-1:]:
                states.append(name)
        is_over = states[-1] in ("", "ready") or self._is_given_up(project_id)
        return Seen(
            state=states[-1],
            message=next((state["status_message"] for state in reversed(kept) if state), ""),
            is_stuck=not is_over,
            states=tuple(states),
            sent=self.sent,
            needed=self.world.file.size,
            seconds=(time.monotonic() if is_over else moved_at) - began,
            models=self._models(),
            explanation=self._told(project_id).get("explanation") or "",
        )

    def _told(self, project_id: str) -> Mapping[str, Any]:
        """What recovery tells of the setting up of a project."""
        return next(iter(self.host.operations(project_id, "create_project")), {})

    def _is_given_up(self, project_id: str) -> bool:
        """Nothing will happen any more, unless a person does something."""
        return self._told(project_id).get("state") in ("failed", "exhausted", "cancelled")

    @property
    def sent(self) -> int:
        return self.world.origin.sent()

    def is_half_there(self) -> bool:
        return self.sent >= self.world.file.size // 2

    def _models(self) -> dict[str, str]:
        folder = self.host.models / MODEL_FOLDER
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return {path.name: self._is_whole(path) for path in paths if path.is_file()}

    def _is_whole(self, path: Path) -> str:
        size, wanted = path.stat().st_size, self.world.file
        if size == wanted.size and path.read_bytes() == wanted.content():
            return "whole"
        return f"{100 * size / wanted.size:.0f} % of the size"


@contextlib.contextmanager
def trial(folder: Path, how: How) -> Iterator[Trial]:
    """All that a row needs, ended afterwards."""
    with World(folder / "world", how.size) as world:
        host = StandIn(
            folder / "host",
            {**world.environment, **how.environment},
            host=how.host,
            python=how.python,
            prefix=how.prefix,
            is_woven=how.is_woven,
            is_quick=how.is_quick,
        )
        with host:
            yield Trial(world, host, how)
