"""What all models of the API have in common."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Request(BaseModel):
    """The query or the body of a request; the description of a field says what it must be, as the end of a sentence."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


class Part(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class Answer(Part):
    """A success."""

    success: Literal[True]


class Stamped(Answer):
    """A success with the moment that it speaks of."""

    seq: int = Field(description="the number of the newest event; what happens afterwards has a higher one")
    now: str = Field(description="the time of the server")


class Problem(Part):
    """Why a request was refused, or failed."""

    code: str = Field(description="for programs")
    message: str = Field(description="for people, one sentence")
    params: dict[str, Any] = Field(description="what the message is about")


class Failure(Part):
    """An answer other than success."""

    success: Literal[False]
    error: Problem
