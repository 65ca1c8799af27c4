"""The resumable, verified download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher_recovery.lazily import front

if TYPE_CHECKING:
    from launcher_recovery.downloads import download, verify
    from launcher_recovery.transfer.integrity.checksums import Checksum
    from launcher_recovery.transfer.integrity.verifying import Verified

# The first two run operations of their own, for which they need more than the rest of this package may import.
_HOMES = {
    "Checksum": "transfer.integrity.checksums",
    "Verified": "transfer.integrity.verifying",
    "download": "downloads",
    "verify": "downloads",
}

__all__ = ["Checksum", "Verified", "download", "verify"]

__getattr__, __dir__ = front(__name__, _HOMES, within="launcher_recovery")
