"""The launcher plugin: stands around the launcher's four hooks, and runs their handlers under the engine.

The entry point of group `comfyui_launcher` is this module. Nothing but the settings is looked at before
`launcher_startup`, and nothing is attached unless they say so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from launcher_recovery import reach
from launcher_recovery.config import load_config
from launcher_recovery.errors import (
    NoHandlerError,
    RecoveryConfigError,
    RecoveryStateError,
    RefusedError,
    StoreError,
)
from launcher_recovery.fixes.effects import SKIPPED, amended, is_skipped
from launcher_recovery.kinds import Arguments, OperationKind
from launcher_recovery.observing import Observer, hookimpl
from launcher_recovery.operation import current_operation
from launcher_recovery.parts import Parts
from launcher_recovery.persistence.encryption import UnreadableError
from launcher_recovery.policy import Policy
from launcher_recovery.records import FINAL, OBSERVED, RecoveryData, RecoveryState
from launcher_recovery.signals import Event

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

logger = logging.getLogger("launcher_recovery")

NAME = "launcher-recovery"
OBSERVER_NAME = f"{NAME}-observer"
_STOPPED = {state.value for state in FINAL - {RecoveryState.SUCCESS} | {RecoveryState.PAUSED}}


@hookimpl
def launcher_startup(app: Any, socketio: Any, plugin_manager: pluggy.PluginManager) -> None:
    """Attach to the launcher if the settings say so; a launcher is never harmed by recovery that cannot start."""
    try:
        config = load_config(app_config=app.config)
    except RecoveryConfigError as error:
        logger.error("recovery is off, because a setting cannot be used: %s", error)
        return
    if not config.enabled:
        return
    try:
        from launcher_recovery.integration import RecoveryIntegrator, set_recovery_integrator
        from launcher_recovery.web import init_app

        plugin = LauncherPlugin(RecoveryIntegrator(config), plugin_manager)
        try:
            # A process that resumes operations has to show them; routes cannot be taken away again.
            plugin.attach(lambda: init_app(app, plugin.integrator, socketio, banner=True))
        except Exception:
            plugin.detach()
            raise
        set_recovery_integrator(plugin.integrator)
    except Exception:
        logger.exception("recovery is off, because it could not be started; the launcher works without it")


class LauncherPlugin:
    """The hook implementations for one launcher.

    Each is `tryfirst` and no wrapper: it calls the other handlers itself, once for each attempt, through
    `subset_hook_caller` without itself and without every plugin that has a wrapper on the hook. So the wrappers
    of third parties see one call with one final outcome, whatever the number of attempts. (A generator wrapper
    could yield only once, and one that calls the hook again would run the other wrappers twice.)
    """

    def __init__(self, integrator: RecoveryIntegrator, plugin_manager: pluggy.PluginManager) -> None:
        self.integrator = integrator
        self.manager = plugin_manager
        self._kinds: dict[str, OperationKind] = {}
        self._launcher = Parts(integrator, plugin_manager, self.begin)

    def attach(self, show: Callable[[], object] = lambda: None) -> None:
        """Register with the launcher, check its other plugins, and begin to resume.

        Args:
            show: called before anything is resumed, when there is little left that can fail.
        """
        self.integrator.load()
        self._kinds = {kind.hook: kind for kind in self.integrator.kinds.values()}
        # Registered now, when all others are, so that it comes before every other `tryfirst` handler.
        self.manager.register(self, NAME)
        self.integrator.launcher = self.manager.hook
        self.manager.register(Observer(self.integrator, self._kinds), OBSERVER_NAME)
        self.integrator.tail.subscribe(self._on_event)
        for hook in self._kinds:
            for problem in self.conflicts(hook):
                self.integrator.report_problem("plugin", problem)
        show()
        self.integrator.start(self.rerun)

    def detach(self) -> None:
        """Undo `attach`: the launcher's handlers run as if recovery were not there."""
        for name in (NAME, OBSERVER_NAME):
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
        self.integrator.stop()

    @hookimpl(tryfirst=True)
    def launcher_download(
        self, url: str, destination: str, sha256: str | None, size: int | None, project_id: str | None
    ) -> Any:
        arguments = {
            "url": url, "destination": destination, "sha256": sha256, "size": size, "project_id": project_id,
        }  # fmt: skip
        return self._around("launcher_download", arguments)

    @hookimpl(tryfirst=True)
    def launcher_install_node(
        self, url: str, destination: str, ref: str | None, python: str | None, project_id: str | None
    ) -> Any:
        arguments = {
            "url": url, "destination": destination, "ref": ref, "python": python, "project_id": project_id,
        }  # fmt: skip
        return self._around("launcher_install_node", arguments)

    @hookimpl(tryfirst=True)
    def launcher_validate_workflow(
        self, workflow: Any, models_folder: str, nodes_folder: str, project_id: str | None
    ) -> Any:
        arguments = {
            "workflow": workflow, "models_folder": models_folder, "nodes_folder": nodes_folder,
            "project_id": project_id,
        }  # fmt: skip
        return self._around("launcher_validate_workflow", arguments)

    @hookimpl(tryfirst=True)
    def launcher_create_project(
        self, project_id: str, name: str, import_json: Any, project_folder: str, models_folder: str
    ) -> Any:
        arguments = {
            "project_id": project_id, "name": name, "import_json": import_json, "project_folder": project_folder,
            "models_folder": models_folder,
        }  # fmt: skip
        return self._around("launcher_create_project", arguments)

    # -- one call -----------------------------------------------------------------------------------

    def _around(self, hook: str, arguments: dict[str, Any]) -> Any:
        """Run a hook call as an operation; None leaves it to the launcher, as if recovery were not there."""
        kind = self._kinds.get(hook)
        if kind is None or self.conflicts(hook):
            return None
        if self.integrator.config.mode_for(kind.name, kind.key(arguments)) != "recover":
            return None
        try:
            begin = self.begin(kind, arguments)
        except StoreError as error:
            logger.warning("%s runs without recovery: %s", kind.title(arguments), error)
            return None
        return begin()

    def begin(self, kind: OperationKind, arguments: Arguments) -> Callable[[], Any]:
        """Enter an operation; gives what runs it, or joins it, and returns its result.

        Raises:
            RefusedError: the arguments are not allowed.
            StoreError: nothing can be recorded.
        """
        integrator = self.integrator
        kind.check(arguments, integrator.config.allowed_roots)
        draft = integrator.draft(kind, arguments)
        kept = self._kept_result(kind, draft)
        if kept is not None and kept.result is not None:
            return lambda: kept.result
        rules = self._rules(kind, draft, arguments)
        data, live = integrator.engine.enter(draft, rules, revive=True)
        return lambda: integrator.engine.run(data, rules, lambda: self._attempt(kind, arguments), live)

    def _rules(self, kind: OperationKind, data: RecoveryData, arguments: Arguments) -> Callable[[], Policy]:
        return self.integrator.rules_for(kind, data, kind.scope(arguments), kind.place_of(arguments))

    def _kept_result(self, kind: OperationKind, draft: RecoveryData) -> RecoveryData | None:
        """An earlier success inside the same operation around it: done once over attempts and restarts."""
        if draft.parent_id is None or draft.key is None:
            return None
        latest = self.integrator.persistence.latest_with_key(draft.key)
        if latest is None or latest.state is not RecoveryState.SUCCESS or latest.parent_id != draft.parent_id:
            return None
        return latest if is_skipped(latest) or kind.still_there(latest) else None

    def rerun(self, data: RecoveryData) -> Any:
        """Run an operation again from its record, in the thread of the resumer."""
        kind = self.integrator.kinds[data.kind]
        if data.function_name != kind.hook:
            return None  # it is a call of a woven function, which only the code that called it can make again
        if self._is_run_by_the_launcher(data):
            return None
        if OBSERVED in data.metadata:
            error = RecoveryStateError("its process ended")
            self._fail(data, error, "Its process ended. It was only observed, so that nothing is done about it.", None)
            return None
        if not data.resumable:
            self._fail_unresumable(data)
            return None
        try:
            arguments = amended(data, data.kwargs, find=self.integrator.lifecycle.current)
            kind.check(arguments, self.integrator.config.allowed_roots)
        except RefusedError as error:
            self._fail(data, error, "It is not allowed any more; the settings have changed since.", None)
            return None
        rules = self._rules(kind, data, arguments)
        return self.integrator.engine.run(data, rules, lambda: self._attempt(kind, data.kwargs))

    def _is_run_by_the_launcher(self, data: RecoveryData) -> bool:
        """Whether the launcher has it done itself, in a process of its own (hook `launcher_run_again`)."""
        caller = getattr(self.manager.hook, "launcher_run_again", None)
        if caller is None:
            return False
        return bool(caller(operation_id=data.operation_id, kind=data.kind, arguments=data.kwargs))

    def _fail_unresumable(self, data: RecoveryData) -> None:
        if isinstance(data.error, UnreadableError):
            self._fail(data, data.error, f"{data.error} Then try again.", None)
            return
        self._fail(
            data,
            RecoveryStateError("what it was called with was not kept"),
            "It cannot go on by itself after the restart, because the address held a password or a "
            "signature that is never stored. Start it again where you started it; what has arrived is kept.",
            "update_url",
        )

    def _fail(self, data: RecoveryData, error: Exception, explanation: str, fix: str | None) -> None:
        self.integrator.lifecycle.fail(
            data.operation_id, error, category="validation", explanation=explanation, fix=fix
        )

    def _attempt(self, kind: OperationKind, arguments: Arguments) -> Any:
        """One attempt: other plugins' handlers, else the resumable one of the kind, else the launcher's own."""
        operation = current_operation()
        assert operation is not None
        if is_skipped(operation.data):
            logger.warning("%s is left out, as a person has said", operation.data.title)
            operation.metadata[SKIPPED] = True
            operation.save_metadata()
            return arguments["destination"]
        arguments = amended(operation.data, arguments)
        # Again for each attempt: what is on the disk, or what is allowed, may be another by now.
        kind.check(arguments, self.integrator.config.allowed_roots)
        result = self._call_others(kind.hook, arguments, last=False)
        if result is None and kind.handler is not None:
            data = operation.data
            given = kind.completed(arguments, self.integrator.config)
            with reach.of_others(allow_private=self.integrator.config.allow_private_addresses):
                result = kind.handler(
                    operation, given, lambda url: reach.trusting(self.integrator.extensions.sources(url, data))
                )
        if result is None and kind.compose is not None:
            result = kind.compose(operation, arguments, self._launcher)
        if result is None:
            result = self._call_others(kind.hook, arguments, last=True)
        if result is None:
            raise NoHandlerError(
                f"no plugin of the launcher handled {kind.hook}: every handler returned None, "
                "but one of them has to return a value"
            )
        if kind.enrich is not None:
            result = kind.enrich(operation, arguments, result, self.integrator.extensions)
        return result

    def _call_others(self, hook: str, arguments: Arguments, *, last: bool) -> Any:
        """Call the handlers marked `trylast` (the launcher's own), or those that are not; None: there are none."""
        if not self._implementations(hook):
            return None
        left_out = {self, *self._wrappers(hook)}
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            if implementation.trylast is not last:
                left_out.add(implementation.plugin)
        return self.manager.subset_hook_caller(hook, left_out)(**arguments)

    def _on_event(self, event: Event) -> None:
        """Subscriber of the outbox: tell of what stopped and is not done, whoever stopped it."""
        kind = self.integrator.kinds.get(event.payload.get("kind") or "")
        if kind is None or kind.stopped is None or event.payload.get("state") not in _STOPPED:
            return
        data = self.integrator.persistence.get(event.payload["operation_id"])
        if data is None or data.state.value not in _STOPPED:
            return  # somebody has begun it again
        latest = None if data.key is None else self.integrator.persistence.latest_with_key(data.key)
        if latest is None or latest.operation_id == data.operation_id:  # nobody has begun the same anew
            kind.stopped(data, self._launcher)

    # -- the launcher's other plugins ---------------------------------------------------------------

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        caller = getattr(self.manager.hook, hook, None)  # an extension's kind may name a hook of another launcher
        return [] if caller is None else caller.get_hookimpls()

    def _wrappers(self, hook: str) -> Iterable[Any]:
        for implementation in self._implementations(hook):
            if implementation.wrapper or implementation.hookwrapper:
                yield implementation.plugin

    def conflicts(self, hook: str) -> list[str]:
        """Sentences naming the plugins with which the handlers of `hook` cannot be called apart from wrappers."""
        found: list[str] = []
        wrapping: list[tuple[int, str]] = []
        handling: list[tuple[int, str]] = []
        for implementation in self._implementations(hook):
            plugin, name = implementation.plugin, implementation.plugin_name
            if not _is_hashable(plugin):
                found.append(
                    f"The plugin {name} cannot be told apart from others, because its class is not hashable "
                    f"(it defines __eq__ without __hash__); {hook} runs without recovery until it is."
                )
                continue
            is_wrapper = implementation.wrapper or implementation.hookwrapper
            (wrapping if is_wrapper else handling).append((id(plugin), name))
        for identity, name in wrapping:
            if any(identity == other for other, _ in handling):
                found.append(
                    f"The plugin {name} both wraps and handles {hook}; {hook} runs without recovery until it is "
                    "split into two plugins."
                )
        return found


def _is_hashable(plugin: object) -> bool:
    try:
        hash(plugin)
    except TypeError:
        return False
    return True
