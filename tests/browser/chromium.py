"""Finds a Chromium, or installs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def installed(playwright: Playwright) -> str | None:
    """A Chromium that is there: the one that $CHROMIUM names, the system's, or Playwright's own."""
    given = os.environ.get("CHROMIUM")
    if given:
        if shutil.which(given) is None:
            pytest.fail(f"CHROMIUM={given} is no program; name a Chromium, or unset it to have one looked for.")
        return given
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)


def install() -> str:
    """Install Chromium; returns what was tried and what it said."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # A new machine has no list of packages yet.
        commands = [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]]
    else:
        commands = [[sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"]]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    told = []
    for argv in commands:
        done = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
        )
        said = (done.stdout + done.stderr).strip().splitlines()
        last = said[-1] if said else "it said nothing"
        told.append(f"{' '.join(argv)} ended with exit status {done.returncode}: {last}")
    return "; ".join(told)
