"""A store with the five methods, as a user might write it: one JSON file for each operation."""

from __future__ import annotations

import os
import threading
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path

from launcher_recovery import RecoveryData, RecoveryState, StatePersistence
from launcher_recovery.persistence.codec import dump_error, dumps, load_error, loads
from launcher_recovery.records import FINAL, Progress, WaitingFor


class FolderStore(StatePersistence):
    """Keeps each record in a file of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    async def save(self, recovery_data: RecoveryData) -> None:
        fields = dict(vars(recovery_data), error=dump_error(recovery_data.error))
        if recovery_data.progress is not None:
            fields["progress"] = asdict(recovery_data.progress)
        part = self.folder / f"{recovery_data.operation_id}.{threading.get_ident()}.part"
        part.write_text(dumps(fields), encoding="utf-8")
        os.replace(part, self.folder / f"{recovery_data.operation_id}.json")

    async def load(self, operation_id: str) -> RecoveryData | None:
        try:
            return self._read(self.folder / f"{operation_id}.json")
        except FileNotFoundError:
            return None

    def _read(self, path: Path) -> RecoveryData:
        fields = loads(path.read_text(encoding="utf-8"))
        fields["state"] = RecoveryState(fields["state"])
        fields["error"] = load_error(fields["error"])
        fields["waiting_for"] = fields["waiting_for"] and WaitingFor(fields["waiting_for"])
        fields["progress"] = fields["progress"] and Progress(**fields["progress"])
        return RecoveryData(**fields)

    async def delete(self, operation_id: str) -> None:
        (self.folder / f"{operation_id}.json").unlink(missing_ok=True)

    def _all(self) -> list[RecoveryData]:
        return sorted(map(self._read, self.folder.glob("*.json")), key=lambda data: data.created_at)

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return [data for data in self._all() if data.state is state]

    async def cleanup_old(self, days: int = 7) -> int:
        limit = datetime.now(timezone.utc) - timedelta(days=days)
        old = [data for data in self._all() if data.state in FINAL and data.updated_at < limit]
        for data in old:
            await self.delete(data.operation_id)
        return len(old)
