"""Imports point inward: which module may import which, and what an import pulls in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import launcher_recovery

ROOT = Path(launcher_recovery.__file__).parent

# From the inside out; a module imports from its own layer or from those before it.
LAYERS = (
    (
        "errors",
        "room",
        "checks",
        "clock",
        "secret_names",
        "secret_files",
        "redaction",
        "known_secrets",
        "ways",
        "reach",
        "rows",
        "condition",
        "frozen",
        "threads",
        "observers",
        "lazily",
    ),
    (
        "strategies",
        "breaker",
        "budget",
        "bulkhead",
        "classification",
        "records",
        "operation",
        "steps",
        "config",
        "config_values",
        "workflows",
    ),
    ("requirement_lines", "plans", "joinpoints", "kinds", "policy", "slots", "backoff", "signals", "meter", "progress"),
    ("persistence", "happenings", "metrics", "logs", "telemetry", "activity"),
    (
        "handles",
        "owners",
        "transitions",
        "ownership",
        "controls",
        "keeping",
        "lifecycle",
        "effects",
        "stores",
        "sharing",
        "guards",
        "snapshots",
        "isolate",
        "endings",
    ),
    ("drivers", "admission", "attached", "engine", "resume", "hookspecs", "fixes"),
    (
        "decorator",
        "declaration",
        "light",
        "transfer",
        "manager",
        "programs",
        "nodes",
        "projects",
        "defaults",
        "testing",
    ),
    (
        "integration",
        "environments",
        "functions",
        "observing",
        "health",
        "pools",
        "celery",
        "downloads",
        "settings",
        "selftest",
        "recent",
        "bundle",
        "prometheus",
    ),
    ("parts", "plugin", "web", "weave"),
    ("cli", "__main__"),
)
LAYER_OF = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if not path.name[0].isdigit())


def imported(path: Path) -> set[str]:
    """Full names of what a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def part(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def test_every_module_has_a_layer() -> None:
    """Whoever adds a module says where it belongs."""
    assert {part(path) for path in modules()} - {"__init__"} == set(LAYER_OF)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_inward(path: Path) -> None:
    """A module imports only from its own or an inner layer."""
    own = part(path)
    # The front of the package of transfers names, like that of the whole, what lies further out, and loads it later.
    if own == "__init__" or (path.parent.name == "transfer" and path.name == "__init__.py"):
        return
    for name in imported(path):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package == "launcher_recovery" and target in LAYER_OF:
            assert LAYER_OF[target] <= LAYER_OF[own], f"{own} imports {name}, which lies further out"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_frameworks_stay_where_they_belong(path: Path) -> None:
    """Flask only in `web`, Peewee only in `persistence`, pluggy only at the hooks, and nothing of a launcher."""
    own = part(path)
    packages = {name.partition(".")[0] for name in imported(path)}
    assert own == "web" or not packages & {"flask", "flask_socketio", "werkzeug", "socketio", "pydantic", "spectree"}
    assert own == "persistence" or not packages & {"peewee", "playhouse"}
    assert own in ("hookspecs", "manager", "observing", "parts", "plugin", "weave") or "pluggy" not in packages
    assert own == "telemetry" or "opentelemetry" not in packages
    assert own in ("celery", "pools", "weave") or "celery" not in packages
    assert own == "prometheus" or "prometheus_client" not in packages
    assert own == "cli" or not packages & {"rich", "click"}
    assert own == "weave" or "wrapt" not in packages
    assert not packages & {"sample_launcher", "pickle", "shelve", "marshal"}


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that are loaded after a statement in a new interpreter."""
    code = f"{statement}\nimport sys\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


HEAVY = {
    "celery",
    "flask",
    "peewee",
    "playhouse",
    "wrapt",
    "pluggy",
    "requests",
    "urllib3",
    "sample_launcher",
    "platformdirs",
}


@pytest.mark.parametrize("name", ["", ".engine", ".policy", ".lifecycle", ".operation", ".clock", ".decorator"])
def test_core_pulls_in_no_framework(name: str) -> None:
    """Importing the core, or the package, loads none of the frameworks, directly or indirectly."""
    assert not loaded_by(f"import launcher_recovery{name}") & HEAVY


def test_recoverable_works_without_frameworks() -> None:
    """Neither does running a recovered function that keeps nothing on the disk."""
    code = "from launcher_recovery import recoverable\nassert recoverable(lambda: 1)() == 1"
    assert not loaded_by(code) & HEAVY
