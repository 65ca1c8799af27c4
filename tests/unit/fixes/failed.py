"""Makes operations that failed, with a store on the disk, and fixes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.defaults import builtin_extensions
from launcher_recovery.fixes import Applied, Fix, Fixes
from launcher_recovery.manager import Extensions
from launcher_recovery.operation import Operation
from launcher_recovery.persistence import SQLitePersistence
from launcher_recovery.records import Progress, RecoveryData, RecoveryState, Transfer, utc_now
from tests.unit.kit import Kit

URL = "https://files.example/model.safetensors"


class Failed(Kit):
    """Operations that failed below `root`, and `fixes` for them."""

    def __init__(self, store: SQLitePersistence, root: Path) -> None:
        super().__init__(store)
        self.root = root
        self.models = root / "models" / "checkpoints"
        self.models.mkdir(parents=True)
        self.suggested: list[Fix] = []
        self.sources: list[str] = []
        self.cache: Path | None = None
        self.fixes = self.new_fixes()

    def new_fixes(self, **about: Any) -> Fixes:
        """As another process has them."""
        found = {kind.name: kind for kind in Extensions(RecoveryConfig(), builtin_extensions()).operations()}
        given = {
            "suggest": lambda data: self.suggested,
            "kinds": lambda: found,
            "sources": lambda url, data: self.sources,
            "pip_cache": lambda data: self.cache,
            **about,
        }
        return Fixes(self.lifecycle, self.root / "data", **given)

    def download(self, fix: str | None = None, name: str = "model.safetensors", **given: Any) -> RecoveryData:
        """A download that failed."""
        destination = self.models / name
        arguments = {"url": given.pop("url", URL), "destination": str(destination), "project_id": None}
        return self.operation("download", arguments, fix, key=f"download:{destination}", **given)

    def node(self, fix: str | None = None, **given: Any) -> RecoveryData:
        """The install of a node that failed."""
        nodes = self.root / "project" / "custom_nodes"
        nodes.mkdir(parents=True, exist_ok=True)
        url = given.pop("url", "https://git.example/node.git")
        arguments = {"url": url, "destination": str(nodes / "node"), "ref": None}
        return self.operation("install_node", arguments, fix, title="node", **given)

    def operation(
        self,
        kind: str,
        arguments: dict[str, Any],
        fix: str | None = None,
        *,
        error: Exception | None = None,
        progress: Progress | None = None,
        ended: bool = True,
        **about: Any,
    ) -> RecoveryData:
        """One that failed with a verdict that names `fix`; or (`ended` False) runs."""
        data = self.open(function_name=f"launcher_{kind}", kwargs=arguments, kind=kind, **about)
        begun = self.lifecycle.begin_attempt(data.operation_id, 1)
        if not ended:
            return begun
        live = Operation(begun, self.lifecycle, self.clock)
        live.data.progress = progress
        return self.lifecycle.end_attempt(
            live,
            RecoveryState.FAILED,
            error or OSError("it broke"),
            category="unknown",
            explanation="It broke.",
            fix=fix,
            fruitless=1,
            limit=1,
        )

    def apply(self, data: RecoveryData, fix: str, /, **given: Any) -> Applied:
        """Look, then do just that."""
        shown = self.fixes.preview(data.operation_id, fix, given)
        return self.fixes.apply(data.operation_id, fix, given, shown.token)

    def undo(self, data: RecoveryData, applied: Applied) -> Applied:
        return self.fixes.undo(data.operation_id, applied.id)

    def partial(self, name: str, size: int) -> Path:
        """A partial that is kept of a download."""
        path = self.models / f"{name}.part"
        path.write_bytes(b"x" * size)
        destination = str(self.models / name)
        self.store.keep_transfer(Transfer(destination, {}, str(path), None, size, utc_now()))
        return path

    def everything_kept(self) -> bytes:
        """All bytes of the database and of what else lies in the data folder, but for the file of secrets."""
        found = (path for path in (self.root / "data").rglob("*") if path.is_file() and path.name != "secrets.json")
        return b"".join(path.read_bytes() for path in found)
