"""The advice of join points that have none of their own: a call is run as an operation, under the launcher policy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from launcher_recovery.errors import StoreError
from launcher_recovery.joinpoints import Call
from launcher_recovery.kinds import Arguments, OperationKind

logger = logging.getLogger("launcher_recovery")


def as_operation(call: Call) -> Any:
    """Run a call as an operation of its kind: each attempt is a call of the launcher's function.

    A call with the key of one that runs joins it. Within another operation it is a part of that. In the modes `off` and
    `observe`, on the other side of a rollout, and while nothing can be recorded, it is called as if it were not woven.

    Raises:
        Exception: what the last attempt raised, itself.
    """
    integrator = call.integrator
    arguments = call.arguments if call.point.arguments is None else call.point.arguments(call)
    kind = _kind(call, arguments)
    if integrator.config.mode_for(kind.name, kind.key(arguments)) != "recover":
        return call.proceed()
    draft = integrator.draft(kind, arguments)
    if call.point.key is None:
        draft.key = None  # each call is one of its own
    rules = integrator.rules_for(kind, draft, kind.scope(arguments), kind.place_of(arguments))
    try:
        data, live = integrator.engine.enter(draft, rules, revive=True)
    except StoreError as error:
        logger.warning("%s runs without recovery: %s", draft.title, error)
        return call.proceed()
    return integrator.engine.run(data, rules, call.proceed, live)


def _kind(call: Call, arguments: Arguments) -> OperationKind:
    """The kind of the operation, which the join point names; its key and title are those of this call."""
    point = call.point
    known: OperationKind | None = call.integrator.kinds.get(point.kind)
    key = point.name if point.key is None else point.key(call)
    title = point.function if point.title is None else point.title(call)
    return OperationKind(
        name=point.kind,
        hook=point.name,
        key=lambda _: key,
        title=lambda _: title,
        scope=lambda given: None if known is None else _asked(known.scope, given),
        place=None if known is None or known.place is None else lambda given: _asked(known.place, given),
    )


def _asked(rule: Callable[[Arguments], str | None] | None, arguments: Arguments) -> str | None:
    """What a rule of the kind says; None when this launcher's arguments are not those that it knows."""
    try:
        return None if rule is None else rule(arguments)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
