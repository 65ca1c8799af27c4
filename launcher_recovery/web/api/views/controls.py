"""What a person can do to one operation."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response

from launcher_recovery.records import RecoveryData
from launcher_recovery.web.api.answers import answer, here
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.operations import (
    ChangedAnswer,
    NothingBody,
    PriorityBody,
    RetriedAnswer,
    RetryBody,
)
from launcher_recovery.web.api.shown import known, operation_json


def _changed(operation_id: str, change: Callable[[str], RecoveryData], done: str) -> Response:
    known(operation_id)
    data = change(operation_id)
    return answer(message=done.format(data.title), operation=operation_json(data))


@described(ChangedAnswer, tag="controls")
def pause(operation_id: str, json: NothingBody) -> Response:
    """Stop an operation until it is resumed."""
    return _changed(operation_id, here().pause, "{} is paused.")


@described(ChangedAnswer, tag="controls")
def resume(operation_id: str, json: NothingBody) -> Response:
    """Have a paused operation go on."""
    return _changed(operation_id, here().resume, "{} goes on.")


@described(ChangedAnswer, tag="controls")
def cancel(operation_id: str, json: NothingBody) -> Response:
    """End an operation; what was done so far stays on the disk."""
    return _changed(operation_id, here().cancel, "{} was cancelled.")


@described(RetriedAnswer, tag="controls")
def retry(operation_id: str, json: RetryBody) -> Response:
    """Begin again what failed, gave up or was cancelled, and end the wait of what is waiting."""
    known(operation_id)
    data = here().retry(operation_id, force=json.force, max_attempts=json.max_attempts)
    return answer(message=f"{data.title} is tried again.", retry_id=data.operation_id, operation=operation_json(data))


@described(ChangedAnswer, tag="controls")
def priority(operation_id: str, json: PriorityBody) -> Response:
    """Say how important an unfinished operation is: where it has to wait for its turn, the higher goes first."""
    return _changed(
        operation_id,
        lambda one: here().set_priority(one, json.priority),
        f"{{}} has the priority {json.priority} now.",
    )
