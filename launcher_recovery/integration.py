"""Puts the parts together for one host: settings, store, engine, extensions, breakers, resuming."""

from __future__ import annotations

import functools
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from launcher_recovery import checks, settings
from launcher_recovery.backoff import ConfiguredBackoff
from launcher_recovery.breaker import CircuitState
from launcher_recovery.classification import ErrorClassifier, Verdict
from launcher_recovery.clock import Clock, to_datetime
from launcher_recovery.config import DEFAULT_CONFIG, RecoveryConfig, load_config
from launcher_recovery.declaration import Declaration, names_of
from launcher_recovery.decorator import declared
from launcher_recovery.defaults import builtin_extensions
from launcher_recovery.engine import Engine
from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes import vault
from launcher_recovery.fixes.journal import Journal
from launcher_recovery.functions import Switched
from launcher_recovery.guards import Guards
from launcher_recovery.kinds import OperationKind
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.logs import enable_logging
from launcher_recovery.manager import Extensions
from launcher_recovery.metrics import RecoveryMetrics
from launcher_recovery.operation import current_operation
from launcher_recovery.owners import keep_alive, let_go
from launcher_recovery.persistence.base import Retention, Store
from launcher_recovery.persistence.file import default_path
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.persistence.opening import open_store
from launcher_recovery.persistence.outbox import OutboxTail
from launcher_recovery.policy import Policy
from launcher_recovery.recent import RecentLines
from launcher_recovery.records import PRIORITY, UNFINISHED, RecoveryData, RecoveryState, given_attempts_of, priority_of
from launcher_recovery.redaction import Redactor
from launcher_recovery.resume import Resumer
from launcher_recovery.slots import Slots
from launcher_recovery.stores import store_for
from launcher_recovery.strategies import ExponentialBackoffStrategy
from launcher_recovery.telemetry import Telemetry, TelemetryMissingError, enable_telemetry
from launcher_recovery.transfer.connections import limits

if TYPE_CHECKING:
    from launcher_recovery.fixes import Fixes
    from launcher_recovery.nodes.restoring import Restored
    from launcher_recovery.transfer.healing.switch import Healing

logger = logging.getLogger("launcher_recovery")

F = TypeVar("F", bound=Callable[..., Any])

# The launcher policy: more patient than a bare `recoverable`, because an attempt that moved on does not count.
_LAUNCHER_ATTEMPTS = 8
_UNKNOWN_ATTEMPTS = 2


