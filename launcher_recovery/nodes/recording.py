"""What an install does to a Python environment, recorded so that it can be undone; pip as one of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher_recovery.nodes import environment
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.requirements import Requirements
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.operation import Operation

TOUCHED = "environment_touched"
"""Among the metadata of an operation: whether pip may have changed the environment since it was recorded."""


class Recording:
    """The environment before one operation, over all its attempts.

    Args:
        operation: that installs.
        telling: is told what is done.
        interpreter: of the environment.
        wanted: what is installed, as a text without secrets; a record for something else is not used.
    """

    def __init__(self, operation: Operation, telling: Telling, interpreter: Interpreter, wanted: str) -> None:
        self._operation = operation
        self._telling = telling
        self._interpreter = interpreter
        self._wanted = wanted
        # It is not touched when the environment was put back since: what was done to it is to be done again.
        self.was_touched = bool(operation.metadata.get(TOUCHED))
        """Whether an earlier attempt has left something in the environment."""

    def before(self, requirements: Requirements) -> dict[str, Any]:
        """The environment as it was before this operation changed it."""
        self._telling.begins("environment", "recording the Python environment")
        python, metadata = self._interpreter.python, self._operation.metadata
        recorded: dict[str, Any] = self._operation.step(
            "environment",
            lambda: environment.kept(requirements.look(), python, self._wanted),
            # One that pip has not changed since is recorded again: others may have changed it meanwhile.
            still_valid=lambda made: (
                made["wanted"] == self._wanted and made["python"] == python and bool(metadata.get(TOUCHED))
            ),
        )
        return recorded

    def touch(self) -> None:
        """From now on the environment may be another one."""
        self._operation.metadata[TOUCHED] = True
        self._operation.save_metadata()

    def install(self, requirements: Requirements, before: dict[str, Any], key: Mapping[str, str], message: str) -> None:
        """Have pip install what is required, unless an earlier attempt has.

        Args:
            before: what `before` gave.
            key: what makes the step the same as that of an earlier attempt.
            message: for people, what is being done.

        Raises:
            CommandError: pip failed; the environment is as it was, as far as it could be put back.
        """
        self._telling.begins("requirements", message)

        def install() -> dict[str, str]:
            self.touch()
            try:
                requirements.install(before)
            finally:
                if requirements.is_as_before:
                    # What another node installs until the next attempt is to be among what was there before that.
                    self._operation.metadata.pop(TOUCHED)
                    self._operation.save_metadata()
            return dict(key)

        self._operation.step("requirements", install, still_valid=lambda made: self.was_touched and made == dict(key))
