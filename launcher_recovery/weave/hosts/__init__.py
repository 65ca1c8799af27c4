"""The hosts that this process can be woven into: those that installed extensions declare, and the package's own."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from launcher_recovery.joinpoints import Host
from launcher_recovery.weave.hosts import comfyui_launcher

BUILTIN: tuple[Host, ...] = (comfyui_launcher.HOST,)
"""The package's own, one file each."""


def known_hosts() -> tuple[list[Host], list[str]]:
    """The hosts, those of extensions before the package's own, and what is wrong with extensions, as sentences.

    Raises:
        RecoveryConfigError: a setting cannot be used.
    """
    if not importlib.metadata.entry_points(group="launcher_recovery"):
        return list(BUILTIN), []  # without loading what calls hooks, which takes longer than all the rest
    from launcher_recovery.config import load_config
    from launcher_recovery.manager import Extensions

    extensions = Extensions(load_config())
    extensions.load_entry_points()
    return by_name([*extensions.join_points(), *BUILTIN]), extensions.problems


def by_name(hosts: Iterable[Host]) -> list[Host]:
    """Without doubles: of two with one name the first."""
    found: dict[str, Host] = {}
    for host in hosts:
        found.setdefault(host.name, host)
    return list(found.values())
