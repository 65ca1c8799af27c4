"""Nodes whose requirements do not go together: who asks for what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from launcher_recovery.nodes.interpreter import Ask

_MOST_NODES = 500
_OF_COMFYUI = ("main.py", "requirements.txt")
# As pip's resolver says why it found no set of versions (resolution/resolvelib/factory.py, `get_installation_error`).
_CAUSE = re.compile(
    r"^ {4}(?:The user requested (?:\(constraint\) )?(?P<asked>\S.*)"
    r"|(?P<by>\S+) (?P<version>\S+) depends on (?P<depends>\S.*))$",
    re.MULTILINE,
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# After it has installed something (operations/check.py); the exit status is 0 all the same.
_BROKEN = re.compile(
    r"^(?P<by>\S+) (?P<version>\S+) requires (?P<wants>.+?), but you have (?P<name>\S+) (?P<have>\S+) which is"
)


def beside(destination: Path) -> dict[str, Path]:
    """Requirement files of the nodes that are installed beside one, and of the ComfyUI that has them, by name."""
    found: dict[str, Path] = {}
    if not destination.parent.is_dir():
        return found
    home = destination.parent.parent
    if destination.parent.name == "custom_nodes" and all((home / name).is_file() for name in _OF_COMFYUI):
        found["ComfyUI"] = home / "requirements.txt"
    for folder in sorted(destination.parent.iterdir())[:_MOST_NODES]:
        if folder.name.startswith(".") or folder.name.endswith(".disabled") or folder == destination:
            continue
        if (folder / "requirements.txt").is_file():
            found[folder.name] = folder / "requirements.txt"
    return found


def impossible(output: str, node: str, asks: Sequence[Ask]) -> list[dict[str, Any]]:
    """What pip found to be impossible, as {"name", "asked": [{"by", "wants"}]} for each package.

    Args:
        output: of pip.
        node: whose requirements they are.
        asks: what the requirements of nodes beside it say, and its own.
    """
    packages: dict[str, list[dict[str, str]]] = {}
    for found in _CAUSE.finditer(output):
        wants = (found["asked"] or found["depends"]).strip()
        name = _name(wants)
        if name is None:
            continue
        by = node if found["asked"] else f"{found['by']} {found['version']}"
        asked = packages.setdefault(name, [])
        if {"by": by, "wants": wants} not in asked:
            asked.append({"by": by, "wants": wants})
    for ask in asks:
        if ask.node != node and ask.name in packages:
            packages[ask.name].append({"by": ask.node, "wants": ask.wants})
    return [{"name": name, "asked": asked} for name, asked in packages.items()]


def broken(node: str, before: Iterable[Ask], after: Sequence[Ask], versions: dict[str, str]) -> list[dict[str, Any]]:
    """Packages that nodes beside one had as they asked for and have no more, as `impossible` gives them.

    Args:
        node: that was installed meanwhile.
        before, after: what is asked, then and now.
        versions: that are installed now, by name.
    """
    were_fine = {(ask.node, ask.wants) for ask in before if ask.satisfied}
    conflicts: dict[str, list[dict[str, str]]] = {}
    for ask in after:
        if ask.node != node and not ask.satisfied and (ask.node, ask.wants) in were_fine:
            conflicts.setdefault(ask.name, []).append({"by": ask.node, "wants": ask.wants})
    for name, asked in conflicts.items():
        own = [{"by": node, "wants": ask.wants} for ask in after if ask.node == node and ask.name == name]
        asked[:0] = own or [
            {"by": node, "wants": f"{name} {versions.get(name, '')} (by something that it needs)".strip()}
        ]
    return [{"name": name, "asked": asked} for name, asked in sorted(conflicts.items())]


def incompatible(line: str) -> str | None:
    """What pip says of an installed package that does not fit any more, in a line of its output; None: nothing."""
    found = _BROKEN.match(line.removeprefix("ERROR: "))
    if found is None:
        return None
    have = found["have"].rstrip(",")
    return f"{found['by']} {found['version']} needs {found['wants']}, but {found['name']} is {have} now."


def sentence(conflict: dict[str, Any]) -> str:
    """A conflict as a sentence, which names everybody and what they ask for."""
    asked = [f"{one['by']} asks for {one['wants']}" for one in conflict["asked"]]
    *first, last = asked
    return f"{', '.join(first)} and {last}." if first else f"{last}."


def _name(wants: str) -> str | None:
    found = _NAME.match(wants)
    return None if found is None else re.sub(r"[-_.]+", "-", found[0]).lower()
