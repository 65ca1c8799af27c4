"""What is said of an argument that cannot be used: its name, its value, and what was expected."""

from __future__ import annotations

import inspect
import math
import reprlib

from launcher_recovery.errors import RecoveryConfigError


def refused(name: str, value: object, expected: str) -> RecoveryConfigError:
    """The error for the argument `name`; `expected` completes "it must be"."""
    return RecoveryConfigError(f"{name}={shown(value)} is not usable: it must be {expected}")


def shown(value: object) -> str:
    """The value in few words, also when its class cannot say it."""
    if isinstance(value, type) or inspect.isroutine(value):
        return value.__qualname__
    return reprlib.repr(value)


def number(name: str, value: object, minimum: float = 0, *, may_be_endless: bool = False) -> float:
    """`value` as a float, if it is a number of at least `minimum`, and a finite one unless said otherwise."""
    expected = f"a number of at least {minimum:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= minimum:
        raise refused(name, value, expected)
    if math.isinf(value) and not may_be_endless:
        raise refused(name, value, f"{expected}, and finite")
    return float(value)


def whole(name: str, value: object, minimum: int) -> int:
    """`value`, if it is a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise refused(name, value, f"a whole number of at least {minimum}")
    return value


def limit(name: str, value: object) -> float | None:
    """`value`, if it is None or a finite number of seconds, 0 or more."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise refused(name, value, "None or a finite number of seconds of at least 0")
    return value


def flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise refused(name, value, "True or False")


def text(name: str, value: object) -> None:
    """Refuse what is no text."""
    if not isinstance(value, str):
        raise refused(name, value, "a text")


def function(name: str, value: object, expected: str) -> None:
    """Refuse what cannot be called; `expected` says what it would be called for."""
    if value is not None and not callable(value):
        raise refused(name, value, expected)


def instance(name: str, value: object, kind: type) -> None:
    """Refuse what is neither None nor an object of `kind`, such as the class itself."""
    if value is not None and not isinstance(value, kind):
        raise refused(name, value, f"an object of the class {kind.__name__}")
