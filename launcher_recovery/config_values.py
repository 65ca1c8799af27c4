"""Readers of the values of settings, from text or as they are; each says what was expected when it cannot use one."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

KINDS = ("download", "validate_workflow", "install_node", "create_project", "command")
MODES = ("off", "observe", "recover")


def flag(value: Any) -> bool:
    """True or False, also as words."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("true or false")


def number(value: Any, minimum: float, expected: str, kind: type = float) -> Any:
    """A finite number of at least `minimum`."""
    if isinstance(value, bool):
        raise ValueError(expected)
    try:
        found = kind(value)
        is_finite = math.isfinite(found)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(expected) from None
    if not is_finite or found < minimum or (kind is int and found != float(value)):
        raise ValueError(expected)
    return found


def count(minimum: int) -> Callable[[Any], int]:
    """A reader of whole numbers."""
    expected = f"a whole number of at least {minimum}"
    return lambda value: int(number(value, minimum, expected, int))


def seconds(value: Any) -> float:
    """Seconds."""
    return float(number(value, 0, "a number of seconds, 0 or more"))


def optional_seconds(value: Any) -> float | None:
    """Seconds; nothing stands for no limit."""
    return None if value is None or value == "" else seconds(value)


def factor(value: Any) -> float:
    """A factor."""
    return float(number(value, 0, "a number of at least 0"))


def mode(value: Any) -> str:
    """A mode."""
    text = str(value).strip().lower()
    if text not in MODES:
        raise ValueError("off, observe or recover")
    return text


def modes(value: Any) -> dict[str, str]:
    """Modes by operation kind."""
    if not isinstance(value, Mapping):
        raise ValueError("a table from operation kind to mode")
    unknown = [kind for kind in value if kind not in KINDS]
    if unknown:
        raise ValueError(f"operation kinds among {', '.join(KINDS)}, not {unknown[0]!r}")
    return {kind: mode(given) for kind, given in value.items()}


def rollout(value: Any) -> dict[str, float]:
    """Percentages by operation kind."""
    expected = "a percentage such as 25, or one for each kind such as download:50,install_node:10"
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        parts = [part.strip() for part in str(value).split(",") if part.strip()]
        pairs = [("*", part) if ":" not in part else (part.split(":")[0], part.split(":")[1]) for part in parts]
    if not pairs:
        raise ValueError(expected)
    shares: dict[str, float] = {}
    for kind, share in pairs:
        percent = number(str(share).strip().rstrip("%"), 0, expected)
        name = str(kind).strip()
        if percent > 100 or name not in ("*", *KINDS):
            raise ValueError(expected)
        shares[name] = percent
    return shares


class Limits(NamedTuple):
    """How many operations of a kind run at a time: in all, and at one place (a host, a Python environment); None: any
    number."""

    total: int | None
    each: int | None


# Several hosts at once, and no host overrun; pip never twice at once in one environment, which it would damage.
_CONCURRENCY = {
    "download": Limits(8, 4),
    "install_node": Limits(4, 1),
    "create_project": Limits(4, None),
    "validate_workflow": Limits(None, None),
}


def concurrency(value: Any) -> dict[str, Limits]:
    """Limits by operation kind."""
    expected = (
        "how many run at a time by kind, in all or in all/at one place, such as download:8/4,install_node:4 "
        "(whole numbers of at least 1, or any)"
    )
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        pairs = [(kind.strip(), limit) for kind, _, limit in (part.partition(":") for part in texts(value))]
    limits = dict(_CONCURRENCY)
    for kind, given in pairs:
        if kind not in limits:
            raise ValueError(expected)
        parts = given if isinstance(given, (tuple, list)) else str(given).split("/")
        if len(parts) > 2:
            raise ValueError(expected)
        read = [None if part is None or str(part).strip() == "any" else whole(part, expected) for part in parts]
        limits[kind] = Limits(*read) if len(read) == 2 else limits[kind]._replace(total=read[0])
    return limits


def whole(value: Any, expected: str) -> int:
    """A whole number of at least 1."""
    return int(number(value, 1, expected, int))


def texts(value: Any) -> tuple[str, ...]:
    """Texts, from a list or with commas between."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise ValueError("a list, or text with commas between")
    return tuple(str(item).strip() for item in items if str(item).strip())


def paths(value: Any) -> tuple[str, ...]:
    """Paths, from a list or as PATH has them."""
    items = value.split(os.pathsep) if isinstance(value, str) else value
    return texts(items)


def path(value: Any) -> str | None:
    """A path; nothing stands for none."""
    return None if value is None or value == "" else str(value)


def database_url(value: Any) -> str | None:
    """The URL of a database; nothing stands for none."""
    if value is None or value == "":
        return None
    text = str(value).strip()
    if not re.match(r"postgres(ql)?://|sqlite:///.", text):
        raise ValueError(
            "a URL such as postgresql://user:password@host:5432/database or sqlite:////path/to/recovery.db"
        )
    return text


FILE = "file:"
MIN_TOKEN = 16
"""Characters of a token; a shorter one could be guessed."""


def token(value: Any) -> str | None:
    """A token, or `file:` and the path of a file with one; nothing stands for none."""
    if value is None or value == "":
        return None
    text = str(value).strip()
    if not text.startswith(FILE) and len(text) < MIN_TOKEN:
        raise ValueError(f"of at least {MIN_TOKEN} characters, or file:/path of a file that holds one")
    return text


def folder(value: Any) -> str | None:
    """The absolute path of a folder; nothing stands for none."""
    if value is None or value == "":
        return None
    found = os.path.expanduser(value) if isinstance(value, (str, os.PathLike)) else ""
    if not isinstance(found, str) or not os.path.isabs(found) or "\0" in found:
        raise ValueError("the absolute path of a folder, such as /data/partial")
    return os.path.normpath(found)


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DECIMAL = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(I?B)?", re.IGNORECASE | re.ASCII)


def amount(text: str) -> int | None:
    """Bytes of a text: 1048576, 10M or 10MiB (of 1024, as curl and wget have them), 10MB (of 1000); None: no amount."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        return None
    units = _DECIMAL if (found[3] or "").upper() == "B" and found[2] else _UNITS
    return round(float(found[1]) * units[found[2].upper()])


def bandwidth(value: Any) -> float | None:
    """Bytes a second; nothing stands for no limit."""
    if value is None or value == "":
        return None
    expected = "bytes a second, such as 10M, at least 1, or nothing for no limit"
    return float(number(amount(value) if isinstance(value, str) else value, 1, expected))


WAYS = ("off", "reflink", "hardlink", "copy", "auto")


def reuse(value: Any) -> str:
    """How a file with the same content may serve."""
    text = str(value).strip().lower()
    if text not in WAYS:
        raise ValueError("off, reflink, hardlink, copy or auto")
    return text
