"""The list of operations, and one of them with its history."""

from __future__ import annotations

import json

from flask import Response, make_response

from launcher_recovery.bundle import bundle_of
from launcher_recovery.web.api.answers import answer, here, stamp
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.operations import OperationAnswer, OperationsAnswer, OperationsQuery
from launcher_recovery.web.api.shown import known, of_cursor, operation_json, operations_json, to_cursor


@described(OperationsAnswer, tag="operations")
def operations(query: OperationsQuery) -> Response:
    """Operations, newest first, a page at a time."""
    # Before the list is read: what happens meanwhile is told once more, and not lost.
    at = stamp()
    text = {"text": query.text} if query.text else {}  # which not every store of somebody's own knows
    found = here().persistence.find(
        states=query.state or None,
        kind=query.kind,
        project=None if query.project is None else here().redactor.text(query.project),  # as it is kept
        parent_id=query.parent_id,
        before=of_cursor(query.before),
        limit=query.limit + 1,
        **text,
    )
    page = found[: query.limit]
    following = to_cursor(page[-1]) if len(found) > query.limit else None
    return answer(operations=operations_json(page), next=following, **at)


@described(OperationAnswer, tag="operations")
def operation(operation_id: str) -> Response:
    """One operation with its attempts, steps and events."""
    at = stamp()
    data = known(operation_id)
    store = here().persistence
    attempts = [attempt.to_json() for attempt in store.attempts(operation_id)]
    events = [event.to_json() for event in store.events_of_operation(operation_id)]
    return answer(operation={**operation_json(data), "attempts": attempts, "events": events}, **at)


@described(None, tag="operations")
def bundle(operation_id: str) -> Response:
    """A support file: all that is known of an operation, settings and health; without secrets."""
    data = known(operation_id)
    text = json.dumps(bundle_of(here(), data), indent=2, ensure_ascii=False, default=str)
    response = make_response(text, 200, {"Content-Type": "application/json"})
    name = "".join(letter for letter in data.operation_id if letter.isalnum())[:64]
    response.headers["Content-Disposition"] = f'attachment; filename="recovery-{name}.json"'
    return response
