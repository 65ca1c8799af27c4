"""Says when imports are queued that nobody works on: no worker of the launcher runs, or it runs without recovery."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher_recovery.joinpoints import Host
from launcher_recovery.owners import is_alive
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.redaction import Redactor
from launcher_recovery.weave.processes import running
from launcher_recovery.weave.standing import about_of

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

QUEUED = "queued"
"""Among the metadata of an import that a worker is to take, a mapping: {"task_id", "at": seconds since 1970, "attempt":
how many there had been, "by": the process that queued it, "deaths": how many processes have died in a row, "done": how
far it was then}."""

_KIND = "create_project"
_LOOKS_EVERY_S = 3.0
_MOST = 50
_LONGEST = 200
_RUN = "launcher-recovery run --"


class Workers:
    """Looks after the workers of a host on behalf of those who ask how recovery is.

    Args:
        integrator: whose store has the imports and the processes.
        host: whose workers count.
        folder: of the launcher, for there may be others of its kind on this machine.
        proc: where the processes of this machine are found.
        now: seconds, of a clock that is never set.
    """

    def __init__(
        self,
        integrator: RecoveryIntegrator,
        host: Host,
        folder: Path,
        proc: Path = Path("/proc"),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._integrator = integrator
        self._host = host
        self._folder = folder.resolve()
        self._proc = proc
        self._now = now
        self._looked: float | None = None
        self._found: list[dict[str, str]] = []

    def problems(self) -> list[dict[str, str]]:
        """What is wrong, as {"code", "message"} with the code "no_worker" or "worker_not_woven"; looked at again only
        after some seconds.

        Raises:
            StoreError: it cannot be known now.
        """
        now = self._now()
        if self._looked is None or now - self._looked >= _LOOKS_EVERY_S:
            self._looked, self._found = now, []
            self._found = self._look()
        return self._found

    def _look(self) -> list[dict[str, str]]:
        queued = self._queued()
        if not queued or self._is_woven_worker_there():
            return []
        first, more = queued[0].title or queued[0].project or "an import", len(queued) - 1
        waiting = f"{first}{f' and {more} more' if more else ''} {'are' if more else 'is'} queued"
        command = self._unwoven_worker()
        if command is None:
            start = f"start one as `{_RUN} celery …`, as the launcher starts it otherwise"
            return [{"code": "no_worker", "message": f"{waiting}, and no worker is listening: {start}."}]
        start = f"start it as `{_RUN} {command}`"
        message = f"{waiting}, and a worker is listening that recovery is not woven into: {start}."
        return [{"code": "worker_not_woven", "message": message}]

    def _queued(self) -> list[RecoveryData]:
        """The imports that wait for a worker, the oldest first."""
        pending = self._integrator.persistence.find(states=[RecoveryState.PENDING], kind=_KIND, limit=_MOST)
        return [data for data in reversed(pending) if data.owner is None and _is_queued(data.metadata)]

    def _is_woven_worker_there(self) -> bool:
        now = self._integrator.clock.time()
        for row in self._integrator.persistence.owners():
            about = about_of(row.owner.about)
            if about is not None and about.role == "worker" and self._host.name in about.hosts and is_alive(row, now):
                return True
        return False

    def _unwoven_worker(self) -> str | None:
        """The command line of a worker that runs on this machine, without secrets."""
        for process in running([self._host], self._proc):
            if process.folder.resolve() != self._folder:
                continue
            program = next((at for at, word in enumerate(process.argv) if Path(word).name == "celery"), None)
            if program is not None and "worker" in process.argv:
                words: list[str] = Redactor().value(["celery", *process.argv[program + 1 :]])
                return shlex.join(words)[:_LONGEST]
        return None


def _is_queued(metadata: Mapping[str, Any]) -> bool:
    return isinstance(metadata.get(QUEUED), Mapping)
