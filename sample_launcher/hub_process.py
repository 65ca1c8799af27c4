"""The model hub beside the launcher: a process of its own, which a killed launcher leaves running."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import requests

_ROOT = Path(__file__).resolve().parent.parent
_ANNOUNCED = "Model hub at "
_START_LIMIT = 20.0
"""Seconds that a hub may take to start."""


class HubStartError(Exception):
    """The hub could not be started; the message is one sentence."""


@dataclass(frozen=True)
class HubProcess:
    """A hub that answers at `url`; `ours` says whether it ends together with this launcher.

    `process` is None when another launcher started it.
    """

    url: str
    ours: bool
    process: subprocess.Popen[str] | None = None

    def end(self) -> None:
        """Ask a hub that is ours to end; one that does not answer is left alone."""
        if not self.ours:
            return
        try:
            requests.post(f"{self.url}/_hub/shutdown", timeout=0.7)
            if self.process is not None:
                self.process.wait(timeout=0.7)
        except (requests.RequestException, subprocess.TimeoutExpired):
            return


def start(port: int, data: Path) -> HubProcess:
    """Use the hub that answers on `port`, or start one there; 0 is any free port.

    `data` is where it may keep its files. Raises HubStartError.
    """
    running = _running(port) if port else None
    if running is not None:
        return running
    data.mkdir(parents=True, exist_ok=True)
    with open(data / "hub.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sample_launcher.hub", "--port", str(port), "--data-dir", str(data)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    late = threading.Timer(_START_LIMIT, process.kill)
    late.start()
    try:
        line = process.stdout.readline().strip() if process.stdout else ""
    except BaseException:
        process.terminate()
        raise
    finally:
        late.cancel()
        if process.stdout:
            process.stdout.close()
    if not line.startswith(_ANNOUNCED):
        process.kill()
        process.wait()
        raise HubStartError(_why(port, data / "hub.log"))
    return HubProcess(line.removeprefix(_ANNOUNCED), ours=True, process=process)


def _why(port: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = lines[-1].split(": ", 1)[-1].rstrip(".") if lines else "it said nothing"
    return f"the model hub did not start on port {port} ({reason}); use --hub-port or --no-hub"


def _running(port: int) -> HubProcess | None:
    url = f"http://127.0.0.1:{port}"
    try:
        stats = requests.get(f"{url}/_hub/stats", timeout=2).json()
        if not isinstance(stats, dict) or stats.get("hub") != "sample_launcher":
            return None
        # One that a killed launcher left behind is ours from now on; one with a living parent is not.
        adopted = requests.post(f"{url}/_hub/adopt", json={"pid": os.getpid()}, timeout=2).json()
        return HubProcess(url, ours=bool(adopted.get("adopted")))
    except (requests.RequestException, ValueError, AttributeError):
        return None
