"""Controls of many operations in requests and answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from launcher_recovery.web.api.models.base import Answer, Part, Request
from launcher_recovery.web.api.models.operations import (
    OF_ATTEMPTS,
    OF_FORCE,
    OF_KIND,
    OF_NAME,
    OF_STATES,
    OF_TEXT,
    GivenAttempts,
    Kind,
    States,
    Text,
)

MOST = 200
"""How many are changed by one request."""


class Filter(BaseModel):
    """Which operations; of those only the ones for which it is legal now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: States | None = Field(None, description=OF_STATES)
    kind: Kind | None = Field(None, description=OF_KIND)
    project: Text | None = Field(None, description=OF_NAME)
    text: Text | None = Field(None, description=OF_TEXT)


class BulkBody(Request):
    """Which operations."""

    operation_ids: Annotated[list[Text], Field(min_length=1, max_length=MOST)] | None = Field(
        None, description=f"a list of 1 to {MOST} ids of operations"
    )
    filter: Filter | None = Field(
        None,
        description="an object with some of state (a list), kind, project and text, as the list of operations has them",
    )


class BulkRetryBody(BulkBody):
    """Which operations, and how they are tried again."""

    force: StrictBool = Field(False, description=OF_FORCE)
    max_attempts: GivenAttempts | None = Field(None, description=OF_ATTEMPTS)


class Refused(Part):
    """An operation that was left as it was."""

    operation_id: str
    message: str


class BulkAnswer(Answer):
    """What was done."""

    message: str
    changed: list[str] = Field(description="ids")
    refused: list[Refused]
    more: bool = Field(description="whether the filter has further ones, which the same request changes when repeated")
