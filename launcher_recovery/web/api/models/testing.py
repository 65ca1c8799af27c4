"""Self-tests in requests and answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launcher_recovery.web.api.models.base import Answer, Part, Request
from launcher_recovery.web.api.models.operations import Text


class Result(Part):
    """What came of one."""

    id: str
    title: str
    passed: bool | None = Field(description="null: there was no time for it")
    detail: str
    seconds: float


class TestAnswer(Answer):
    """What came of them."""

    __test__ = False  # pytest would take it for tests

    passed: bool = Field(description="whether all of them passed")
    results: list[Result]
    seconds: float


class Scenario(Part):
    """A fault that can be tried."""

    id: str
    title: str
    about: str


class ScenariosAnswer(Answer):
    """The faults that can be tried."""

    scenarios: list[Scenario]


class RunBody(Request):
    """Which scenarios are run."""

    scenarios: Annotated[list[Text], Field(min_length=1, max_length=50)] | None = Field(
        None, description="a list of ids of scenarios, or null for all"
    )
