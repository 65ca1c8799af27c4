"""The list of operations, and one of them with its history."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response

from launcher_recovery.clock import to_iso
from launcher_recovery.web.api.answers import answer, here, stamp
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.operations import OperationAnswer, OperationsAnswer, OperationsQuery
from launcher_recovery.web.api.shown import known, of_cursor, operation_json, to_cursor


@described(OperationsAnswer, tag="operations")
def operations(query: OperationsQuery) -> Response:
    """Operations, newest first, a page at a time."""
    # Before the list is read: what happens meanwhile is told once more, and not lost.
    at = stamp()
    found = here().persistence.find(
        states=query.state or None,
        kind=query.kind,
        project=query.project,
        parent_id=query.parent_id,
        text=query.text or None,
        before=of_cursor(query.before),
        limit=query.limit + 1,
    )
    page = found[: query.limit]
    following = to_cursor(page[-1]) if len(found) > query.limit else None
    return answer(operations=[operation_json(data) for data in page], next=following, **at)


@described(OperationAnswer, tag="operations")
def operation(operation_id: str) -> Response:
    """One operation with its attempts, steps and events."""
    at = stamp()
    data = known(operation_id)
    store = here().persistence
    attempts = [
        {**asdict(item), "started_at": to_iso(item.started_at), "ended_at": to_iso(item.ended_at)}
        for item in store.attempts(operation_id)
    ]
    events = [
        {"seq": event.seq, "event": event.name, "data": event.payload}
        for event in store.events_of_operation(operation_id)
    ]
    return answer(operation={**operation_json(data), "attempts": attempts, "events": events}, **at)
