"""Where the launcher keeps things, all of it from the environment."""

from __future__ import annotations

import os


def _folder(variable: str, otherwise: str) -> str:
    path = os.environ.get(variable, otherwise)
    os.makedirs(path, exist_ok=True)
    return path


def _is_on(variable: str, otherwise: str) -> bool:
    return os.environ.get(variable, otherwise).lower() == "true"


PROJECTS_DIR = _folder("PROJECTS_DIR", "./projects")
MODELS_DIR = _folder("MODELS_DIR", "./models")
TEMPLATES_DIR = _folder("TEMPLATES_DIR", "./templates")

_CELERY_DIR = _folder("CELERY_DIR", ".celery")
CELERY_RESULTS_DIR = os.path.join(_CELERY_DIR, "results")
CELERY_BROKER_DIR = os.path.join(_CELERY_DIR, "broker")
for _path in (CELERY_RESULTS_DIR, CELERY_BROKER_DIR):
    os.makedirs(_path, exist_ok=True)

PROXY_MODE = _is_on("PROXY_MODE", "false")
ALLOW_OVERRIDABLE_PORTS_PER_PROJECT = _is_on("ALLOW_OVERRIDABLE_PORTS_PER_PROJECT", "true")
PROJECT_MIN_PORT = int(os.environ.get("PROJECT_MIN_PORT", "4001"))
PROJECT_MAX_PORT = int(os.environ.get("PROJECT_MAX_PORT", "4100"))
SERVER_PORT = int(os.environ.get("SERVER_PORT", "4000"))
