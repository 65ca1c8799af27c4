"""Runs a step of an operation once over attempts and restarts, in plain code and in coroutines."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from launcher_recovery.threads import written

if TYPE_CHECKING:
    from launcher_recovery.operation import Operation
    from launcher_recovery.records import StepRecord

# How the result of an awaitable is kept that a plain function gave: by the function alone it cannot be known, before
# it is called, that the caller will await what the step gives.
_AWAITED = "$awaited"


def run_step(operation: Operation, name: str, function: Callable[[], Any], still_valid: Callable[[Any], bool]) -> Any:
    """See `Operation.step`."""
    if inspect.iscoroutinefunction(function):
        return _run(operation, name, function, still_valid)
    kept = operation.kept_step(name)
    if kept is not None and still_valid(_result(kept)):
        return _given(kept.result[_AWAITED]) if _is_awaited(kept) else kept.result
    operation.check()
    result = function()
    is_again = kept is not None
    if inspect.isawaitable(result):
        return _finish(operation, name, result, is_again)
    operation.finish_step(name, result, is_again=is_again)
    return result


async def _run(
    operation: Operation, name: str, function: Callable[[], Awaitable[Any]], still_valid: Callable[[Any], bool]
) -> Any:
    kept = await written(lambda: operation.kept_step(name))
    if kept is not None and still_valid(_result(kept)):
        return _result(kept)
    await written(operation.check)
    result = await function()
    is_again = kept is not None
    await written(lambda: operation.finish_step(name, result, is_again=is_again))
    return result


async def _finish(operation: Operation, name: str, awaitable: Awaitable[Any], is_again: bool) -> Any:
    result = await awaitable
    await written(lambda: operation.finish_step(name, {_AWAITED: result}, is_again=is_again))
    return result


async def _given(result: Any) -> Any:
    return result


def _is_awaited(kept: StepRecord) -> bool:
    return isinstance(kept.result, dict) and kept.result.keys() == {_AWAITED}


def _result(kept: StepRecord) -> Any:
    return kept.result[_AWAITED] if _is_awaited(kept) else kept.result