class RecoveryIntegrator:
    """Recovery for one host.

    Args:
        config: settings; default: from the environment (`load_config`).
        persistence: a store of one's own; default: as `config` says.
        clock, rng: sources of time and of jitter, for tests.
    """

    def __init__(
        self,
        config: RecoveryConfig | None = None,
        *,
        persistence: Store | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.config = load_config() if config is None else config
        self.problems: list[dict[str, str]] = []
        self.launcher: Any = None
        """The hooks of the launcher that this process is of, once the plugin stands around them."""
        self.clock = clock or Clock()
        self._backoff = ConfiguredBackoff(lambda: self.config, jitter=True, rng=rng)
        self.extensions = Extensions(self.config, builtin_extensions())
        self.persistence = (
            open_store(self.config, self.clock, self.report_problem)
            if persistence is None
            else store_for(persistence, self.clock)
        )
        self.redactor = Redactor()
        self.classifier = ErrorClassifier(now=self.clock.time)
        self.lifecycle = Lifecycle(self.persistence, clock=self.clock, redactor=self.redactor)
        self.engine = Engine(self.lifecycle, self.clock, self._observe)
        self.kinds: dict[str, OperationKind] = {}
        self.tail = OutboxTail(self.persistence)
        self.metrics = RecoveryMetrics()
        self.metrics.attach()
        enable_logging()
        self.recent = RecentLines()
        self.guards = Guards(self.persistence, lambda: self.config, self.clock)
        self.slots = Slots(lambda: self.config.concurrency)
        self._resumer: Resumer | None = None
        self._telemetry: Telemetry | None = None
        self._healing: Healing | None = None
        self._watches: dict[str, Callable[[], Sequence[Mapping[str, str]]]] = {}
        settings.restore(self)

    @cached_property
    def fixes(self) -> Fixes:
        """The guided fixes, which are loaded when somebody asks for one."""
        from launcher_recovery.fixes import Fixes, Restoring

        return Fixes(
            self.lifecycle,
            self.data_folder,
            suggest=self.extensions.suggest_fix,
            kinds=lambda: self.kinds,
            roots=lambda: self.config.allowed_roots,
            sources=self.extensions.sources,
            environments=Restoring(self.restore_environment),
        )

    def _observe(self, event: str, data: RecoveryData, error: Exception | None) -> None:
        self.extensions.observe(event, data, error)
        kind = self.kinds.get(data.kind) if event == "settled" and error is not None else None
        if kind is not None and kind.gave_up is not None:
            try:
                kind.gave_up(data, self.lifecycle)
            except Exception:
                logger.exception("what %s left could not be undone", data.title)

    @property
    def data_folder(self) -> Path:
        """The folder of the launcher's own data: that of the database, also where a server has that."""
        given = self.config.persistence_path
        return default_path().parent if given is None else Path(given).parent

    @property
    def is_durable(self) -> bool:
        """Whether operations are kept over a restart."""
        return not isinstance(self.persistence, MemoryPersistence)

    @property
    def store_problem(self) -> str | None:
        """Why nothing is written to the disk at the moment, as a sentence; None when all is well."""
        return getattr(self.persistence, "problem", None)

    @property
    def strategy(self) -> ExponentialBackoffStrategy:
        """The strategy of the launcher policy, as the settings are now."""
        return self._backoff.now()

    def load(self) -> None:
        """Load the installed extensions, and take what they add."""
        self.extensions.load_entry_points()
        self.kinds = {kind.name: kind for kind in self.extensions.operations()}
        self.redactor.rules.extend(self.extensions.redactions())
        self.extensions.start()

    def start(self, rerun: Callable[[RecoveryData], object] | None = None) -> None:
        """Begin, after `load`: forward events, resume what was interrupted, make spans where OpenTelemetry is there.

        Args:
            rerun: runs an operation of one of `kinds` again from its record; None: this process resumes nothing.
        """
        try:
            self._telemetry = enable_telemetry()
        except TelemetryMissingError:
            pass  # nobody looks at spans in this installation
        self.recent.attach()
        keep_alive(self.persistence)
        limits.put_in_force(self.config)
        vault.use(self.data_folder)
        self._look_after_fixes()
        self._heal()
        self.tail.subscribe(self.guards.on_event)
        self.tail.subscribe(functools.partial(settings.follow, self))
        age = timedelta(days=self.config.retention_days)
        if rerun is None:
            older_than = to_datetime(self.clock.time()) - age
            self.persistence.cleanup(older_than)
            self._clean_up_transfers(older_than)
        else:
            rerun_of = dict.fromkeys(self.kinds, rerun)
            self._resumer = Resumer(self.lifecycle, rerun_of, self.clock, Retention(age), self._clean_up_transfers)
            self.tail.subscribe(self._resumer.on_event)
        self.tail.start()
        if self._resumer is not None:
            self._resumer.start()

    def resume_now(self) -> None:
        """Look for operations that nobody runs, instead of waiting for the next time that this is done anyway; nothing
        where this process resumes nothing."""
        if self._resumer is not None:
            self._resumer.sweep()

    def _heal(self) -> None:
        """Heal what the code of operations gets with requests."""
        from launcher_recovery.transfer.healing import switch as healing  # which loads requests

        self._healing = healing.install(backoff=self._backoff)

    def _look_after_fixes(self) -> None:
        if not Journal(self.data_folder).is_there:
            return  # no fix was ever applied
        try:
            self.fixes.recover()
        except Exception:  # such as a folder that cannot be written to; it is no reason not to start
            logger.exception("fixes that were cut off cannot be looked after at the moment")

    def _clean_up_transfers(self, older_than: datetime) -> None:
        self._look_after_fixes()
        try:
            from launcher_recovery.nodes import upkeep as nodes  # loaded only when needed
            from launcher_recovery.transfer.disk import upkeep

            upkeep.clean(self.persistence, older_than, self.lifecycle.kept_key)
            nodes.clean(self.persistence, older_than, self.lifecycle.kept_key)
            if self._healing is not None:
                self._healing.clean(older_than)
        except Exception:
            logger.exception("old partial files could not be cleaned up")

    def stop(self) -> None:
        """End threads and close the store; operations that run are interrupted as by a crash."""
        if self._resumer is not None:
            self._resumer.stop()
        self.tail.stop()
        if self._healing is not None:
            from launcher_recovery.transfer.healing import switch as healing

            healing.uninstall(self._healing)
        limits.put_in_force(DEFAULT_CONFIG, self.config)
        vault.use(None)
        self.metrics.detach()
        self.recent.detach()
        if self._telemetry is not None:
            self._telemetry.detach()
        let_go(self.persistence)
        self.persistence.close()

    # -- policy -------------------------------------------------------------------------------------

    def draft(self, kind: OperationKind, arguments: Mapping[str, Any]) -> RecoveryData:
        """The record of a call of one of the launcher's hooks, not yet entered anywhere."""
        around = current_operation()
        draft = self.lifecycle.draft(
            kind.hook,
            (),
            arguments,
            kind=kind.name,
            key=kind.key(arguments),
            project=arguments.get("project_id"),
            parent_id=None if around is None else around.operation_id,
            title=kind.title(arguments),
            limit=self.max_attempts,
        )
        stored = None if around is None else self.persistence.get(around.operation_id)
        if stored is not None and priority_of(stored):
            draft.metadata[PRIORITY] = priority_of(stored)  # it is a part of what a person finds important
        return draft

    def policy_for(
        self, kind: OperationKind, data: RecoveryData, scope: str | None, place: str | None = None
    ) -> Policy:
        """The launcher policy for one operation.

        Args:
            scope: what its breaker and budget are about, such as a host; None: it has none.
            place: what it crowds; see `OperationKind.place`.
        """
        config = self.config
        return Policy(
            max_attempts=given_attempts_of(data) or self.max_attempts,
            strategy=self.extensions.choose_strategy(data) or self._backoff,
            classify=lambda error: self.classify(error, data),
            timeout=None if kind.compose is not None else config.timeout,
            deadline=config.deadline,
            unknown_attempts=_UNKNOWN_ATTEMPTS,
            wait_for_breaker=True,
            wait_for_resources=True,
            breaker=None if scope is None else self.guards.breaker(scope, kind.name),
            budget=None if scope is None else self.guards.budget(scope),
            bulkheads=() if self._is_inside_its_kind(data) else self.slots.of(kind.name, place),
        )

    def rules_for(
        self, kind: OperationKind, data: RecoveryData, scope: str | None, place: str | None = None
    ) -> Callable[[], Policy]:
        """The launcher policy for one operation, for every decision as the settings are then; see `policy_for`."""
        policy = self.policy_for(kind, data, scope, place)
        given = given_attempts_of(data)
        return self._following(policy, lambda: given or self.max_attempts, has_timeout=kind.compose is None)

    @property
    def max_attempts(self) -> int:
        """Attempts in a row without progress of the launcher policy."""
        return self.config.max_retries + 1 if self.config.is_explicit("max_retries") else _LAUNCHER_ATTEMPTS

    def _following(
        self, policy: Policy, max_attempts: Callable[[], int], *, has_timeout: bool = True
    ) -> Callable[[], Policy]:
        known = (self.config, policy)

        def now() -> Policy:
            nonlocal known
            config = self.config
            if known[0] is not config:
                timeout = config.timeout if has_timeout else None
                fresh = replace(policy, max_attempts=max_attempts(), timeout=timeout, deadline=config.deadline)
                known = (config, fresh)
            return known[1]

        return now

    def _is_inside_its_kind(self, data: RecoveryData) -> bool:
        """Whether an operation around it has a slot of the same kind, and would wait for this one to give it back."""
        return any(parent.kind == data.kind for parent in self.lifecycle.around(data.parent_id))

    def classify(self, error: BaseException, data: RecoveryData | None = None) -> Verdict:
        """The verdict on an error: the extensions' opinion, else the built-in rules'."""
        return self.extensions.classify(error, data) or self.classifier.classify(error, operation=data)

    # -- settings, functions, controls, figures -----------------------------------------------------

    def update_config(self, config: RecoveryConfig | Mapping[str, Any]) -> None:
        """Put settings in force: a `RecoveryConfig` replaces, a mapping is merged.

        All of it counts from the next decision of operations that run already: the delays, `max_retries` and what the
        circuit breakers go by after the next failure, `timeout` from the next attempt on, and a shorter `deadline`
        also ends a wait that goes past it. The mode is decided once, when an operation begins. Of downloads that run,
        the limits of bandwidth and connections count at once, what else is set for them from their next attempt on.

        Raises:
            RecoveryConfigError: a name or value is not usable; then nothing changes.
        """
        if not isinstance(config, (RecoveryConfig, Mapping)):
            raise checks.refused("config", config, "a RecoveryConfig, or a mapping from names of settings to values")
        before = self.config
        self.config = config if isinstance(config, RecoveryConfig) else self.config.merged(config)
        limits.put_in_force(self.config, before)
        self.extensions.follow(self.config)
        self.guards.follow_settings()
        self.lifecycle.notify_all()

    def apply_to_operation(self, operation_func: F) -> F:
        """`operation_func` as a recoverable function with this integrator's settings, store and classifier.

        The settings are followed as `update_config` says. It has a circuit breaker of its own, named after it. In the
        mode `observe` it is called once, and recorded with what recovery would have done; in the mode `off`, and on the
        other side of a `rollout` (the name decides), it is called as if it were not decorated.
        """
        store = store_for(self.persistence)

        def declare(function: Callable[..., Any]) -> Declaration:
            policy = Policy(
                max_attempts=self.config.max_retries + 1,
                strategy=ConfiguredBackoff(lambda: self.config),
                classify=self.classifier.classify,
                timeout=self.config.timeout,
                deadline=self.config.deadline,
                breaker=self.guards.breaker(names_of(function)[0], "function"),
                every_failure_counts=True,
                progress_renews=False,
            )
            rules = self._following(policy, lambda: self.config.max_retries + 1)
            return Switched(function, rules, self, store)

        found: F = declared(operation_func, declare)
        return found

    def pause(self, operation_id: str) -> RecoveryData:
        """See `Controls.pause`."""
        return self.lifecycle.pause(operation_id)

    def resume(self, operation_id: str) -> RecoveryData:
        """See `Controls.resume`."""
        return self.lifecycle.resume(operation_id)

    def cancel(self, operation_id: str) -> RecoveryData:
        """See `Controls.cancel`."""
        return self.lifecycle.cancel(operation_id)

    def retry(self, operation_id: str, *, force: bool = False, max_attempts: int | None = None) -> RecoveryData:
        """See `Controls.retry`.

        Args:
            force: try it also while its circuit breaker is open: as the probe, if it is the first to come.
        """
        data = self.lifecycle.retry(operation_id, max_attempts=max_attempts)
        kind = self.kinds.get(data.kind)
        scope = None if kind is None else kind.scope(data.kwargs)
        if force and kind is not None and scope is not None:
            self.guards.breaker(scope, kind.name).probe_now()
        return data

    def set_priority(self, operation_id: str, priority: int) -> RecoveryData:
        """See `Controls.set_priority`."""
        return self.lifecycle.set_priority(operation_id, priority)

    def fix_workflow(self, operation_id: str, workflow: Any = None) -> Any:
        """Mend what is safe to mend in the workflow that an operation checked, by the fix "mend_workflow", which can be
        undone and is entered with the operation; `report` of the result says how much of it there is (`fixable`).

        Args:
            workflow: as `fixed_workflow` has it.

        Returns:
            `fixed_workflow`.

        Raises:
            RecoveryStateError: there is no such operation, it runs, or another fix is being applied.
        """
        from launcher_recovery.fixes import planning_workflow  # loaded only by those who fix

        data = self.lifecycle.current(operation_id)
        if data is not None and planning_workflow.can_mend(data):
            preview = self.fixes.preview(operation_id, "mend_workflow")
            self.fixes.apply(operation_id, "mend_workflow", None, preview.token)
        return self.fixed_workflow(operation_id, workflow)

    def fixed_workflow(self, operation_id: str, workflow: Any = None) -> Any:
        """A copy of the workflow that an operation checked, as fixes have changed it; without any, as it was.

        Args:
            workflow: the one that was checked, needed where it could not be kept whole (it holds a secret).

        Raises:
            RecoveryStateError: there is no such operation, it has no workflow, or that could not be kept.
        """
        from launcher_recovery.fixes import planning_workflow

        data = self.lifecycle.current(operation_id)
        if data is None:
            raise RecoveryStateError(f"there is no operation {operation_id}")
        return planning_workflow.fixed_workflow(data, workflow)

    def restore_environment(self, operation_id: str, *, dry_run: bool = False) -> Restored:
        """Put the Python environment of a node install, or of a project import, back as it was before: what changed is
        reinstalled, what came with it is removed. It is an operation of its own, retried under the launcher's policy.

        Returns:
            What was done, or would be if it were not a `dry_run`.

        Raises:
            RecoveryStateError: there is no such install or import, nothing was recorded, or another node is being
                installed into the environment.
            CommandError: pip failed.
        """
        from launcher_recovery import environments  # loaded only by those who restore

        return environments.restore(self, operation_id, dry_run=dry_run)

    def report_problem(self, code: str, message: str) -> None:
        """Have the status and the page say that something about recovery itself is wrong."""
        logger.warning("%s", message)
        self.problems.append({"code": code, "message": message})

    def known_problems(self) -> list[dict[str, str]]:
        """What is wrong with recovery itself or an extension, as {"code", "message"}."""
        failing, unreadable = self.store_problem, getattr(self.persistence, "unreadable", None)
        return [
            *self.problems,
            *([] if failing is None else [{"code": "store", "message": f"{failing} Until then nothing is kept."}]),
            *([] if unreadable is None else [{"code": "encryption", "message": unreadable}]),
            *({"code": "extension", "message": text} for text in self.extensions.problems),
            *(dict(problem) for name in list(self._watches) for problem in self._watched(name)),
        ]

    def watch(self, name: str, problems: Callable[[], Sequence[Mapping[str, str]]]) -> None:
        """Have `known_problems` also ask `problems`, which is quick, what is wrong that nobody reports.

        Args:
            name: of what is watched; it replaces an earlier one of the name.
            problems: gives {"code", "message"} for each.
        """
        self._watches[name] = problems

    def _watched(self, name: str) -> Sequence[Mapping[str, str]]:
        try:
            return self._watches[name]()
        except Exception as error:  # the other problems are told all the same, one of the store among them
            logger.debug("the %s could not be looked at: %s", name, error)
            return ()

    def status(self) -> dict[str, Any]:
        """Settings, totals, breakers and problems, as the API gives them."""
        counts = self.persistence.counts()
        recovered = counts["recovered"]
        return {
            "enabled": self.config.enabled,
            "mode": self.config.mode,
            "modes": dict(self.config.modes),
            "rollout": dict(self.config.rollout),
            "persistence_enabled": self.is_durable,
            "max_retries": self.config.max_retries,
            "circuit_breaker_threshold": self.config.circuit_breaker_threshold,
            "active_operations": int(sum(counts[state.value] for state in UNFINISHED)),
            "total_operations": int(sum(counts[state.value] for state in RecoveryState)),
            "recovered_operations": int(recovered),
            "failed_operations": int(counts["failed"] + counts["exhausted"]),
            "average_recovery_time": round(counts["recovery_seconds"] / recovered, 3) if recovered else 0.0,
            "retry_attempts": int(counts["attempts"]),
            "breakers": [vars(item) for item in self.guards.breakers() if item.state != CircuitState.CLOSED.value],
            "problems": self.known_problems(),
            "extensions": self.extensions.names,
        }


_integrator: RecoveryIntegrator | None = None
_integrator_lock = threading.Lock()


def get_recovery_integrator() -> RecoveryIntegrator:
    """The integrator of this process: the one that a host attached, else one made from the environment."""
    global _integrator
    with _integrator_lock:
        if _integrator is None:
            _integrator = RecoveryIntegrator()
            limits.put_in_force(_integrator.config)
        return _integrator


def attached_integrator() -> RecoveryIntegrator | None:
    """The integrator of this process, if it has one already."""
    return _integrator


def set_recovery_integrator(integrator: RecoveryIntegrator | None) -> None:
    """Make `integrator` the one of this process; None: forget it."""
    global _integrator
    with _integrator_lock:
        _integrator = integrator


def update_config(config: RecoveryConfig | Mapping[str, Any]) -> None:
    """`RecoveryIntegrator.update_config` of this process's integrator."""
    get_recovery_integrator().update_config(config)
