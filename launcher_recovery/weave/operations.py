"""Runs calls of woven functions as operations, under the launcher policy; the advice of those that have no other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from launcher_recovery.errors import StoreError
from launcher_recovery.joinpoints import Call
from launcher_recovery.kinds import Arguments, OperationKind
from launcher_recovery.operation import running
from launcher_recovery.records import RecoveryData

logger = logging.getLogger("launcher_recovery")


def as_operation(call: Call) -> Any:
    """Run a call as an operation of its kind: each attempt is a call of the launcher's function.

    A call with the key of one that runs joins it. Within another operation it is a part of that. In the mode `observe`
    it is called once, and recorded with what recovery would have done. In the mode `off`, on the other side of a
    rollout, and while nothing can be recorded, it is called as if it were not woven.

    Raises:
        Exception: what the last attempt raised, itself.
    """
    arguments = call.arguments if call.point.arguments is None else call.point.arguments(call)
    kind = _kind(call, arguments)
    return run(call, kind, arguments, call.proceed, is_one_of_its_own=call.point.key is None)


def run(
    call: Call,
    kind: OperationKind,
    arguments: Arguments,
    attempt: Callable[[], Any],
    *,
    is_one_of_its_own: bool = False,
    seen: Callable[[BaseException], BaseException] = lambda error: error,
) -> Any:
    """Run a call as an operation, as the mode for its kind and key says; see `as_operation`.

    Args:
        kind: of the operation; of what it says, its name, hook, key, title, scope, place and check count.
        arguments: what is kept of the call, and what the kind's rules go by.
        attempt: runs one attempt.
        is_one_of_its_own: it joins no other call, whatever its key is.
        seen: from what the launcher's function raised to what recovery would have had to decide on, for `observe`.

    Raises:
        RefusedError: the arguments are not allowed.
        Exception: what the last attempt raised, itself.
    """
    integrator = call.integrator
    mode = integrator.config.mode_for(kind.name, kind.key(arguments))
    if mode == "off":
        return call.proceed()
    draft = integrator.draft(kind, arguments)
    if mode == "observe":
        return _observed(call, draft, seen)
    kind.check(arguments, integrator.config.allowed_roots)
    if is_one_of_its_own:
        draft.key = None
    rules = integrator.rules_for(kind, draft, kind.scope(arguments), kind.place_of(arguments))
    try:
        data, live = integrator.engine.enter(draft, rules, revive=True)
    except StoreError as error:
        logger.warning("%s runs without recovery: %s", draft.title, error)
        return call.proceed()
    return integrator.engine.run(data, rules, attempt, live)


def _observed(call: Call, draft: RecoveryData, seen: Callable[[BaseException], BaseException]) -> Any:
    """What the call gives; how it went is recorded."""
    from launcher_recovery import observing  # which loads pluggy

    integrator = call.integrator
    lifecycle, live = integrator.lifecycle, observing.begin(integrator.lifecycle, draft)
    if live is None:
        return call.proceed()
    try:
        with running(live):
            result = call.proceed()
    except Exception as error:
        observing.keep(lifecycle, live, lambda raised: integrator.classify(seen(raised), live.data), error=error)
        raise
    except BaseException:
        observing.abandon(lifecycle, live)
        raise
    else:
        observing.keep(lifecycle, live, integrator.classify, result=result)
        return result
    finally:
        lifecycle.detach(live)


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
