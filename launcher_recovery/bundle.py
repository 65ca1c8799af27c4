"""A support file about one operation: everything that helps to find out what went wrong, and no secret."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher_recovery import __version__
from launcher_recovery.clock import to_datetime, to_iso
from launcher_recovery.errors import StoreError
from launcher_recovery.health import health_of
from launcher_recovery.records import RecoveryData
from launcher_recovery.settings import settings_of
from launcher_recovery.signals import update_of

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

FORMAT = 1
_MOST_PARTS = 200
_MOST_EVENTS = 1000
_PACKAGES = (
    "blinker",
    "celery",
    "flask",
    "flask-socketio",
    "peewee",
    "pip",
    "pluggy",
    "psycopg",
    "python-socketio",
    "requests",
    "urllib3",
    "werkzeug",
    "wrapt",
)


def bundle_of(integrator: RecoveryIntegrator, data: RecoveryData) -> dict[str, Any]:
    """The support file, as JSON values: without secrets, and with `~` for the person's own folder.

    Raises:
        StoreError: the store cannot be read.
    """
    store = integrator.persistence
    found = {
        "format": FORMAT,
        "launcher_recovery": __version__,
        "made_at": to_iso(to_datetime(integrator.clock.time())),
        "operation": _operation(integrator, data),
        "parts": [_operation(integrator, part) for part in store.find(parent_id=data.operation_id, limit=_MOST_PARTS)],
        "events": [event.to_json() for event in store.events_of_operation(data.operation_id, _MOST_EVENTS)],
        "health": health_of(integrator),
        "status": _status(integrator),
        "settings": [asdict(setting) for setting in settings_of(integrator.config)],
        "system": _system(),
        "log": integrator.recent.lines,
    }
    cleaned: dict[str, Any] = _without_home(integrator.redactor.value(found), str(Path.home()))
    return cleaned


def _operation(integrator: RecoveryIntegrator, data: RecoveryData) -> dict[str, Any]:
    store = integrator.persistence
    return {
        **update_of(data),
        "metadata": data.metadata,
        "owner": data.owner,
        "attempts": [attempt.to_json() for attempt in store.attempts(data.operation_id)],
        "steps": [step.to_json() for step in store.steps(data.operation_id)],
    }


def _status(integrator: RecoveryIntegrator) -> dict[str, Any]:
    try:
        return integrator.status()
    except StoreError as error:  # what is wrong is in the health
        return {"error": str(error)}


def _system() -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _without_home(value: Any, home: str) -> Any:
    """A JSON value in whose texts the person's own folder, which has their name in it, is `~`."""
    if isinstance(value, str):
        return value.replace(home, "~") if len(home) > 1 else value
    if isinstance(value, Mapping):
        return {_without_home(name, home): _without_home(item, home) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_home(item, home) for item in value]
    return value
