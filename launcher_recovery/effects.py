"""What the attempt loop asks of its driver, and how it says that the operation failed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Call:
    """Effect: call a function that may block for a moment (a store's), send back what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Run:
    """Effect: run the handler within `timeout` seconds, send back its `Outcome`."""

    timeout: float | None


@dataclass(frozen=True)
class Wait:
    """Effect: wait for `seconds` (None: without end), less when the handle is woken."""

    seconds: float | None


@dataclass(frozen=True)
class Outcome:
    """How the handler ended: with a value, or with an error.

    The error is sent, not thrown: a StopIteration that is thrown into a generator comes out as a RuntimeError.
    """

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class Raise:
    """What the loop returns when the call has to raise, for the same reason."""

    error: Exception
    cause: BaseException | None = None

    def now(self) -> Any:
        """Raise it."""
        if self.cause is not None:
            raise self.error from self.cause
        raise self.error


Effect = Union[Call, Run, Wait]
Loop = Generator[Effect, Any, Any]
