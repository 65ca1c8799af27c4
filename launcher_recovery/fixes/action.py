"""What an action is: one of the few things that fixes do, with its undo, as data.

As data they can be shown, kept, and undone by another process. Each `undo` can be called again, and after a `do` that
was cut off at any place: what is half done is then undone too.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from launcher_recovery.fixes.fix import FixConflictError, Say
from launcher_recovery.fixes.tools import Tools
from launcher_recovery.records import RecoveryData


@dataclass(frozen=True)
class Hands:
    """Who does an action: for which operation, under which id, and with which parameters, secrets among them."""

    tools: Tools
    operation_id: str
    by: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    functions: Mapping[str, Function] = field(default_factory=dict)

    def record(self) -> RecoveryData:
        """The operation as it is kept."""
        found = self.tools.lifecycle.current(self.operation_id)
        if found is None:
            raise FixConflictError(Say("cannot.gone"))
        return found


@dataclass(frozen=True)
class Function:
    """What a `Call` calls. Both get who does it and the arguments of the call; `undo` None: it cannot be undone.

    After a crash `undo` is called as well, whether `do` was called or not.
    """

    do: Callable[[Hands, Mapping[str, Any]], None]
    undo: Callable[[Hands, Mapping[str, Any]], None] | None = None


class Action(abc.ABC):
    """One thing that is done; a frozen dataclass of JSON values."""

    can_undo: ClassVar[bool] = True

    @abc.abstractmethod
    def do(self, hands: Hands) -> None:
        """Do it, provided that all is as it was when this was planned."""

    @abc.abstractmethod
    def undo(self, hands: Hands) -> None:
        """Make it as it was before, whatever of it was done."""

    @abc.abstractmethod
    def say(self) -> Say:
        """What it does, as a sentence."""

    def is_undoable(self, functions: Mapping[str, Function]) -> bool:
        """Whether `undo` brings back all."""
        return self.can_undo
