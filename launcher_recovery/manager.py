"""Loads extensions, refuses those that cannot work, and calls their hooks so that none harms an operation."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pluggy

from launcher_recovery import hookspecs
from launcher_recovery.classification import Verdict
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.kinds import OperationKind
from launcher_recovery.operation import RecoveryData
from launcher_recovery.strategies import Strategy

logger = logging.getLogger("launcher_recovery")

ENTRY_POINT_GROUP = "launcher_recovery"
_PREFIX = "recovery_"


class Extensions:
    """The extensions in force: the package's own, those installed, and those given by hand.

    Args:
        config: `disabled_extensions` are not loaded.
        builtin: (name, plugin) pairs that are registered first.
    """

    def __init__(self, config: RecoveryConfig, builtin: Iterable[tuple[str, Any]] = ()) -> None:
        self.problems: list[str] = []
        self._config = config
        self._started = False
        self._manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._manager.add_hookspecs(hookspecs)
        for name in config.disabled_extensions:
            self._manager.set_blocked(name)
        for name, plugin in builtin:
            self.register(plugin, name)

    def load_entry_points(self) -> None:
        """Load every installed extension that is not disabled; one that fails is reported and left out."""
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            name = entry_point.name
            if self._manager.is_blocked(name) or self._manager.has_plugin(name):
                continue
            package = entry_point.dist.name if entry_point.dist else entry_point.value
            try:
                self.register(entry_point.load(), name)
            except Exception as error:
                self._problem(f"extension {name} (of the package {package}) was not loaded: {error}")

    def register(self, plugin: Any, name: str) -> None:
        """Add an extension; silent when its name is disabled.

        Raises:
            RecoveryConfigError: it implements a hook that does not exist, or with arguments that do not.
        """
        if self._manager.is_blocked(name):
            return
        self._check_names(plugin, name)
        try:
            self._manager.register(plugin, name)
        except pluggy.PluginValidationError as error:
            self._manager.unregister(name=name)
            raise RecoveryConfigError(f"extension {name}: {' '.join(str(error).split())}") from None
        if self._started:
            self._tell_startup([plugin])

    def _check_names(self, plugin: Any, name: str) -> None:
        known = [hook for hook in vars(hookspecs) if hook.startswith(_PREFIX)]
        for attribute in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                continue
            hook = options.get("specname") or attribute
            if hook not in known:
                raise RecoveryConfigError(
                    f"extension {name} implements {hook}, which is not a hook; the hooks are {', '.join(sorted(known))}"
                )

    def start(self) -> None:
        """Tell every extension, present and to come, that recovery begins."""
        self._started = True
        self._tell_startup(self._manager.get_plugins())

    def _tell_startup(self, plugins: Collection[Any]) -> None:
        # Not one of pluggy's historic hooks: there, the first extension that raises silences the others.
        list(self._each("recovery_startup", only=plugins, config=self._config))

    @property
    def names(self) -> list[str]:
        """Names of the extensions in force."""
        return sorted(name for name, plugin in self._manager.list_name_plugin() if plugin is not None)

    # -- calling hooks ------------------------------------------------------------------------------

    def operations(self) -> list[OperationKind]:
        """All kinds of operations; of two with one name the package's own yields."""
        kinds = {kind.name: kind for answer in self._each("recovery_operations") for kind in answer}
        return list(kinds.values())

    def classify(self, error: BaseException, operation: RecoveryData | None) -> Verdict | None:
        """The first opinion on an error."""
        verdict: Verdict | None = self._first("recovery_classify", error=error, operation=operation)
        return verdict

    def choose_strategy(self, operation: RecoveryData) -> Strategy | None:
        """The first opinion on a strategy."""
        strategy: Strategy | None = self._first("recovery_choose_strategy", operation=operation)
        return strategy

    def sources(self, url: str, operation: RecoveryData) -> list[str]:
        """Further addresses of `url`, without doubles."""
        answers = self._each("recovery_sources", url=url, operation=operation)
        found = dict.fromkeys(str(source) for answer in answers for source in answer)
        found.pop(url, None)
        return list(found)

    def redactions(self) -> list[Callable[[str], str]]:
        """All functions that take out secrets."""
        return [rule for answer in self._each("recovery_redactions") for rule in answer]

    def observe(self, event: str, operation: RecoveryData, error: BaseException | None) -> None:
        """Tell the observers; `event` is "attempt_started", "attempt_finished" or "settled"."""
        arguments: dict[str, Any] = {"operation": operation}
        if event != "attempt_started":
            arguments["error"] = error
        list(self._each(f"{_PREFIX}{event}", **arguments))

    def _first(self, hook: str, **arguments: Any) -> Any:
        return next((answer for answer in self._each(hook, **arguments)), None)

    def _each(self, hook: str, only: Collection[Any] | None = None, **arguments: Any) -> Iterable[Any]:
        """Answers of the extensions, one called after the other so that one that raises harms no other."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        plugins = [implementation.plugin for implementation in reversed(implementations)]
        for plugin in plugins:
            if only is not None and not any(plugin is chosen for chosen in only):
                continue
            others = [other for other in plugins if other is not plugin]
            try:
                answer = self._manager.subset_hook_caller(hook, others)(**arguments)
            except Exception as error:
                name = self._manager.get_name(plugin)
                self._problem(f"extension {name} failed in {hook}: {type(error).__name__}: {error}")
                continue
            if isinstance(answer, list) and not self._is_first_result(hook):
                answer = answer[0] if answer else None
            if answer is not None:
                yield answer

    def _is_first_result(self, hook: str) -> bool:
        spec = getattr(self._manager.hook, hook).spec
        return bool(spec and spec.opts["firstresult"])

    def _problem(self, text: str) -> None:
        logger.warning("%s", text)
        if text not in self.problems and len(self.problems) < 50:
            self.problems.append(text)
