"""A launcher with a third party's plugin that knows nothing of recovery, as a program that can be killed.

    python -m tests.naive FOLDER URL [BYTES_A_SECOND]

It downloads URL to FOLDER/model.bin, and prints how many attempts the operation has had.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pluggy
import requests

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.plugin import LauncherPlugin
from sample_launcher import hookspecs
from sample_launcher.hookspecs import hookimpl


class NaivePlugin:
    """Downloads as most plugins do: in one go, into the file itself."""

    def __init__(self, rate: float | None = None) -> None:
        self.calls = 0
        self._rate = rate

    @hookimpl
    def launcher_download(self, url: str, destination: str) -> str:
        self.calls += 1
        response = requests.get(url, stream=True)
        response.raise_for_status()
        with open(destination, "wb") as file:
            for chunk in response.iter_content(8192):
                file.write(chunk)
                if self._rate is not None:
                    time.sleep(len(chunk) / self._rate)
        return destination


def main(folder: Path, url: str, rate: float | None = None) -> None:
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    manager.register(NaivePlugin(rate))
    config = RecoveryConfig(
        enabled=True, persistence_path=str(folder / "recovery.db"), initial_delay=0.05, allow_private_addresses=True
    )
    plugin = LauncherPlugin(RecoveryIntegrator(config), manager)
    plugin.attach()
    try:
        manager.hook.launcher_download(
            url=url, destination=os.fspath(folder / "model.bin"), sha256=None, size=None, project_id="p"
        )
        (operation,) = plugin.integrator.persistence.find(kind="download", limit=-1)
        print(operation.attempt, operation.state.value, flush=True)
    finally:
        plugin.detach()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:]))
