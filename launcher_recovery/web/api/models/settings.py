"""Settings in requests and answers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from launcher_recovery.web.api.models.base import Answer, Part, Request


class Setting(Part):
    """One setting."""

    name: str
    value: Any = Field(description="of a secret `***`, when there is one")
    default: Any
    source: str | None = Field(description="where the value comes from; null: it is the default")
    changeable: bool = Field(description="whether it can be changed while the launcher runs")
    meaning: str


class SettingsAnswer(Answer):
    """All settings."""

    settings: list[Setting]
    kept: dict[str, Any] = Field(description="those with which the launcher begins when it is started again, by name")
    message: str | None = None


class ForgetQuery(Request):
    """What is kept no more."""

    names: str | None = Field(None, description="names of settings, with commas between; without it, all of them")


class SettingsBody(Request):
    """What is to be changed."""

    settings: dict[str, Any] = Field(description="an object from names of settings to values", min_length=1)
    keep: bool | None = Field(
        None,
        description=(
            "true, to have them kept when the launcher is started again, or false, to have them kept no more; without "
            "it, as before"
        ),
    )
