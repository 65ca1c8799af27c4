"""The settings, and changing them while the launcher runs."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response

from launcher_recovery import settings
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.web.api.answers import ApiError, answer, here, sentence
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.models.settings import SettingsAnswer, SettingsBody


@described(SettingsAnswer, tag="settings")
def config() -> Response:
    """All settings, with where each comes from."""
    return answer(settings=_all(), message=None)


@described(SettingsAnswer, tag="settings")
def change(json: SettingsBody) -> Response:
    """Change settings in all processes of the launcher, until they end; all of them or none."""
    try:
        settings.change(here(), json.settings)
    except RecoveryConfigError as error:
        raise ApiError(422, "bad_settings", sentence(str(error)), field="settings") from None
    names = ", ".join(sorted(json.settings))
    verb = "is" if len(json.settings) == 1 else "are"
    return answer(settings=_all(), message=f"{names} {verb} changed, until the launcher is started again.")


def _all() -> list[dict[str, object]]:
    return [asdict(setting) for setting in settings.settings_of(here().config)]
