"""What happens to an operation when its call is ended from outside: Ctrl-C, a cancelled task, a closed generator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from launcher_recovery.breaker import CircuitBreaker
from launcher_recovery.errors import RecoveryStateError, StoreError
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation

logger = logging.getLogger("launcher_recovery")


class Attached:
    """While it is entered, the call is known to the lifecycle; whatever ends it from outside ends its part.

    A class, not a generator with a decorator: those set attributes of the exceptions that pass through.

    Args:
        lifecycle: where the operation changes.
        breaker: gives the one whose probe the call may be.
        live: the call, attached.
    """

    def __init__(self, lifecycle: Lifecycle, breaker: Callable[[], CircuitBreaker | None], live: Operation) -> None:
        self._lifecycle = lifecycle
        self._breaker = breaker
        self._live = live

    def __enter__(self) -> Operation:
        return self._live

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        live, lifecycle = self._live, self._lifecycle
        try:
            if error is not None and not isinstance(error, Exception):
                breaker = self._breaker()
                if breaker is not None:
                    breaker.release(live)
                is_given_up = isinstance(error, (asyncio.CancelledError, GeneratorExit))
                # Otherwise this process ends; the operation need not, and is left to others.
                if is_given_up and (live.began or not lifecycle.is_shared(live)):
                    lifecycle.cancel(live.operation_id)
        except (RecoveryStateError, StoreError) as problem:
            logger.debug("an interrupted call left its operation as it was: %s", problem)
        finally:
            live.leave_slots()
            lifecycle.leave(live, error)
