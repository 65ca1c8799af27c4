"""One install of a node in a process of its own: `python -m tests.node_process ORDER`, for tests that kill it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from launcher_recovery.nodes import interpreter, publishing, working_tree
from launcher_recovery.persistence import SQLitePersistence
from tests.support import Host

# Where an install can be held: in the middle of the check-out, and before and after the folder gets its name.
HOLDS: dict[str, tuple[ModuleType, str]] = {
    "checkout": (working_tree, "clean"),
    "publish": (publishing, "_sync"),
    "published": (publishing, "_sync_folder"),
}


def hold(where: str, flag: Path, folder: Path) -> None:
    """Stop there for ever the first time, which is when `flag` is not there; it is made then."""
    module, name = HOLDS[where]
    original = getattr(module, name)

    def held(what: Any) -> None:
        if not flag.exists() and (where != "published" or what == folder):
            flag.touch()
            time.sleep(600)
        original(what)

    setattr(module, name, held)


def main(order: dict[str, Any]) -> None:
    """Attach, which takes over what was interrupted, and install (or join what was taken over)."""
    interpreter.PIP_RETRIES = 0
    if order["hold"] is not None:
        where, flag = order["hold"]
        hold(where, Path(flag), Path(order["folder"]))
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
