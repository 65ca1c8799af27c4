"""What the package does by itself for HTTP, git, pip and workflows, through the hooks that third parties use."""

from __future__ import annotations

from typing import Any


def builtin_extensions() -> list[tuple[str, Any]]:
    """(name, plugin) of each built-in extension."""
    from launcher_recovery.defaults import git, http, projects, workflow

    return [
        ("http", http),
        ("git", git),
        ("projects", projects),
        ("workflow", workflow),
        ("workflow_tables", workflow.TablesOfSettings()),
    ]
