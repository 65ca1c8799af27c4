"""Guided repairs in requests and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictBool

from launcher_recovery.web.api.models.base import Answer, Part, Request
from launcher_recovery.web.api.models.operations import Language, Operation

_LONGEST = 8192


class Advice(Part):
    """What a person can do by hand."""

    fix: str
    title: str
    text: str


class AdviceAnswer(Answer):
    """What may help, best first."""

    advice: list[Advice]
    language: str


class Parameter(Part):
    """What a fix needs to know."""

    name: str
    kind: str = Field(description="text, secret, path, choice, host or bool")
    label: str
    required: bool
    default: Any
    choices: list[str] | None = Field(description="null: anything")


class Offer(Part):
    """A fix that fits."""

    id: str
    title: str
    explanation: str
    parameters: list[Parameter]
    can_apply: bool = Field(description="false: a person does what the explanation says")


class Applied(Part):
    """What a fix did."""

    id: str
    fix: str
    state: str = Field(description="applied, undone or failed")
    says: list[str]
    at: str
    parameters: dict[str, Any] = Field(description="without secrets")
    can_undo: bool
    how: str = Field(description="how it is undone, in words")


class FixesAnswer(Answer):
    """The fixes that fit, best first, and those that were applied, oldest first."""

    fixes: list[Offer]
    applied: list[Applied]
    language: str


class FixBody(Request):
    """A fix with its parameters: looked at with `preview`, done with the `token` of what was looked at."""

    parameters: dict[str, str | bool | None] = Field(
        {}, description="an object with a text, true or false for each parameter"
    )
    preview: StrictBool = Field(False, description="true or false: only say what it would do")
    token: Annotated[str, Field(max_length=_LONGEST)] | None = Field(
        None, description="the token of the preview, so that just that is done"
    )
    retry: StrictBool = Field(False, description="true or false: try the operation again when it is done")
    language: Language = "en"


class UndoBody(Request):
    """In which language it is told."""

    language: Language = "en"


class Preview(Part):
    """What a fix would do."""

    fix: str
    token: str
    says: list[str]
    actions: list[dict[str, Any]]
    can_undo: bool


class FixAnswer(Answer):
    """What it would do, or has done."""

    preview: Preview | None = None
    applied: Applied | None = None
    operation: Operation | None = None
    message: str | None = None
