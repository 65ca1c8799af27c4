"""Which machine it is: the processor and whether it has instructions for SHA-256, the file system, the system."""

from __future__ import annotations

import os
import platform
import ssl
from pathlib import Path

# As /proc/cpuinfo names them on x86 and on ARM.
_SHA_FLAGS = frozenset({"sha_ni", "sha2"})


def processor(cpuinfo: str) -> tuple[str, bool | None]:
    """The name of the processor, and whether it has SHA instructions (None: not known), by /proc/cpuinfo."""
    name, flags = "", None
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            name = name or value
        elif key in ("flags", "Features") and flags is None:
            flags = set(value.split())
    return name or platform.processor() or platform.machine(), None if flags is None else bool(flags & _SHA_FLAGS)


def file_system(folder: Path, mountinfo: str) -> str:
    """The type of the file system that a folder is in, by /proc/self/mountinfo (proc(5))."""
    best, kind = "", "unknown"
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = fields[4].encode().decode("unicode_escape")  # a space in it is \040
        if len(point) >= len(best) and folder.is_relative_to(point):
            best, kind = point, after.split()[0]
    return kind


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def described(folder: Path) -> str:
    """Two lines for the head of a table; `folder` is where the files go."""
    name, has_sha = processor(_read("/proc/cpuinfo"))
    sha = {True: "with SHA instructions", False: "without SHA instructions", None: "SHA instructions: not known"}[
        has_sha
    ]
    kind = file_system(folder.resolve(), _read("/proc/self/mountinfo"))
    # Of the last minute: whatever else runs takes its share of the processors, and of the numbers.
    return (
        f"CPU: {os.cpu_count()} x {name}, {sha}; load before {os.getloadavg()[0]:.2f}\n"
        f"files on {kind}; {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{ssl.OPENSSL_VERSION}"
    )
