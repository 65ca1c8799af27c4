"""One part of a project: what it is, how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from launcher_recovery.classification.verdict import ErrorCategory
from launcher_recovery.errors import OperationCancelled, text_of
from launcher_recovery.fixes.effects import is_skipped
from launcher_recovery.records import FINAL, RecoveryData, RecoveryState

_RATE = 10e6  # bytes a second, for the share that a download has of the whole


class Stage(str, Enum):
    """Where a part is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    LEFT_OUT = "left_out"
    FAILED = "failed"
    BLOCKED = "blocked"


MISSING = frozenset({Stage.FAILED, Stage.BLOCKED})
_LABELS = {
    "environment": "the Python environment",
    "comfyui": "ComfyUI",
    "requirements": "the packages of the import",
    "workflow": "the workflow",
    "closing": "what the launcher does itself",
}
_DOING = {
    "environment": "making the Python environment",
    "comfyui": "installing ComfyUI",
    "node": "installing {name}",
    "requirements": "installing the packages of the import",
    "model": "downloading {name}",
    "file": "downloading {name}",
    "workflow": "checking the workflow",
    "closing": "finishing",
}


@dataclass
class Part:
    """A part of a project.

    Args:
        what: "environment", "comfyui", "node", "requirements", "model", "file", "workflow" or "closing".
        name: for people, such as the name of a file.
        seconds: how long it probably takes, for its share of the whole.
        run: has it done.
        record: gives the operation that it is, if there is one by now.
        needs: parts without which it cannot be done.
        inside: the part whose folder it goes into, with which it is left out; None: none.
        is_there: whether what it made is still there.
    """

    what: str
    name: str
    seconds: float
    run: Callable[[], Any]
    record: Callable[[], RecoveryData | None] = lambda: None
    needs: Sequence[Part] = ()
    inside: Part | None = None
    is_there: Callable[[], bool] = lambda: True
    stage: Stage = Stage.WAITING
    reason: str | None = None
    error: Exception | None = field(default=None, repr=False)
    seen: RecoveryData | None = field(default=None, repr=False)
    """The operation that it is, as `look` saw it last."""
    _is_settled: bool = field(default=False, repr=False)

    @property
    def label(self) -> str:
        """What it is, as a part of a sentence."""
        return _LABELS.get(self.what, f"the {self.what} {self.name}")

    @property
    def doing(self) -> str:
        """What is being done while it runs, or what it waits for."""
        if self.seen is not None and self.seen.state is RecoveryState.PAUSED:
            return f"{self.label} is paused"
        doing = _DOING[self.what].format(name=self.name)
        return doing if self.waits_for is None else f"{doing} ({self.waits_for})"

    @property
    def waits_for(self) -> str | None:
        """Why its next attempt has not begun; None: it runs."""
        if self.seen is None or self.seen.state is not RecoveryState.RECOVERING:
            return None
        # What follows is what is done about it, which all waits have in common.
        return _clause((self.seen.explanation or "it waits").partition(". ")[0])

    def look(self) -> None:
        """See how its operation is."""
        stage = self.stage
        if stage is Stage.WAITING or self._is_settled:
            return
        self.seen = self.record()
        # While it runs, another file may come in the place of one that cannot be had.
        self._is_settled = stage is not Stage.RUNNING and self.seen is not None and self.seen.state in FINAL

    def do(self) -> None:
        """Have it done, unless it cannot be; whatever it raises is kept in it."""
        missing = next((part for part in self.needs if part.stage in MISSING), None)
        if missing is not None:
            self.stage, self.reason = Stage.BLOCKED, f"it needs {missing.label}"
            return
        if self.inside is not None and self.inside.stage is Stage.LEFT_OUT:
            self.stage, self.reason = Stage.LEFT_OUT, f"it belongs to {self.inside.label}"
            return
        self.stage, self.reason, self.error = Stage.RUNNING, None, None
        try:
            self.run()
        except Exception as error:
            self._fail(error)
            return
        record = self.record()
        self.stage = Stage.LEFT_OUT if record is not None and is_skipped(record) else Stage.DONE

    def _fail(self, error: Exception) -> None:
        self.error = error
        record = self.record()
        told = record.explanation if record is not None and record.category != ErrorCategory.UNKNOWN.value else None
        self.reason = "it was cancelled" if isinstance(error, OperationCancelled) else _clause(told or text_of(error))
        self.stage = Stage.FAILED

    def share(self) -> tuple[float, float]:
        """Seconds of it that are done, and that it takes in all, as far as that was known when it was looked at."""
        progress = self.seen.progress if self.stage is Stage.RUNNING and self.seen is not None else None
        if progress is None or not progress.total:
            return (self.seconds if self.stage in (Stage.DONE, Stage.LEFT_OUT) else 0.0), self.seconds
        if progress.unit == "bytes":
            self.seconds = seconds_of(int(progress.total))
        return self.seconds * min(1.0, progress.done / progress.total), self.seconds

    def told(self) -> dict[str, Any]:
        """The part as JSON values: "what", "name", "state", and "reason" and "operation_id" where there are any."""
        found = {"what": self.what, "name": self.name, "state": self.stage.value}
        reason = self.waits_for if self.stage is Stage.RUNNING else self.reason
        if reason is not None:
            found["reason"] = reason
        if self.seen is not None:
            found["operation_id"] = self.seen.operation_id
        return found


def seconds_of(size: int) -> float:
    """How long a download of `size` bytes probably takes."""
    return max(1.0, size / _RATE)


def _clause(sentence: str) -> str:
    """A sentence as it can stand in brackets."""
    return sentence.strip().rstrip(".")
