"""Whether recovery itself is well: the store, the circuit breakers, what is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.records import UNFINISHED

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator


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
    """
    return await asyncio.to_thread(_look, integrator)


def _look(integrator: RecoveryIntegrator | None) -> dict[str, Any]:
    try:
        if integrator is None:
            from launcher_recovery.integration import get_recovery_integrator

            integrator = get_recovery_integrator()
    except RecoveryConfigError as error:
        return _answer(False, [], None, [{"code": "config", "message": str(error)}])
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
    return _answer(healthy, [vars(item) for item in integrator.guards.breakers()], active, problems)


def _answer(
    persistence_healthy: bool,
    breakers: list[dict[str, Any]],
    active: int | None,
    problems: list[dict[str, str]],
) -> dict[str, Any]:
    return {
        "persistence_healthy": persistence_healthy,
        "circuit_breakers": breakers,
        "active_operations": active,
        "system_healthy": persistence_healthy,
        "problems": problems,
    }
