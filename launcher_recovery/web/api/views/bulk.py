"""What a person can do to many operations at once."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.records import RecoveryData
from launcher_recovery.signals import actions_for
from launcher_recovery.web.api.answers import ApiError, answer, here, sentence
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.bulk import MOST, BulkAnswer, BulkBody, BulkRetryBody

_IN_WORDS = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "tried again"}


def _change(json: BulkBody, action: str, change: Callable[[str], RecoveryData]) -> Response:
    ids, is_more = _wanted(json, action)
    changed: list[str] = []
    refused: list[dict[str, str]] = []
    for operation_id in ids:
        try:
            change(operation_id)
        except RecoveryStateError as error:
            refused.append({"operation_id": operation_id, "message": sentence(str(error))})
        else:
            changed.append(operation_id)
    count = f"{len(changed)} operation{'' if len(changed) == 1 else 's'}"
    not_done = f", {len(refused)} could not be" if refused else ""
    more = "; there are more, so do it once more" if is_more else ""
    message = f"{count} {'was' if len(changed) == 1 else 'were'} {_IN_WORDS[action]}{not_done}{more}."
    return answer(message=message, changed=changed, refused=refused, more=is_more)


def _wanted(json: BulkBody, action: str) -> tuple[list[str], bool]:
    """The ids of the operations for which the control is legal now, and whether there are more."""
    if (json.operation_ids is None) == (json.filter is None):
        message = "Name the operations in operation_ids, or say in filter which: one of them, and not both."
        raise ApiError(422, "bad_filter", message, field="filter")
    if json.operation_ids is not None:
        return list(dict.fromkeys(json.operation_ids)), False
    assert json.filter is not None
    asked = {name: value for name, value in dict(json.filter).items() if name != "state" and value is not None}
    if "project" in asked:
        asked["project"] = here().redactor.text(asked["project"])  # as it is kept
    found: list[str] = []
    before: tuple[float, str] | None = None
    while True:
        page = here().persistence.find(states=json.filter.state or None, before=before, limit=MOST, **asked)
        for data in page:
            if action in actions_for(data):
                if len(found) == MOST:
                    return found, True
                found.append(data.operation_id)
        if len(page) < MOST:
            return found, False
        before = (page[-1].created_at.timestamp(), page[-1].operation_id)

    return actions_for(data)


@described(BulkAnswer, tag="controls")
def pause(json: BulkBody) -> Response:
    """Pause operations."""
    return _change(json, "pause", here().pause)


@described(BulkAnswer, tag="controls")
def resume(json: BulkBody) -> Response:
    """Have paused operations go on."""
    return _change(json, "resume", here().resume)


@described(BulkAnswer, tag="controls")
def cancel(json: BulkBody) -> Response:
    """End operations."""
    return _change(json, "cancel", here().cancel)


@described(BulkAnswer, tag="controls")
def retry(json: BulkRetryBody) -> Response:
    """Begin again what failed, and end waits; with `{"filter": {"state": ["failed"]}}` of all that failed."""
    integrator = here()
    return _change(json, "retry", lambda one: integrator.retry(one, force=json.force, max_attempts=json.max_attempts))
