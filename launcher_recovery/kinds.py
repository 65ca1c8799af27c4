"""What a kind of operation is: how to name its calls, and the handler that recovers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.operation import Operation
from launcher_recovery.plans import Plan
from launcher_recovery.records import RecoveryData
from launcher_recovery.workflows.sources import Lookups

Arguments = Mapping[str, Any]
Sources = Callable[[str], Sequence[str]]
"""From an address to further addresses of the same thing, best first."""


class Launcher(Protocol):
    """What the code of an operation that consists of others can ask for; safe to use from several threads, which have
    to run in the context of the operation (`contextvars.copy_context`)."""

    def run(self, kind: str, arguments: Arguments) -> Any:
        """Have an operation of a kind done inside the current one, as if the launcher called its hook.

        Raises:
            NoHandlerError: nobody declares the kind.
            Exception: what the operation gave up with; see `Engine.run`.
        """

    def record(self, kind: str, arguments: Arguments) -> RecoveryData | None:
        """The operation inside the current one that `run` with these arguments is, or was; None: there is none yet.

        Raises:
            NoHandlerError: nobody declares the kind.
        """

    def read_import(self, import_json: Any) -> Plan | None:
        """What an import asks for; None: nobody knows its format.

        Raises:
            RefusedError: who knows its format refuses it.
        """

    def tell(self, hook: str, arguments: Arguments) -> None:
        """Call a hook of the launcher, if it has that; what its implementations raise is logged."""


@dataclass(frozen=True)
class OperationKind:
    """One kind of operation of a launcher.

    Args:
        name: the kind, such as "download".
        hook: the launcher's hook that it stands around; of a kind that is only a part of others, its name.
        key: from the arguments of a call to what makes it the same operation.
        title: from the arguments to a few words for people, such as a file name.
        handler: runs one attempt in a way that can be resumed, within the operation given; the third argument
            asks the extensions for mirrors of an address. None from it means "not handled here", then the
            launcher's own handler runs. None: there is none.
        compose: like `handler`, for an operation that consists of others, which have attempts of their own; it gets
            what these are run by. Its attempts have no time limit. None: it does not.
        stopped: called when an operation of it was paused, or ended otherwise than well, whoever did that, in the
            process that the pages are of; with its record, and what `compose` gets.
        gave_up: called when an operation of it failed for good, before its callers are told, with its record and the
            `Lifecycle` that keeps it: the place to undo what is of no use any more.
        scope: from the arguments to what a circuit breaker guards, such as a host name; None: no breaker.
        place: from the arguments to what operations of this kind crowd when too many run at a time, such as a Python
            environment; None: its `scope`.
        check: called with the arguments and the allowed folders before anything else; raises RefusedError.
        settings: from the settings in force to arguments for `handler`, for those that a call leaves open; asked for
            each attempt, and never kept.
        enrich: makes more of the result of whichever handler answered, in the same attempt: with the operation, the
            arguments, the result, and who knows where nodes and models can be had. None: the result stays as it is.
        still_there: whether the result of an earlier success within the same operation around it is still good;
            if not, it is done again.
    """

    name: str
    hook: str
    key: Callable[[Arguments], str]
    title: Callable[[Arguments], str]
    handler: Callable[[Operation, Arguments, Sources], Any] | None = None
    compose: Callable[[Operation, Arguments, Launcher], Any] | None = None
    gave_up: Callable[[RecoveryData, Any], object] | None = None
    stopped: Callable[[RecoveryData, Launcher], object] | None = None
    scope: Callable[[Arguments], str | None] = lambda arguments: None
    place: Callable[[Arguments], str | None] | None = None
    check: Callable[[Arguments, tuple[str, ...]], None] = lambda arguments, roots: None
    settings: Callable[[RecoveryConfig], Arguments] = lambda config: {}
    enrich: Callable[[Operation, Arguments, Any, Lookups], Any] | None = None
    still_there: Callable[[RecoveryData], bool] = lambda data: True

    def place_of(self, arguments: Arguments) -> str | None:
        """What a call with these arguments crowds."""
        return self.scope(arguments) if self.place is None else self.place(arguments)

    def completed(self, arguments: Arguments, config: RecoveryConfig) -> dict[str, Any]:
        """The arguments for the handler: what a call leaves open is as the settings say."""
        settings = self.settings(config).items()
        return {**arguments, **{name: value for name, value in settings if arguments.get(name) is None}}
