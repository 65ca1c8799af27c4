"""Operations in requests and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool

from launcher_recovery.config import KINDS
from launcher_recovery.records import RecoveryState
from launcher_recovery.web.api.models.base import Answer, Part, Request, Stamped

MAX_PAGE = 200
MOST_IMPORTANT = 1_000_000
MOST_ATTEMPTS = 1000
LONGEST = 200
_STATES = [state.value for state in RecoveryState]


def _split(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return value
    return [part for text in texts for part in text.split(",") if part]


def _whole(value: Any) -> Any:
    # Queries have texts; a body has numbers, of which yes and no are none.
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("no whole number")
    if isinstance(value, str) and (not value.isascii() or not value.isdecimal() or len(value) > 16):
        raise ValueError("no whole number")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("no whole number")
    return value


States = Annotated[list[RecoveryState], BeforeValidator(_split)]
Kind = Annotated[str, Field(pattern=r"^[^\W\d]\w{0,199}$")]
Whole = Annotated[int, BeforeValidator(_whole)]
# BCP 47 as browsers have it.
Language = Annotated[
    str, Field(description="a language such as en or zh-CN", pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}$")
]
Text = Annotated[str, Field(max_length=LONGEST)]
GivenAttempts = Annotated[int, BeforeValidator(_number), Field(ge=1, le=MOST_ATTEMPTS)]
OF_FORCE = "true or false: try it also while its circuit breaker is open"
OF_ATTEMPTS = f"a whole number from 1 to {MOST_ATTEMPTS}: the attempts in a row without progress that it gets"
OF_STATES = f"one or more states, such as failed,exhausted: {', '.join(_STATES)}"
OF_KIND = f"a kind, such as {', '.join(KINDS)}"
OF_TEXT = f"a part of the title, key, project, function name or id, of at most {LONGEST} characters; case is ignored"
OF_NAME = f"a name of at most {LONGEST} characters"


class OperationsQuery(Request):
    """Which operations are listed; without any filter all are."""

    state: States | None = Field(None, description=OF_STATES)
    kind: Kind | None = Field(None, description=OF_KIND)
    project: Text | None = Field(None, description=OF_NAME)
    parent_id: Text | None = Field(None, description="the id of the operation that they are parts of")
    text: Text | None = Field(None, description=OF_TEXT)
    before: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="the `next` of an earlier answer, whose list is gone on with"
    )
    limit: Whole = Field(50, ge=1, le=MAX_PAGE, description=f"a whole number from 1 to {MAX_PAGE}")


class LanguageQuery(Request):
    """In which language the answer's texts are; what there are no texts for is answered in English."""

    language: Language = "en"


class NothingBody(Request):
    """An empty object."""


class RetryBody(Request):
    """How an operation is tried again."""

    force: StrictBool = Field(False, description=OF_FORCE)
    max_attempts: GivenAttempts | None = Field(None, description=OF_ATTEMPTS)


class PriorityBody(Request):
    """How important an operation is."""

    priority: Annotated[int, BeforeValidator(_number)] = Field(
        ge=-MOST_IMPORTANT,
        le=MOST_IMPORTANT,
        description=f"a whole number from {-MOST_IMPORTANT} to {MOST_IMPORTANT}, and the higher goes first",
    )


class Progress(Part):
    """How far an operation is."""

    done: float
    total: float | None
    unit: str
    rate: float | None = Field(description="units a second")
    eta_s: float | None = Field(description="seconds")
    resumed: float = Field(description="units that earlier attempts had done when this one began")
    message: str | None


class Step(Part):
    """A finished step."""

    name: str
    finished_at: str


class Operation(Part):
    """An operation as it is now."""

    operation_id: str
    function_name: str
    kind: str
    key: str | None
    project: str | None
    parent_id: str | None
    title: str
    state: RecoveryState
    attempt: int = Field(description="number of the current or latest attempt; 0: none began yet")
    max_attempts: int | None = Field(description="the number at which it gives up if nothing moves any more")
    error: str | None
    category: str | None
    explanation: str | None
    fix: str | None = Field(description="id of the fix that its last error needs")
    created_at: str | None
    updated_at: str | None
    next_attempt_at: str | None
    waiting_for: str | None
    progress: Progress | None
    resumable: bool
    actions: list[str] = Field(description="the controls that are legal now")
    timestamp: str | None
    metadata: dict[str, Any]
    owner: str | None = Field(description="id of the process that runs it; see `workers` of the health")
    steps: list[Step] = Field(description="finished steps, which are not done again")
    fixes: list[str] = Field(description="ids of guided fixes that may fit")


class OperationsAnswer(Stamped):
    """Operations, newest first."""

    operations: list[Operation]
    next: str | None = Field(description="`before` of the next page; null: there is none")


class Attempt(Part):
    """One attempt."""

    number: int
    started_at: str
    ended_at: str | None
    outcome: str | None
    category: str | None
    error: str | None
    error_type: str | None
    traceback: str | None
    delay_s: float | None = Field(description="seconds waited after it")
    resumed: float | None = Field(description="bytes that it did not fetch again, because earlier ones had")


class Event(Part):
    """A stored event."""

    seq: int
    event: str
    data: dict[str, Any]


class Detail(Operation):
    """An operation with its history."""

    attempts: list[Attempt]
    events: list[Event] = Field(description="the latest, oldest first")


class OperationAnswer(Stamped):
    """One operation with its history."""

    operation: Detail


class ChangedAnswer(Answer):
    """An operation after a change."""

    message: str
    operation: Operation


class RetriedAnswer(ChangedAnswer):
    """An operation that is tried again."""

    retry_id: str
