"""A small model hub that fails on purpose, to try a launcher's downloads and node installs against."""

from .faults import (
    Drop,
    EtagChange,
    Fault,
    Html,
    IgnoreRange,
    RateLimit,
    Slow,
    Stall,
    Status,
    WrongByte,
)
from .server import Hub
from .shelf import Model

__all__ = [
    "Drop",
    "EtagChange",
    "Fault",
    "Html",
    "Hub",
    "IgnoreRange",
    "Model",
    "RateLimit",
    "Slow",
    "Stall",
    "Status",
    "WrongByte",
]
