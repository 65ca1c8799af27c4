"""The settings, and changing them while the launcher runs."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response

from launcher_recovery import settings
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.web.api.answers import ApiError, answer, here, sentence
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.settings import ForgetQuery, SettingsAnswer, SettingsBody


@described(SettingsAnswer, tag="settings")
def config() -> Response:
    """All settings, with where each comes from, and those that are kept over restarts."""
    return _answer(None)


@described(SettingsAnswer, tag="settings")
def change(json: SettingsBody) -> Response:
    """Change settings in all processes of the launcher, until they end or for later ones as well; all of them or
    none."""
    try:
        settings.change(here(), json.settings, keep=json.keep)
    except RecoveryConfigError as error:
        raise ApiError(422, "bad_settings", sentence(str(error)), field="settings") from None
    names = ", ".join(sorted(json.settings))
    verb = "is" if len(json.settings) == 1 else "are"
    until = "also when the launcher is started again" if json.keep else "until the launcher is started again"
    return _answer(f"{names} {verb} changed, {until}.")


@described(SettingsAnswer, tag="settings")
def forget(query: ForgetQuery) -> Response:
    """Keep settings over restarts no more; until then they stay as they are."""
    settings.forget(here(), None if query.names is None else query.names.split(","))
    return _answer("When the launcher is started again, they are as its environment and its files say.")


def _answer(message: str | None) -> Response:
    shown = [asdict(setting) for setting in settings.settings_of(here().config)]
    return answer(settings=shown, kept=settings.kept(here()), message=message)
