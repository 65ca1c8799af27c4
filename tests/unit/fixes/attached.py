"""A launcher with recovery attached whose operations fail for want of a fix, and servers that want one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher_recovery.fixes import Applied
from launcher_recovery.persistence import SQLitePersistence
from launcher_recovery.records import RecoveryData, RecoveryState
from sample_launcher.hookspecs import hookimpl
from tests.support import Host


class Attached(Host):
    """A `Host` that keeps all in a folder `data`; at most one attempt, and what is told is remembered."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        path = self.data / "recovery.db"
        super().__init__(folder / "custom_nodes", SQLitePersistence(path), max_retries=0, persistence_path=str(path))
        self.told: list[str] = []
        self.integrator.tail.subscribe(lambda event: self.told.append(repr(event.payload)))

    def failed(self, kind: str) -> RecoveryData:
        """The latest of a kind, which failed."""
        found = self.operations(kind)[-1]
        assert found.state in (RecoveryState.FAILED, RecoveryState.EXHAUSTED), found.state
        return found

    def fix(self, data: RecoveryData, fix_id: str, **given: Any) -> Applied:
        """Look, then do just that."""
        fixes = self.integrator.fixes
        return fixes.apply(data.operation_id, fix_id, given, fixes.preview(data.operation_id, fix_id, given).token)

    def undo(self, data: RecoveryData, applied: Applied) -> Applied:
        return self.integrator.fixes.undo(data.operation_id, applied.id)

    def offered(self, data: RecoveryData, fix_id: str) -> Any:
        """The offer of a fix."""
        return next(one for one in self.integrator.fixes.for_operation(data.operation_id) if one.id == fix_id)

    def everything_kept(self) -> bytes:
        """All bytes of the database and of what else lies in the data folder, but for the file of secrets."""
        found = (path for path in self.data.rglob("*") if path.is_file() and path.name != "secrets.json")
        return b"".join(path.read_bytes() for path in found)

    def imports(self, *parts: Callable[[], Any]) -> None:
        """From now on an import consists of these parts."""
        self.manager.register(_Import(parts))


class _Import:
    def __init__(self, parts: tuple[Callable[[], Any], ...]) -> None:
        self._parts = parts

    @hookimpl(trylast=True)
    def launcher_create_project(self) -> Any:
        return [part() for part in self._parts]
