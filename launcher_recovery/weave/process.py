"""Weaves this process: once, however often and from wherever it is asked for, and not at all when recovery is off."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from launcher_recovery.weave.standing import Standing

if TYPE_CHECKING:
    from launcher_recovery.joinpoints import Host
    from launcher_recovery.weave.presence import Presence
    from launcher_recovery.weave.weaver import Weaver

logger = logging.getLogger("launcher_recovery")

_lock = threading.RLock()
_woven: tuple[Weaver, Presence] | None = None
_is_in_forks = False


def is_on(*, default: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether recovery is on as far as the environment and the file named there say; without loading anything more
    when that is plain.

    Args:
        default: what it means that nothing is said.

    Raises:
        RecoveryConfigError: a setting cannot be used.
    """
    said = environ.get("RECOVERY_ENABLED")
    if said is None and not environ.get("RECOVERY_CONFIG"):
        return default
    if said is not None and said.strip().lower() in ("", "0", "false", "no", "off"):
        return False
    from launcher_recovery.config import load_config

    config = load_config(environ=environ)
    return config.enabled if config.is_explicit("enabled") else default


def what_is_missing() -> str:
    """What has to be installed before anything can be woven, as a sentence; empty: nothing."""
    if importlib.util.find_spec("wrapt") is not None:
        return ""
    return "weaving needs wrapt, which is not installed: pip install 'launcher-recovery[weave]'"


def weave(hosts: Iterable[Host] | None = None, *, default: bool = False) -> bool:
    """Weave this process, if recovery is on; what goes wrong is logged, and leaves the process as it is.

    Args:
        hosts: launchers; None: those that are known.
        default: whether recovery is on when no setting says so.

    Returns:
        Whether it is on.
    """
    global _woven
    try:
        if not is_on(default=default):
            return False
        missing = what_is_missing()
        if missing:
            logger.error("this process is not woven: %s", missing)
            return False
        from launcher_recovery.weave.hosts import known_hosts
        from launcher_recovery.weave.operations import as_operation
        from launcher_recovery.weave.presence import Presence
        from launcher_recovery.weave.weaver import Weaver

        found, problems = known_hosts() if hosts is None else (list(hosts), [])
        with _lock:
            if _woven is None:
                presence = Presence(standings, enabled=default, hosts=_found_hosts, turn_off=_turn_off)
                _woven = Weaver(presence.integrator, as_operation, presence.tell), presence
                _look_at_forks()
            _woven[0].weave(found)
        for problem in problems:
            logger.warning("%s", problem)
    except Exception as error:
        logger.error("this process is not woven: %s", error)
        return False
    return True


def unweave() -> None:
    """Undo `weave`."""
    global _woven
    with _lock:
        if _woven is not None:
            _woven[0].unweave()
            _woven[1].settle()
        _woven = None


def standings() -> tuple[Standing, ...]:
    """How the join points of this process stand; none when it is not woven."""
    return () if _woven is None else _woven[0].standings


def _found_hosts() -> tuple[Host, ...]:
    return () if _woven is None else _woven[0].found_hosts


def _turn_off(host: str, reason: str) -> None:
    if _woven is not None:
        _woven[0].turn_off(host, reason)


def _look_at_forks() -> None:
    global _is_in_forks
    if not _is_in_forks and hasattr(os, "register_at_fork"):
        _is_in_forks = True
        os.register_at_fork(before=_before_fork)


def _before_fork() -> None:
    if _woven is not None:
        _woven[1].settle()
