"""Makes the long operations of ComfyUI Launcher survive: retried, resumed, kept over restarts, shown live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher_recovery.lazily import front

if TYPE_CHECKING:
    from launcher_recovery.breaker import CircuitBreaker, CircuitState
    from launcher_recovery.budget import RetryBudget
    from launcher_recovery.bulkhead import Bulkhead
    from launcher_recovery.celery import RecoverableTask
    from launcher_recovery.classification import ErrorCategory, ErrorClassifier, Retry, Verdict
    from launcher_recovery.config import DEFAULT_CONFIG, RecoveryConfig, load_config
    from launcher_recovery.decorator import recoverable
    from launcher_recovery.errors import (
        AddressExpiredError,
        AddressUnknownError,
        BrowserCheckError,
        CaptivePortalError,
        CircuitBreakerOpenError,
        CommandError,
        ErrorDocumentError,
        FolderGoneError,
        IntegrityError,
        LoginRequiredError,
        NoHandlerError,
        NoSpaceError,
        OperationCancelled,
        OperationInterrupted,
        OperationPaused,
        PartInUseError,
        PointerFileError,
        RecoveryConfigError,
        RecoveryError,
        RecoveryExhaustedError,
        RecoveryStateError,
        RecoveryTimeoutError,
        RefusedError,
        StoredError,
        StoreError,
        UnexpectedContentError,
    )
    from launcher_recovery.health import health_check
    from launcher_recovery.hookspecs import hookimpl
    from launcher_recovery.integration import RecoveryIntegrator, get_recovery_integrator, update_config
    from launcher_recovery.kinds import OperationKind
    from launcher_recovery.logs import JsonFormatter, enable_logging
    from launcher_recovery.metrics import RecoveryMetrics
    from launcher_recovery.operation import Operation, current_operation
    from launcher_recovery.persistence import (
        MemoryPersistence,
        PostgresPersistence,
        SQLitePersistence,
        StatePersistence,
    )
    from launcher_recovery.progress import ProgressTracker
    from launcher_recovery.records import RecoveryData, RecoveryState
    from launcher_recovery.sharing import shared_breaker, shared_budget
    from launcher_recovery.strategies import (
        CustomStrategy,
        ExponentialBackoffStrategy,
        FixedDelayStrategy,
        LinearBackoffStrategy,
        Strategy,
    )
    from launcher_recovery.telemetry import enable_telemetry

__version__ = "0.1.0"

# Where each public name lives; loaded when it is first used, so that the import of the package is quick and pulls
# in no Flask, Peewee or requests.
_HOMES = {
    "breaker": ("CircuitBreaker", "CircuitState"),
    "budget": ("RetryBudget",),
    "bulkhead": ("Bulkhead",),
    "celery": ("RecoverableTask",),
    "classification": ("ErrorCategory", "ErrorClassifier", "Retry", "Verdict"),
    "config": ("DEFAULT_CONFIG", "RecoveryConfig", "load_config"),
    "decorator": ("recoverable",),
    "errors": (
        "AddressExpiredError",
        "AddressUnknownError",
        "BrowserCheckError",
        "CaptivePortalError",
        "CircuitBreakerOpenError",
        "CommandError",
        "ErrorDocumentError",
        "FolderGoneError",
        "IntegrityError",
        "LoginRequiredError",
        "NoHandlerError",
        "NoSpaceError",
        "OperationCancelled",
        "OperationInterrupted",
        "OperationPaused",
        "PartInUseError",
        "PointerFileError",
        "RecoveryConfigError",
        "RecoveryError",
        "RecoveryExhaustedError",
        "RecoveryStateError",
        "RecoveryTimeoutError",
        "RefusedError",
        "StoreError",
        "StoredError",
        "UnexpectedContentError",
    ),
    "health": ("health_check",),
    "hookspecs": ("hookimpl",),
    "integration": ("RecoveryIntegrator", "get_recovery_integrator", "update_config"),
    "kinds": ("OperationKind",),
    "logs": ("JsonFormatter", "enable_logging"),
    "metrics": ("RecoveryMetrics",),
    "operation": ("Operation", "current_operation"),
    "persistence": ("MemoryPersistence", "PostgresPersistence", "SQLitePersistence", "StatePersistence"),
    "progress": ("ProgressTracker",),
    "records": ("RecoveryData", "RecoveryState"),
    "sharing": ("shared_breaker", "shared_budget"),
    "strategies": (
        "CustomStrategy",
        "ExponentialBackoffStrategy",
        "FixedDelayStrategy",
        "LinearBackoffStrategy",
        "Strategy",
    ),
    "telemetry": ("enable_telemetry",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT_CONFIG",
    "AddressExpiredError",
    "AddressUnknownError",
    "BrowserCheckError",
    "Bulkhead",
    "CaptivePortalError",
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "CircuitState",
    "CommandError",
    "CustomStrategy",
    "ErrorCategory",
    "ErrorClassifier",
    "ErrorDocumentError",
    "ExponentialBackoffStrategy",
    "FixedDelayStrategy",
    "FolderGoneError",
    "IntegrityError",
    "JsonFormatter",
    "LinearBackoffStrategy",
    "LoginRequiredError",
    "MemoryPersistence",
    "NoHandlerError",
    "NoSpaceError",
    "Operation",
    "OperationCancelled",
    "OperationInterrupted",
    "OperationKind",
    "OperationPaused",
    "PartInUseError",
    "PointerFileError",
    "PostgresPersistence",
    "ProgressTracker",
    "RecoverableTask",
    "RecoveryConfig",
    "RecoveryConfigError",
    "RecoveryData",
    "RecoveryError",
    "RecoveryExhaustedError",
    "RecoveryIntegrator",
    "RecoveryMetrics",
    "RecoveryState",
    "RecoveryStateError",
    "RecoveryTimeoutError",
    "RefusedError",
    "Retry",
    "RetryBudget",
    "SQLitePersistence",
    "StatePersistence",
    "StoreError",
    "StoredError",
    "Strategy",
    "UnexpectedContentError",
    "Verdict",
    "current_operation",
    "enable_logging",
    "enable_telemetry",
    "get_recovery_integrator",
    "health_check",
    "hookimpl",
    "load_config",
    "recoverable",
    "shared_breaker",
    "shared_budget",
    "update_config",
]

__getattr__, __dir__ = front(__name__, _HOME_OF)
