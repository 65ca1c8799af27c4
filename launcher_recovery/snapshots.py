"""The state that a call carries from attempt to attempt, and to a new process."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from launcher_recovery.errors import RecoveryConfigError, text_of
from launcher_recovery.operation import NOTHING, Operation

logger = logging.getLogger("launcher_recovery")

_KEY = "recovery_state"

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class States:
    """Serializes the first positional argument of a function (after `self` or `cls`).

    Args:
        target: the function.
        serializer: from the state to JSON values; None: the state is kept as it is.
        deserializer: back again.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        serializer: Callable[[Any], Any] | None,
        deserializer: Callable[[Any], Any] | None,
    ) -> None:
        self._serializer = serializer
        self._deserializer = deserializer
        names = list(_parameters(target))
        self._at = 1 if names and names[0] in ("self", "cls") else 0
        self._has_failed = False

    def storable(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments as they are kept."""
        if self._serializer is None or len(args) <= self._at:
            return args
        return (*args[: self._at], self._serialized(args[self._at]), *args[self._at + 1 :])

    def restored(self, args: tuple[Any, ...], data: Any = NOTHING) -> tuple[Any, ...]:
        """The arguments from those that were kept, with the state as it was snapshotted last (`data`)."""
        if self._serializer is None or len(args) <= self._at:
            return args
        kept = args[self._at] if data is NOTHING else data
        state = kept if self._deserializer is None else self._deserializer(kept)
        return (*args[: self._at], state, *args[self._at + 1 :])

    def attach(self, live: Operation, args: tuple[Any, ...]) -> None:
        """From now on the state is snapshotted with the progress and the failures of the operation."""
        if self._serializer is not None and len(args) > self._at:
            state = args[self._at]
            live.snapshot = lambda: {_KEY: self._serialized(state)}

    def _serialized(self, state: Any) -> Any:
        assert self._serializer is not None
        try:
            return self._serializer(state)
        except Exception as error:
            if not self._has_failed:
                logger.warning("state_serializer failed, so that the state is not kept: %s", text_of(error))
            self._has_failed = True
            return None

    @staticmethod
    def latest(live: Operation) -> Any:
        """What was snapshotted last, `NOTHING` if nothing was."""
        return live.data.metadata.get(_KEY, NOTHING)


class Resumption:
    """Hands a generator's last item to its next attempt, as the parameter `name`.

    Raises:
        RecoveryConfigError: the function has no such parameter.
    """

    def __init__(self, target: Callable[..., Any], name: str) -> None:
        if name not in _parameters(target):
            raise RecoveryConfigError(f"resume_from={name!r} is not usable: {target!r} has no parameter of that name")
        self._signature = inspect.signature(target)
        self._name = name

    def arguments(self, live: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """The arguments of the attempt that begins."""
        last = live.last_item
        if last is NOTHING:
            last = States.latest(live)
        live.snapshot = lambda: {} if live.last_item is NOTHING else {_KEY: live.last_item}
        if last is NOTHING:
            return args, kwargs
        bound = self._signature.bind(*args, **kwargs)
        bound.arguments[self._name] = last
        return bound.args, bound.kwargs


def _parameters(target: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # built in, without a signature
        return []
