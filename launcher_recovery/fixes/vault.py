"""Secrets that people give for one place, in a file of the launcher's data that only its user can read.

They are in no database, and so in no copy of one. Where the file system has no rights of that kind (Windows), it is
the folder of the user that keeps others away.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_NAME = "secrets.json"
_VERSION = 1

_used: Path | None = None


def use(folder: Path | None) -> None:
    """Have this process look for secrets in that folder; None: where the environment says."""
    global _used
    _used = folder


def in_use(environ: Mapping[str, str]) -> Vault:
    """The secrets of this process."""
    if _used is not None:
        return Vault(_used)
    from launcher_recovery.persistence.file import default_path  # loaded only where nothing was said

    return Vault(default_path(environ).parent)


class Vault:
    """The file in one folder. Of several secrets for one place the latest counts; without it the one before does.

    Args:
        folder: where it lies; made when the first secret comes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME

    def get(self, place: str) -> str | None:
        """The secret for a place, such as "host:huggingface.co"; None: there is none."""
        for entry in reversed(self._entries()):
            if entry["place"] == place:
                return str(entry["secret"])
        return None

    def add(self, place: str, secret: str, by: str) -> None:
        """Keep a secret; `by` is the id under which it can be taken out again.

        Raises:
            OSError: the file cannot be written.
        """
        self._write([*self._without(by), {"place": place, "secret": secret, "by": by}])

    def remove(self, by: str) -> None:
        """Take out what was added under that id; silent when nothing was."""
        entries = self._entries()
        left = self._without(by)
        if len(left) != len(entries):
            self._write(left)

    def places(self) -> list[str]:
        """The places for which there is a secret."""
        return list(dict.fromkeys(entry["place"] for entry in self._entries()))

    def forget(self, place: str) -> None:
        """Take out all secrets for a place."""
        self._write([entry for entry in self._entries() if entry["place"] != place])

    def _without(self, by: str) -> list[dict[str, Any]]:
        return [entry for entry in self._entries() if entry["by"] != by]

    def _entries(self) -> list[dict[str, Any]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return [e for e in content["secrets"] if {"place", "secret", "by"} <= e.keys()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    def _write(self, entries: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it with mode 0600, so that nobody else can read it at any time.
        descriptor, name = tempfile.mkstemp(prefix=f".{_NAME}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": _VERSION, "secrets": entries}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
