"""Events in requests and answers."""

from __future__ import annotations

from pydantic import Field

from launcher_recovery.web.api.models.base import Request, Stamped
from launcher_recovery.web.api.models.operations import MAX_PAGE, Event, Text, Whole

LARGEST = 2**53 - 1
"""What every JSON parser reads exactly (RFC 8259 §6)."""


class EventsQuery(Request):
    """Which events."""

    since: Whole | None = Field(
        None,
        ge=0,
        le=LARGEST,
        description="the number of the last event that is known, 0 or more; without it the latest are given",
    )
    operation_id: Text | None = Field(None, description="the id of the operation that they are about")
    limit: Whole = Field(MAX_PAGE, ge=1, le=MAX_PAGE, description=f"a whole number from 1 to {MAX_PAGE}")


class EventsAnswer(Stamped):
    """Events, oldest first."""

    events: list[Event]
    reset: bool = Field(description="whether some of those that were asked for are not kept any more")
