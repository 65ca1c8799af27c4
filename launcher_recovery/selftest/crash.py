"""A process that begins an operation of two steps and is killed after the first; run with the path of a database."""

from __future__ import annotations

import os
import signal
import sys

from launcher_recovery.clock import Clock
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.policy import Policy


def main(database: str) -> None:
    """Do the first step, and end as by a power cut."""
    clock = Clock()
    lifecycle = Lifecycle(SQLitePersistence(database), clock=clock)
    data = lifecycle.open("self_test", (), {}, key="two steps", title="two steps")

    def run() -> None:
        operation = current_operation()
        assert operation is not None
        operation.step("first", lambda: "done by the process that was killed")
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    Engine(lifecycle, clock).run(data, Policy(max_attempts=2), run)


if __name__ == "__main__":
    main(sys.argv[1])
