"""Functions of `apply_to_operation`: as the mode says, a call of them is recovered, observed, or left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launcher_recovery import observing
from launcher_recovery.classification import Verdict
from launcher_recovery.declaration import Declaration
from launcher_recovery.engine import classified
from launcher_recovery.operation import Operation, current_operation, running
from launcher_recovery.persistence.base import Store
from launcher_recovery.policy import Rules
from launcher_recovery.threads import in_thread

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator


class Switched(Declaration):
    """A function whose mode is decided when a call begins; its name decides its side of a percentage.

    Args:
        target: the function.
        rules: its policy in the mode `recover`.
        integrator: whose settings, clock and records it has.
        store: where its operations are kept.
    """

    def __init__(self, target: Callable[..., Any], rules: Rules, integrator: RecoveryIntegrator, store: Store) -> None:
        self._integrator = integrator
        super().__init__(target, rules, integrator.clock, store)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mode = self._mode()
        if mode == "recover":
            return super().call(args, kwargs)
        live = self._begin(args, kwargs) if mode == "observe" else None
        if live is None:
            return self.target(*args, **kwargs)
        try:
            with running(live):
                result = self.target(*args, **kwargs)
        except BaseException as error:
            self._end(live, error=error)
            raise
        self._end(live, result=result)
        return result

    async def call_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mode = self._mode()
        if mode == "recover":
            return await super().call_async(args, kwargs)
        live = None
        if mode == "observe":
            live = await in_thread(lambda: self._begin(args, kwargs), self._abandon)
        if live is None:
            return await self.target(*args, **kwargs)
        try:
            with running(live):
                result = await self.target(*args, **kwargs)
        except Exception as error:
            failure = error
            await asyncio.to_thread(lambda: self._end(live, error=failure))
            raise
        except BaseException:
            self._abandon(live)
            raise
        await asyncio.to_thread(lambda: self._end(live, result=result))
        return result

    def _mode(self) -> str:
        return self._integrator.config.mode_for("function", self.name)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
        self.stay_alive()
        around = current_operation()
        draft = self._integrator.lifecycle.draft(
            self.name,
            args,
            kwargs,
            parent_id=None if around is None else around.operation_id,
            title=self.title,
        )
        return observing.begin(self._integrator.lifecycle, draft)

    def _end(self, live: Operation, *, result: Any = None, error: BaseException | None = None) -> None:
        lifecycle = self._integrator.lifecycle
        try:
            if error is None or isinstance(error, Exception):
                observing.keep(lifecycle, live, self._classify, result=result, error=error)
            else:
                observing.abandon(lifecycle, live)
        finally:
            lifecycle.detach(live)

    def _classify(self, error: BaseException) -> Verdict:
        return classified(self.policy, error)

    def _abandon(self, live: Operation | None) -> None:
        if live is not None:
            self._end(live, error=asyncio.CancelledError())
