"""Celery tasks that recover: a base class for tasks, and a decorator for their functions."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from launcher_recovery import pools
from launcher_recovery.classification import ErrorCategory, ErrorClassifier, Retry, Verdict
from launcher_recovery.decorator import recoverable
from launcher_recovery.errors import RecoveryError

F = TypeVar("F", bound=Callable[..., Any])

_MISSING = "RecoverableTask needs Celery, which is not installed: pip install 'launcher-recovery[celery]'"


class CeleryMissingError(RecoveryError, ImportError):
    """`RecoverableTask` was used where Celery is not installed."""


class _NoTask:
    """Stands for `celery.Task` where Celery is not installed: any use says so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise CeleryMissingError(_MISSING)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.__module__ != __name__:
            raise CeleryMissingError(_MISSING)
        super().__init_subclass__(**kwargs)


if TYPE_CHECKING:
    _Task = _NoTask
else:
    try:
        from celery import Task as _Task
    except ImportError:
        _Task = _NoTask


class TaskClassifier(ErrorClassifier):
    """As `ErrorClassifier`, with what Celery itself raises: a task's own `retry`, `Ignore` and `Reject`, and a time
    limit of the worker are obeyed at once instead of being tried again."""

    def classify(self, error: BaseException, *, operation: Any = None) -> Verdict:
        from celery import exceptions

        if isinstance(error, (exceptions.TaskPredicate, exceptions.SoftTimeLimitExceeded)):
            return Verdict(ErrorCategory.CANCELLED, Retry.NO, "celery", "Celery ended the task.")
        return super().classify(error, operation=operation)


class RecoverableTask(_Task):  # what Celery wants of a task class is all there; this adds recovery
    """Base class of Celery tasks whose `run` is retried, and kept over restarts, by launcher-recovery.

    Use it as `@app.task(base=RecoverableTask)`, as a base class with a `run` method, or for a plain function as
    `@RecoverableTask.apply_recovery`. Retries happen inside the task, in the worker that has it, so that Celery sees
    one task with one outcome; a `self.retry()` of the task's own still goes back to the queue.

    `recovery_options` are arguments of `recoverable` that differ from the settings (`max_retries`, the delays,
    `timeout`, `deadline`, `circuit_breaker_threshold` and `_timeout`, and the store, of this process's
    `RecoveryIntegrator`). They are looked up when the task runs for the first time, in the worker process.

    Raises:
        CeleryMissingError: Celery is not installed.
    """

    abstract = True
    recovery_options: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run = cls.__dict__.get("run")
        if isinstance(run, staticmethod):
            recovered = _recovered(run.__func__, lambda: cls.recovery_options)
            setattr(cls, "run", staticmethod(recovered))
        elif inspect.isfunction(run):
            setattr(cls, "run", _recovered_method(run, lambda: cls.recovery_options))

    @classmethod
    def apply_recovery(cls, task_func: F) -> F:
        """`task_func` as a recoverable function, to be made a task or be called as it is.

        Raises:
            CeleryMissingError: Celery is not installed.
        """
        if _Task is _NoTask and not TYPE_CHECKING:
            raise CeleryMissingError(_MISSING)
        recovered: F = _recovered(task_func, lambda: cls.recovery_options)
        return recovered


def _recovered(function: Callable[..., Any], options: Callable[[], Mapping[str, Any]]) -> Any:
    """`function`, made recoverable when it is first called: a store opened earlier would be shared by all the
    processes that a worker forks."""
    made: list[Callable[..., Any]] = []
    lock = threading.Lock()

    def recover() -> Callable[..., Any]:
        with lock:
            if not made:
                pools.end_in_peace()  # from here on this process may have threads of ours
                made.append(recoverable(**{**_settings(), **options()})(function))
            return made[0]

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await recover()(*args, **kwargs)

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return recover()(*args, **kwargs)

    return call


def _recovered_method(function: Callable[..., Any], options: Callable[[], Mapping[str, Any]]) -> Any:
    """As `_recovered`, for a task that gets itself as its first argument, which is no argument to be kept."""
    task = threading.local()

    @functools.wraps(function)
    def on_task(*args: Any, **kwargs: Any) -> Any:
        return function(task.current, *args, **kwargs)

    recovered = _recovered(on_task, options)

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        before, task.current = getattr(task, "current", None), self
        try:
            return recovered(*args, **kwargs)
        finally:
            task.current = before

    return call


def _settings() -> dict[str, Any]:
    from launcher_recovery.backoff import ConfiguredBackoff
    from launcher_recovery.integration import get_recovery_integrator

    integrator = get_recovery_integrator()
    config = integrator.config
    return {
        "max_retries": config.max_retries,
        "strategy": ConfiguredBackoff(lambda: integrator.config),
        "timeout": config.timeout,
        "deadline": config.deadline,
        "circuit_breaker_threshold": config.circuit_breaker_threshold,
        "circuit_breaker_timeout": config.circuit_breaker_timeout,
        "persistence": integrator.persistence,
        "classifier": TaskClassifier(),
    }
