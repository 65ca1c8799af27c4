"""Celery, its worker processes (billiard) and its message brokers (kombu, amqp)."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_POOL = "billiard exceptions.py, pool.py"


def _celery(*names: str) -> frozenset[str]:
    """Also of billiard, whose names count as Celery's."""
    return frozenset("celery.exceptions." + name for name in names)


RULES: tuple[Rule, ...] = (
    Rule(
        "task-revoked", C.CANCELLED, R.NO, "It was cancelled.", "celery exceptions.py",
        types=_celery("TaskRevokedError", "Terminated", "Ignore", "Reject", "WorkerShutdown", "WorkerTerminate"),
    ),
    Rule(
        "task-time-limit", C.TIMEOUT, R.ONCE, "The task took longer than it may; large downloads need a longer limit.",
        "celery, Time Limits", fix="raise_time_limit", types=_celery("SoftTimeLimitExceeded", "TimeLimitExceeded"),
    ),
    Rule(
        "worker-killed", C.RESOURCE, R.ONCE, "The system ended the worker, most likely because the memory ran out.",
        _POOL, fix="free_memory", types=_celery("WorkerLostError"), message=r"\bsignal 9\b|\bSIGKILL\b|exitcode -?(9|137)\b",
    ),
    Rule(
        "worker-stopped", C.INTERNAL, R.ONCE, "The worker was stopped in the middle of the task.", _POOL,
        fix="restart_worker", types=_celery("WorkerLostError"), message=r"\bsignal (2|15)\b|\bSIG(TERM|INT)\b",
    ),
    Rule(
        "worker-crashed", C.INTERNAL, R.ONCE, "The worker crashed.", _POOL, fix="report_bug",
        types=_celery("WorkerLostError"), message=r"\bsignal \d+\b",
    ),
    Rule(
        "worker-lost", C.INTERNAL, R.ONCE, "The worker ended in the middle of the task.", _POOL, fix="restart_worker",
        types=_celery("WorkerLostError", "RestartFreqExceeded") | {"concurrent.futures.process.BrokenProcessPool"},
    ),
    Rule(
        "task-unknown", C.INTERNAL, R.AFTER_FIX, "The worker does not know this task: it may still run an older version.",
        "celery exceptions.py", fix="restart_worker", types=_celery("NotRegistered"),
    ),
    Rule(
        "task-settings", C.VALIDATION, R.AFTER_FIX, "The settings of the task queue cannot be used.",
        "celery exceptions.py", fix="fix_settings",
        types=_celery("ImproperlyConfigured", "QueueNotFound", "AlwaysEagerIgnored", "SecurityError"),
    ),
    Rule(
        "broker-refuses", C.PERMISSION, R.AFTER_FIX, "The message broker does not let the launcher in.", "amqp exceptions.py",
        fix="fix_settings", types={"amqp.exceptions.AccessRefused", "amqp.exceptions.NotAllowed"},
    ),
    Rule(
        "broker-login-told", C.PERMISSION, R.AFTER_FIX, "The message broker does not let the launcher in.", "kombu, redis",
        fix="fix_settings", types={"kombu.exceptions.OperationalError"},
        message=r"^(NOAUTH|WRONGPASS|invalid username-password pair|Authentication required)|ACCESS_REFUSED",
    ),
    Rule(
        "broker-away", C.NETWORK, R.YES, "The message broker could not be reached: it may not be running.",
        "kombu exceptions.py", fix="start_service", types={
            "kombu.exceptions.OperationalError", "kombu.exceptions.ConnectionError", "amqp.exceptions.ConnectionForced",
            "amqp.exceptions.RecoverableConnectionError", "amqp.exceptions.ConnectionError",
            "kombu.exceptions.ConnectionLimitExceeded", "kombu.exceptions.ChannelLimitExceeded",
        } | _celery("BackendGetMetaError", "BackendStoreError"),
    ),
    Rule(
        "task-arguments", C.INTERNAL, R.NO, "The task was given something that cannot be sent to a worker.",
        "kombu exceptions.py", fix="report_bug", types={
            "kombu.exceptions.EncodeError", "kombu.exceptions.ContentDisallowed", "kombu.exceptions.SerializerNotInstalled",
            "kombu.exceptions.SerializationError",
        },
    ),
)  # fmt: skip
