"""Database files for tests that need hundreds of them: copies of one, since making one anew takes six times as long."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from launcher_recovery import SQLitePersistence


@functools.cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.db"
        SQLitePersistence(path).close()
        return path.read_bytes()


def database(path: Path) -> Path:
    """`path`, at which there is an empty store now, if there was none."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(_empty())
    return path
