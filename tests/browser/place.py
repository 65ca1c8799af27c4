"""The sample launcher with a model hub that fails as it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sample_launcher.hub import Fault, Hub
from tests.launcher import Launcher


class Place:
    """A hub, and a launcher that takes its demo from it."""

    def __init__(self, folder: Path) -> None:
        self.hub = Hub().start()
        # Long enough for a person, and the page, to see a wait.
        delays = {"RECOVERY_INITIAL_DELAY": "1", "RECOVERY_MAX_DELAY": "1"}
        self.launcher = Launcher(folder / "launcher-data", "--hub", "--hub-port", str(self.hub.port), **delays)

    def offer(self, name: str, faults: Sequence[Fault] = (), *, size: int = 24 << 20, rate: int | None = None) -> str:
        return self.hub.add_model(name, size, list(faults), rate)
