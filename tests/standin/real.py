"""The real launcher, when LAUNCHER_DIR names a checkout of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(os.environ["LAUNCHER_DIR"]) if os.environ.get("LAUNCHER_DIR") else None

PYTHON = os.environ.get("LAUNCHER_PYTHON") or f"{CHECKOUT}/venv/bin/python"
"""The interpreter with what it needs; in the checkout there is one if its own script has made it."""

needs_checkout = pytest.mark.skipif(CHECKOUT is None, reason="LAUNCHER_DIR names no checkout of the real launcher")

needs_python = pytest.mark.skipif(
    CHECKOUT is None or not Path(PYTHON).exists(), reason="there is no real launcher, or no interpreter for it"
)
