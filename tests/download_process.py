"""One download in a process of its own: `python -m tests.download_process ORDER`, where ORDER is that of `Child`."""

from __future__ import annotations

import json
import sys
from typing import Any

from launcher_recovery.transfer import download
from tests.transfers import turn


def _without_flock() -> None:
    """As on a network file system where locks are granted to everybody."""
    import fcntl

    fcntl.flock = lambda *_: None
    fcntl.lockf = lambda *_: None


def main(order: dict[str, Any]) -> dict[str, Any]:
    if not order["has_flock"]:
        _without_flock()
    turn(order["knobs"])
    try:
        path = download(order["url"], order["destination"], **order["options"])
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"path": str(path)}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
