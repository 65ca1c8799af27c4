"""Git LFS pointers: the few lines that stand for a large file in a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher_recovery.transfer.integrity.checksums import Checksum

# "Pointer files must be less than 1024 bytes in size", https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md; the
# older addresses of the version are in lfs/pointer.go.
_LONGEST = 1024
_POINTER = re.compile(
    rb"version https?://(?:git-lfs\.github\.com/spec/v1|hawser\.github\.com/spec/v1|git-media\.io/v/2)\n"
    rb"(?:ext-[^\n]*\n)*oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>[0-9]{1,18})\n?"
)


@dataclass(frozen=True)
class Pointer:
    """What a pointer says of its file; `size` is in bytes."""

    checksum: Checksum
    size: int


def read(data: bytes) -> Pointer | None:
    """The pointer that `data` is, or None when it is anything else."""
    found = _POINTER.fullmatch(data) if len(data) < _LONGEST else None
    if found is None:
        return None
    return Pointer(Checksum("sha256", str(found["oid"], "ascii")), int(found["size"]))
