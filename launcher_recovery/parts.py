"""What an operation that consists of others has them done by: the launcher's hooks, and the engine for the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import pluggy

from launcher_recovery.errors import NoHandlerError, OperationCancelled, StoreError, text_of
from launcher_recovery.kinds import Arguments, OperationKind
from launcher_recovery.operation import current_operation
from launcher_recovery.plans import Plan
from launcher_recovery.records import UNFINISHED, RecoveryData, RecoveryState

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

logger = logging.getLogger("launcher_recovery")


class Parts:
    """The `Launcher` of `launcher_recovery.kinds`, for a launcher with plugins.

    Args:
        integrator: knows the kinds of operations, and keeps them.
        manager: of the launcher's plugins.
        begin: enters an operation; gives what runs it and returns its result.
    """

    def __init__(
        self,
        integrator: RecoveryIntegrator,
        manager: pluggy.PluginManager,
        begin: Callable[[OperationKind, Arguments], Callable[[], Any]],
    ) -> None:
        self._integrator = integrator
        self._manager = manager
        self._begin = begin

    def run(self, kind: str, arguments: Arguments) -> Any:
        found, around = self._kind(kind), current_operation()
        while around is not None:
            # Another operation's, with another purpose: how it ends, such as by a cancel, says nothing about this one.
            is_of_another = self._is_of_another(found, arguments, around.operation_id, UNFINISHED)
            try:
                result = self._call(found, arguments)
                if not is_of_another:
                    return result
            except Exception as error:
                was_cancelled = isinstance(error, OperationCancelled) and self._is_of_another(
                    found, arguments, around.operation_id, {RecoveryState.CANCELLED}
                )
                if not is_of_another and not was_cancelled:
                    raise
                logger.info("%s was waited for: %s", found.title(arguments), text_of(error))
            around.check()
        return self._call(found, arguments)

    def _call(self, kind: OperationKind, arguments: Arguments) -> Any:
        hook = getattr(self._manager.hook, kind.hook, None)
        return self._begin(kind, arguments)() if hook is None else hook(**arguments)

    def _is_of_another(
        self, kind: OperationKind, arguments: Arguments, parent_id: str, states: Collection[RecoveryState]
    ) -> bool:
        """Whether a call is the same operation as one that is in one of these states inside another one."""
        try:
            latest = self._integrator.persistence.latest_with_key(
                self._integrator.lifecycle.kept_key(kind.key(arguments))
            )
        except StoreError:
            return False
        return latest is not None and latest.state in states and latest.parent_id != parent_id

    def record(self, kind: str, arguments: Arguments) -> RecoveryData | None:
        around = current_operation()
        key = self._integrator.lifecycle.kept_key(self._kind(kind).key(arguments))
        found = self._integrator.persistence.latest_with_key(key)
        is_inside = found is not None and around is not None and found.parent_id == around.operation_id
        return found if is_inside else None

    def _kind(self, name: str) -> OperationKind:
        found = self._integrator.kinds.get(name)
        if found is None:
            raise NoHandlerError(f"no extension declares the kind of operation {name!r}; install the one that does")
        return found

    def read_import(self, import_json: Any) -> Plan | None:
        return self._integrator.extensions.read_import(import_json)

    def tell(self, hook: str, arguments: Arguments) -> None:
        caller = getattr(self._manager.hook, hook, None)
        if caller is None:
            return
        try:
            caller(**arguments)
        except Exception:
            logger.exception("the launcher failed in %s", hook)
