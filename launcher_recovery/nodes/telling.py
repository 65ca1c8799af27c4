"""What a person is told while a node is installed: how far it is, what is being done, and what to know of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from launcher_recovery.operation import Operation

logger = logging.getLogger("launcher_recovery")

# Among the metadata of an operation: sentences that a person should know, though nothing failed.
WARNINGS = "warnings"
_MOST_WARNINGS = 20

STEPS = ("clone", "checkout", "submodules", "environment", "requirements", "install_script", "publish")
"""The steps of an install, in their order."""


class Telling:
    """Tells the progress of an install in finished steps, with a message of what is being done.

    Args:
        operation: what is told.
        name: of the node, for sentences.
        steps: of which it consists, in their order.
    """

    def __init__(self, operation: Operation, name: str, steps: Sequence[str] = STEPS) -> None:
        self.operation = operation
        self.name = name
        self._steps = steps
        self._done = 0

    def begins(self, step: str, message: str) -> None:
        """The steps before `step` are done."""
        self._done = self._steps.index(step)
        self.say(message)

    def is_over(self) -> None:
        """All steps are done."""
        self._done = len(self._steps)
        self.say(None)

    def say(self, message: str | None) -> None:
        """What is done at the moment, in a few words.

        Raises:
            OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
        """
        self.operation.progress(self._done, len(self._steps), "steps", message)

    def forget(self, *codes: str) -> None:
        """Take back warnings of these kinds, which an earlier attempt gave."""
        warnings = self.operation.metadata.get(WARNINGS, [])
        warnings[:] = [known for known in warnings if known["code"] not in codes]

    def warn(self, code: str, message: str, **parameters: Any) -> None:
        """Keep a sentence for the person with the operation, once.

        Args:
            code: what kind of thing it is about, such as "changed_package".
            parameters: what the sentence was made of, as JSON values.
        """
        warnings = self.operation.metadata.setdefault(WARNINGS, [])
        if any(known["message"] == message for known in warnings) or len(warnings) >= _MOST_WARNINGS:
            return
        logger.warning("%s: %s", self.name, message)
        warnings.append({"code": code, "message": message, **parameters})
        self.operation.save_metadata()


def waiting_for(whom: str, say: Callable[[str], object]) -> Callable[[float], None]:
    """What takes the seconds that a program has printed nothing for, and says once a second who is waited for.

    Args:
        whom: who is waited for, such as "an answer from github.com".
        say: is told, such as "waiting for an answer from github.com for 12 s".
    """
    said = -1

    def tell(seconds: float) -> None:
        nonlocal said
        if int(seconds) != said:
            said = int(seconds)
            say(f"waiting for {whom} for {said} s")

    return tell
