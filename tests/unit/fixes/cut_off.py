"""Applies a fix in a process that kills itself in the middle: `python -m tests.unit.fixes.cut_off ROOT ID FIX WHERE`.

WHERE is the place: "begun" (nothing is done yet), "done" (all is done, nothing is entered), "deleting" (a folder is
half deleted), or "undone" (all of an undo is done).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from launcher_recovery.fixes import Fixes, file_actions
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence import SQLitePersistence


def die(*arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_deleted(path: Path) -> None:
    next(iter(sorted(path.rglob("*.bin")))).unlink()
    die()


def main(root: str, operation_id: str, fix: str, where: str) -> None:
    """Apply (or undo, if FIX is the id of what was applied) until that place."""
    data = Path(root) / "data"
    store = SQLitePersistence(data / "recovery.db")
    fixes = Fixes(Lifecycle(store), data, pip_cache=lambda data: Path(root) / "pip")
    write = fixes._journal.write

    def write_and_die(entry: Any) -> None:
        if where == "begun":
            write(entry)
        if where == "begun" or entry["state"] in ("applied", "undone"):
            die()
        write(entry)

    fixes._journal.write = write_and_die  # type: ignore[method-assign]
    if where == "deleting":
        file_actions.delete_tree = half_deleted  # type: ignore[attr-defined]
    if where == "undone":
        fixes.undo(operation_id, fix)
    else:
        fixes.apply(operation_id, fix, {}, fixes.preview(operation_id, fix).token)


if __name__ == "__main__":
    main(*sys.argv[1:])
