"""The launcher plugin: stands around the launcher's four hooks, and runs their handlers under the engine.

The entry point of group `comfyui_launcher` is this module. Nothing but the settings is looked at before
`launcher_startup`, and nothing is attached unless they say so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from launcher_recovery.config import load_config
from launcher_recovery.errors import (
    NoHandlerError,
    RecoveryConfigError,
    RecoveryError,
    RecoveryStateError,
    RefusedError,
    StoreError,
)
from launcher_recovery.kinds import OperationKind
from launcher_recovery.operation import Operation, RecoveryData, RecoveryState, current_operation, running

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

logger = logging.getLogger("launcher_recovery")

NAMESPACE = "comfyui_launcher"
NAME = "launcher-recovery"
hookimpl = pluggy.HookimplMarker(NAMESPACE)


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
            # The pages first: a process that resumes operations has to show them.
            init_app(app, plugin.integrator, socketio)
            plugin.attach()
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

    def attach(self) -> None:
        """Register with the launcher, check its other plugins, and begin to resume."""
        self.integrator.load()
        self._kinds = {kind.hook: kind for kind in self.integrator.kinds.values()}
        # Registered now, when all others are, so that it comes before every other `tryfirst` handler.
        self.manager.register(self, NAME)
        self.integrator.start(self.rerun)
        for hook in self._kinds:
            for problem in self.conflicts(hook):
                self.integrator.report_problem("plugin", problem)

    def detach(self) -> None:
        """Undo `attach`: the launcher's handlers run as if recovery were not there."""
        if self.manager.has_plugin(NAME):
            self.manager.unregister(name=NAME)
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
        integrator = self.integrator
        mode = integrator.config.mode_for(kind.name, kind.key(arguments))
        if mode == "off":
            return None
        try:
            if mode == "observe":
                return self._observe(kind, arguments)
            kind.check(arguments, integrator.config.allowed_roots)
            kept = self._kept_result(kind, arguments)
            if kept is not None and kept.result is not None:
                return kept.result
            data = self._open(kind, arguments, key=kind.key(arguments))
        except StoreError as error:
            logger.warning("%s runs without recovery: %s", kind.title(arguments), error)
            return None
        return self._run(kind, data, arguments)

    def _open(self, kind: OperationKind, arguments: dict[str, Any], key: str | None) -> RecoveryData:
        around = current_operation()
        return self.integrator.lifecycle.open(
            kind.hook,
            (),
            arguments,
            kind=kind.name,
            key=key,
            project=arguments.get("project_id"),
            parent_id=None if around is None else around.operation_id,
            title=kind.title(arguments),
            revive=key is not None,
        )

    def _kept_result(self, kind: OperationKind, arguments: dict[str, Any]) -> RecoveryData | None:
        """An earlier success inside the same operation around it: done once over attempts and restarts."""
        around = current_operation()
        if around is None:
            return None
        latest = self.integrator.persistence.latest_with_key(kind.key(arguments))
        if latest is None or latest.state is not RecoveryState.SUCCESS or latest.parent_id != around.operation_id:
            return None
        return latest if kind.still_there(latest) else None

    def _run(self, kind: OperationKind, data: RecoveryData, arguments: dict[str, Any]) -> Any:
        policy = self.integrator.policy_for(kind, data, kind.scope(arguments), kind.place_of(arguments))
        return self.integrator.engine.run(data, policy, lambda: self._attempt(kind, arguments))

    def rerun(self, data: RecoveryData) -> Any:
        """Run an operation again from its record, in the thread of the resumer."""
        kind = self.integrator.kinds[data.kind]
        if not data.resumable:
            self._fail_unresumable(data)
            return None
        try:
            kind.check(data.kwargs, self.integrator.config.allowed_roots)
        except RefusedError as error:
            self._fail(data, error, "It is not allowed any more; the settings have changed since.", None)
            return None
        return self._run(kind, data, data.kwargs)

    def _fail_unresumable(self, data: RecoveryData) -> None:
        self._fail(
            data,
            RecoveryStateError("what it was called with was not kept"),
            "It cannot go on by itself after the restart, because the address held a password or a "
            "signature that is never stored. Start it again where you started it; what has arrived is kept.",
            "update_url",
        )

    def _fail(self, data: RecoveryData, error: Exception, explanation: str, fix: str | None) -> None:
        lifecycle = self.integrator.lifecycle
        live = Operation(lifecycle.begin_attempt(data.operation_id, 1), lifecycle, self.integrator.clock)
        lifecycle.end_attempt(
            live,
            RecoveryState.FAILED,
            error,
            category="validation",
            explanation=explanation,
            fix=fix,
            fruitless=1,
            limit=1,
        )

    def _attempt(self, kind: OperationKind, arguments: dict[str, Any]) -> Any:
        """One attempt: other plugins' handlers, else the resumable one of the kind, else the launcher's own."""
        operation = current_operation()
        assert operation is not None
        result = self._call_others(kind.hook, arguments, last=False)
        if result is None and kind.handler is not None:
            data = operation.data
            result = kind.handler(operation, arguments, lambda url: self.integrator.extensions.sources(url, data))
        if result is None:
            result = self._call_others(kind.hook, arguments, last=True)
        if result is None:
            raise NoHandlerError(
                f"no plugin of the launcher handled {kind.hook}: every handler returned None, "
                "but one of them has to return a value"
            )
        return result

    def _call_others(self, hook: str, arguments: dict[str, Any], *, last: bool | None) -> Any:
        """Call the handlers marked `trylast` (the launcher's own), those that are not, or (None) both."""
        left_out = {self, *self._wrappers(hook)}
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            if last is not None and implementation.trylast is not last:
                left_out.add(implementation.plugin)
        return self.manager.subset_hook_caller(hook, left_out)(**arguments)

    # -- observing ----------------------------------------------------------------------------------

    def _observe(self, kind: OperationKind, arguments: dict[str, Any]) -> Any:
        """Let the launcher's handlers run once as they are, and record what recovery would have done."""
        lifecycle = self.integrator.lifecycle
        data = self._open(kind, arguments, key=None)
        live = Operation(lifecycle.begin_attempt(data.operation_id, 1), lifecycle, self.integrator.clock)
        live.metadata["observed"] = True
        try:
            with running(live):
                result = self._call_others(kind.hook, arguments, last=None)
        except Exception as error:
            self._keep_observed(live, error=error)
            raise
        self._keep_observed(live, result=result)
        return result

    def _keep_observed(self, live: Operation, *, result: Any = None, error: Exception | None = None) -> None:
        """Record an observed call; what goes wrong here is no business of the launcher, its handlers have run."""
        lifecycle = self.integrator.lifecycle
        try:
            if error is None:
                live.save_metadata()
                lifecycle.succeed(live, result)
                return
            verdict = self.integrator.classify(error, live.data)
            live.metadata["would"] = f"{verdict.retry.value}: {verdict.explanation}"
            live.save_metadata()
            lifecycle.end_attempt(
                live,
                RecoveryState.FAILED,
                error,
                category=verdict.category.value,
                explanation=verdict.explanation,
                fix=verdict.fix,
                fruitless=1,
                limit=1,
            )
        except RecoveryError as problem:
            logger.warning("what was observed of %s is not kept: %s", live.data.title, problem)

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
