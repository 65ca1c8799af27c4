"""Whether recovery itself is well: the store, the circuit breakers, what is under way."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from launcher_recovery.clock import to_datetime, to_iso
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.owners import is_alive
from launcher_recovery.records import UNFINISHED
from launcher_recovery.room import device_of, room_of

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

LOW_BYTES = 2_000_000_000
"""Less room than what the smallest of usual models takes."""


async def health_check(integrator: RecoveryIntegrator | None = None) -> dict[str, Any]:
    """How recovery is, as JSON values; never raises, and blocks no event loop.

    Args:
        integrator: the one to look at; default: this process's.

    Returns:
        persistence_healthy: whether the store can be read and written, and is the one that the settings ask for.
        circuit_breakers: every breaker with its state, as in `CircuitBreakerUpdate`.
        active_operations: how many operations are not over; None when the store cannot be read.
        system_healthy: whether recovery can do what it is there for. An open breaker is no illness: it is what
            keeps a dead host from being asked again and again.
        problems: what is wrong or may soon be, as {"code", "message"}.
        workers: the processes that run operations or serve them, each with `owner_id`, `host`, `pid`, `role` ("worker",
            "launcher", or "process" of one that does not say), `heartbeat_at` (ISO 8601 UTC) and `alive`.
        disk: the disks on which something is written, each with a `path` on it, `free` and `total` bytes, and `low`:
            whether there is less than `LOW_BYTES`.
        extensions: those that are installed, each with `name`, `package`, `version`, `state` ("loaded", "disabled" or
            "failed"), `hooks` and `problem`, see `manager.Extension`.
    """
    return await asyncio.to_thread(health_of, integrator)


def health_of(integrator: RecoveryIntegrator | None = None) -> dict[str, Any]:
    """`health_check` for code that may block."""
    try:
        if integrator is None:
            from launcher_recovery.integration import get_recovery_integrator

            integrator = get_recovery_integrator()
    except RecoveryConfigError as error:
        return _answer(False, [], None, [{"code": "config", "message": str(error)}], [], [], [])
    problems = integrator.known_problems()
    healthy = integrator.is_durable or not integrator.config.persistence_enabled
    active: int | None = None
    try:
        integrator.persistence.check()
        counts = integrator.persistence.counts()
        active = int(sum(counts[state.value] for state in UNFINISHED))
    except Exception as error:  # a store of one's own may raise anything
        healthy = False
        text = str(error) or type(error).__name__
        if not any(known["message"].startswith(text) for known in problems):
            problems.append({"code": "store", "message": text})
    breakers = [vars(item) for item in integrator.guards.breakers()]
    extensions = [asdict(known) for known in integrator.extensions.known()]
    return _answer(healthy, breakers, active, problems, _workers(integrator), _disks(integrator), extensions)


def _answer(
    persistence_healthy: bool,
    breakers: list[dict[str, Any]],
    active: int | None,
    problems: list[dict[str, str]],
    workers: list[dict[str, Any]],
    disk: list[dict[str, Any]],
    extensions: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "persistence_healthy": persistence_healthy,
        "circuit_breakers": breakers,
        "active_operations": active,
        "system_healthy": persistence_healthy,
        "problems": problems,
        "workers": workers,
        "disk": disk,
        "extensions": extensions,
    }


def _workers(integrator: RecoveryIntegrator) -> list[dict[str, Any]]:
    try:
        rows = integrator.persistence.owners()
    except Exception:  # that the store fails is told already
        return []
    now = integrator.clock.time()
    return [
        {
            "owner_id": row.owner.owner_id,
            "host": row.owner.host.partition("pid:")[0],
            "pid": row.owner.pid,
            "role": _role(row.owner.about),
            "heartbeat_at": to_iso(to_datetime(row.heartbeat_at)),
            "alive": is_alive(row, now),
        }
        for row in sorted(rows, key=lambda row: (-row.heartbeat_at, row.owner.owner_id))
    ]


def _role(about: str | None) -> str:
    """What a woven process has told that it is."""
    try:
        role = json.loads(about or "{}").get("role")
    except (ValueError, AttributeError):
        role = None
    return role if isinstance(role, str) else "process"


def _disks(integrator: RecoveryIntegrator) -> list[dict[str, Any]]:
    config = integrator.config
    folders = [*config.allowed_roots, config.staging_folder, str(integrator.data_folder)]
    found: dict[int, dict[str, Any]] = {}
    for folder in folders:
        if folder is None:
            continue
        try:
            device = device_of(folder)
            free, total = room_of(folder)
        except OSError:
            continue  # it is not there any more; who writes to it will be told
        if device not in found:
            found[device] = {"path": str(folder), "free": free, "total": total, "low": free < LOW_BYTES}
    return [*found.values()]
