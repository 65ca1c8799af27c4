"""A power cut without a machine: what a disk and a SQLite store may hold afterwards, worked out while code runs."""

from .disk import Disk
from .tape import Tape

__all__ = ["Disk", "Tape"]
