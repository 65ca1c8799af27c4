"""One install of a node in a process of its own: `python -m tests.node_process ORDER`, for tests that kill it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from launcher_recovery.nodes import interpreter
from launcher_recovery.persistence import SQLitePersistence
from tests.support import Host


def main(order: dict[str, Any]) -> None:
    """Attach, which takes over what was interrupted, and install (or join what was taken over)."""
    interpreter.PIP_RETRIES = 0
    host = Host(Path(order["folder"]), SQLitePersistence(order["store"]), max_retries=order.get("max_retries", 2))
    host.attach()
    try:
        host.install("node", order["url"], python=order["python"])
    finally:
        host.detach()
        host.store.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    print("installed", flush=True)
