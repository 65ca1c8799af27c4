"""Loads extensions, refuses those that cannot work, and calls their hooks so that none harms an operation."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pluggy

from launcher_recovery import __version__, hookspecs
from launcher_recovery.classification import Verdict
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError, RefusedError
from launcher_recovery.fixes.fix import Fix
from launcher_recovery.joinpoints import Host
from launcher_recovery.kinds import OperationKind
from launcher_recovery.observers import Observers
from launcher_recovery.plans import Plan
from launcher_recovery.records import RecoveryData
from launcher_recovery.strategies import Strategy
from launcher_recovery.workflows.sources import LoaderInput, ModelSource, NodeSource

logger = logging.getLogger("launcher_recovery")

ENTRY_POINT_GROUP = "launcher_recovery"
_PREFIX = "recovery_"
_OWN = "launcher-recovery"

# What the answer to a hook has to be: whether a sequence of it, and its type.
_ANSWERS: dict[str, tuple[bool, Any]] = {
    "recovery_operations": (True, OperationKind),
    "recovery_read_import": (False, Plan),
    "recovery_classify": (False, Verdict),
    "recovery_choose_strategy": (False, Strategy),
    "recovery_sources": (True, str),
    "recovery_node_sources": (True, NodeSource),
    "recovery_model_sources": (True, ModelSource),
    "recovery_loader_folders": (True, LoaderInput),
    "recovery_suggest_fix": (True, Fix),
    "recovery_join_points": (True, Host),
    "recovery_redactions": (True, Callable),
}


@dataclass(frozen=True)
class Extension:
    """What is known of an extension.

    Args:
        name: that of its entry point, or by which it was registered.
        package: the distribution that it came with; None: it was registered by code.
        version: of the package.
        state: "loaded", "disabled" (by `disabled_extensions`), or "failed": it was left out.
        hooks: that it implements, sorted; empty unless it is loaded.
        problem: why it was left out; else None.
    """

    name: str
    package: str | None
    version: str | None
    state: str
    hooks: tuple[str, ...] = ()
    problem: str | None = None


class Extensions:
    """The extensions in force: the package's own, those installed, and those given by hand.

    Args:
        config: `disabled_extensions` are not loaded.
        builtin: (name, plugin) pairs that are registered first.
        observers: calls what observes operations; default: in threads, for five seconds at most.
    """

    def __init__(
        self,
        config: RecoveryConfig,
        builtin: Iterable[tuple[str, Any]] = (),
        observers: Observers | None = None,
    ) -> None:
        self.problems: list[str] = []
        self._observers = observers or Observers()
        self._origins: dict[str, tuple[str, str | None]] = {}
        self._failed: dict[str, str] = {}
        self._config = config
        self._started = False
        self._manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._manager.add_hookspecs(hookspecs)
        for name in config.disabled_extensions:
            self._manager.set_blocked(name)
        for name, plugin in builtin:
            self._origins[name] = _OWN, __version__
            self.register(plugin, name)

    def load_entry_points(self) -> None:
        """Load every installed extension that is not disabled; one that fails is reported and left out."""
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            name = entry_point.name
            if self._manager.has_plugin(name) or name in self._origins:
                continue
            package, version = entry_point.value, None
            if entry_point.dist is not None:
                package, version = entry_point.dist.name, entry_point.dist.version
            self._origins[name] = package, version
            try:
                if not self._manager.is_blocked(name):
                    self.register(entry_point.load(), name)
            except Exception as error:
                self._failed[name] = str(error)
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
            if self._manager.has_plugin(name):
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
            if options.get("wrapper") or options.get("hookwrapper"):
                raise RecoveryConfigError(
                    f"extension {name} implements {hook} as a wrapper; implement it without wrapper=True"
                )
            if hook not in known:
                if options.get("optionalhook"):
                    continue
                raise RecoveryConfigError(
                    f"extension {name} implements {hook}, which is not a hook; the hooks are {', '.join(sorted(known))}"
                )
            wanted, offered = _arguments(getattr(plugin, attribute)), _arguments(getattr(hookspecs, hook))
            if not {*wanted} <= {"self", *offered}:
                raise RecoveryConfigError(
                    f"extension {name} implements {hook} with the arguments {', '.join(wanted)}, but there are "
                    f"{', '.join(offered) or 'none'}: an implementation takes those that it needs, by their names"
                )

    def start(self) -> None:
        """Tell every extension, present and to come, that recovery begins."""
        self._started = True
        self._tell_startup(None)

    def _tell_startup(self, plugins: Collection[Any] | None) -> None:
        # Not one of pluggy's historic hooks: there, the first extension that raises silences the others.
        list(self._each("recovery_startup", only=plugins, config=self._config))

    def follow(self, config: RecoveryConfig) -> None:
        """Tell every extension that these settings are in force now."""
        self._config = config
        if self._started:
            list(self._each("recovery_settings_changed", config=config))

    @property
    def names(self) -> list[str]:
        """Names of the extensions in force."""
        return sorted(name for name, plugin in self._manager.list_name_plugin() if plugin is not None)

    def known(self) -> list[Extension]:
        """All extensions that are loaded, and those that are installed and were left out; by name."""
        return [self._known(name) for name in sorted({*self.names, *self._origins})]

    def _known(self, name: str) -> Extension:
        package, version = self._origins.get(name, (None, None))
        plugin = self._manager.get_plugin(name)
        if plugin is None:
            problem = self._failed.get(name)
            return Extension(name, package, version, "disabled" if problem is None else "failed", problem=problem)
        callers = self._manager.get_hookcallers(plugin) or []
        hooks = tuple(sorted(caller.name for caller in callers if caller.name.startswith(_PREFIX)))
        return Extension(name, package, version, "loaded", hooks)

    # -- calling hooks ------------------------------------------------------------------------------

    def operations(self) -> list[OperationKind]:
        """All kinds of operations; of two with one name the package's own yields."""
        kinds: dict[str, OperationKind] = {}
        for answer in self._each("recovery_operations"):
            for kind in answer:
                kinds.setdefault(kind.name, kind)  # the package's own were registered first and come last
        return list(kinds.values())

    def classify(self, error: BaseException, operation: RecoveryData | None) -> Verdict | None:
        """The first opinion on an error."""
        verdict: Verdict | None = self._first("recovery_classify", error=error, operation=operation)
        return verdict

    def read_import(self, import_json: Any) -> Plan | None:
        """What an import asks for, as the first says who knows its format.

        Raises:
            RefusedError: an extension knows the format, and refuses this import.
        """
        plan: Plan | None = self._first("recovery_read_import", import_json=import_json)
        return plan

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

    def node_sources(self, node_type: str) -> list[NodeSource]:
        """Repositories that provide a node type, without doubles."""
        answers = self._each("recovery_node_sources", node_type=node_type)
        return list(dict.fromkeys(source for answer in answers for source in answer))

    def model_sources(self, name: str, folder: str | None) -> list[ModelSource]:
        """Where a model can be downloaded, without doubles."""
        answers = self._each("recovery_model_sources", name=name, folder=folder)
        return list(dict.fromkeys(source for answer in answers for source in answer))

    def loader_inputs(self, node_type: str) -> list[LoaderInput]:
        """Inputs of a node type that name models."""
        return [found for answer in self._each("recovery_loader_folders", node_type=node_type) for found in answer]

    def suggest_fix(self, operation: RecoveryData) -> list[Fix]:
        """Further fixes for an operation, best first."""
        return [fix for answer in self._each("recovery_suggest_fix", operation=operation) for fix in answer]

    def join_points(self) -> list[Host]:
        """Launchers without a plugin system; of two with one name the one that is first counts."""
        return [host for answer in self._each("recovery_join_points") for host in answer]

    def redactions(self) -> list[Callable[[str], str]]:
        """All functions that take out secrets; one that raises is reported and changes nothing."""
        return [self._harmless(rule) for answer in self._each("recovery_redactions") for rule in answer]

    def _harmless(self, rule: Callable[[str], str]) -> Callable[[str], str]:
        def apply(text: str) -> str:
            try:
                return str(rule(text))
            except Exception as error:
                # Not with the error's own text, which may hold the secret.
                self._problem(f"the redaction {rule!r} of an extension failed: {type(error).__name__}")
                return text

        return apply

    def observe(self, event: str, operation: RecoveryData, error: BaseException | None) -> None:
        """Tell the observers; `event` is "attempt_started", "attempt_finished" or "settled"."""
        arguments: dict[str, Any] = {"operation": operation}
        if event != "attempt_started":
            arguments["error"] = error
        list(self._each(f"{_PREFIX}{event}", call=self._observed, **arguments))

    def _observed(self, implementation: pluggy.HookImpl, given: Sequence[Any]) -> None:
        self._observers.call(implementation.plugin_name, partial(implementation.function, *given))

    def _first(self, hook: str, **arguments: Any) -> Any:
        return next((answer for answer in self._each(hook, **arguments)), None)

    def _each(
        self,
        hook: str,
        only: Collection[Any] | None = None,
        call: Callable[[pluggy.HookImpl, Sequence[Any]], Any] = lambda one, given: one.function(*given),
        **arguments: Any,
    ) -> Iterable[Any]:
        """Answers of the extensions, one called after the other so that one that raises harms no other."""
        # Called one by one, not through pluggy: there, one that raises ends the call for all.
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            if only is not None and not any(implementation.plugin is chosen for chosen in only):
                continue
            try:
                answer = call(implementation, [arguments[name] for name in implementation.argnames])
                answer = _usable(answer, *_ANSWERS.get(hook, (False, object)))
            except Exception as error:
                if hook == "recovery_read_import" and isinstance(error, RefusedError):
                    raise
                name = implementation.plugin_name
                self._problem(f"extension {name} failed in {hook}: {type(error).__name__}: {error}")
                continue
            if answer is not None:
                yield answer

    def _problem(self, text: str) -> None:
        logger.warning("%s", text)
        if text not in self.problems and len(self.problems) < 50:
            self.problems.append(text)


def _arguments(function: Any) -> list[str]:
    """Names of those that a function is called with."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind is not one.KEYWORD_ONLY]


def _usable(answer: Any, many: bool, expected: Any) -> Any:
    """The answer of an extension, a sequence as a list; TypeError when it is not what the hook asks for."""
    if answer is None:
        return None
    items = list(answer) if many and not isinstance(answer, (str, bytes)) else [answer]
    if (many and isinstance(answer, (str, bytes))) or not all(isinstance(item, expected) for item in items):
        what = getattr(expected, "__name__", str(expected))
        raise TypeError(f"it returned {answer!r:.80}, but {'a list of ' if many else ''}{what} is needed")
    return items if many else answer
