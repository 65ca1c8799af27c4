"""What happened, for those who cannot listen."""

from __future__ import annotations

from flask import Response

from launcher_recovery.web.api.answers import answer, here, stamp
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.events import EventsAnswer, EventsQuery


@described(EventsAnswer, tag="events")
def events(query: EventsQuery) -> Response:
    """Events after a number, or the latest, oldest first."""
    at = stamp()
    store = here().persistence
    oldest, newest = store.event_range()
    since = query.since
    if query.operation_id is not None:
        found = store.events_of_operation(query.operation_id, query.limit)
        found = [event for event in found if event.seq > (since or 0)]
    else:
        first = max(newest - query.limit, 0) if since is None else since
        found = store.events_since(first, query.limit)
    reset = since is not None and not oldest - 1 <= since <= newest
    return answer(events=[event.to_json() for event in found], reset=reset, **at)
