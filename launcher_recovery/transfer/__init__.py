"""The resumable, verified download."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher_recovery.downloads import download, verify
    from launcher_recovery.transfer.integrity.checksums import Checksum
    from launcher_recovery.transfer.integrity.verifying import Verified

# The first two run operations of their own, for which they need more than the rest of this package may import.
_HOMES = {
    "Checksum": "launcher_recovery.transfer.integrity.checksums",
    "Verified": "launcher_recovery.transfer.integrity.verifying",
    "download": "launcher_recovery.downloads",
    "verify": "launcher_recovery.downloads",
}

__all__ = ["Checksum", "Verified", "download", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
