"""The plugin manager: native handlers first, then what is installed, one by one, each allowed to fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import entry_points

import pluggy
from flask import Flask
from flask_socketio import SocketIO

from . import hookspecs
from .following import Following
from .handlers import NativeHandlers
from .projects import ProjectStore
from .text import one_line

log = logging.getLogger("sample_launcher")


def create_manager(
    changed: Callable[[str], None],
    entries: bool,
    store: ProjectStore,
) -> pluggy.PluginManager:
    """A manager with the native handlers and, unless `entries` is false, every installed plugin.

    `changed` is called with a project's id whenever its state changed; `store` has the projects. A plugin that
    cannot be imported or registered is left out, with one sentence in the log.
    """
    manager = pluggy.PluginManager(hookspecs.NAMESPACE)
    manager.add_hookspecs(hookspecs)
    manager.register(NativeHandlers(manager, changed, store.busy), name="native")
    manager.register(Following(store, changed), name="following")
    if entries:
        _load_entries(manager)
    return manager


def _load_entries(manager: pluggy.PluginManager) -> None:
    # A package installed twice, as a wheel and as a checkout, lists its entry point twice.
    found = {(entry.name, entry.value): entry for entry in entry_points(group=hookspecs.NAMESPACE)}
    for entry in sorted(found.values(), key=lambda entry: (entry.name, entry.value)):
        plugin: object = None
        try:
            plugin = entry.load()
            if manager.is_registered(plugin):
                continue
            manager.register(plugin, name=entry.name)
            _check(manager, plugin)
        except Exception as problem:
            if plugin is not None and manager.is_registered(plugin):
                manager.unregister(plugin)
            log.error("The plugin %r (%s) is left out: %s.", entry.name, entry.value, one_line(problem))


def _check(manager: pluggy.PluginManager, plugin: object) -> None:
    for caller in manager.get_hookcallers(plugin) or ():
        optional = all(impl.optionalhook for impl in caller.get_hookimpls() if impl.plugin is plugin)
        if caller.spec is None and not optional:
            raise LookupError(f"the launcher has no hook {caller.name!r}")


def start(manager: pluggy.PluginManager, app: Flask, socketio: SocketIO) -> None:
    """Call every plugin's `launcher_startup`; one that fails is logged and the others still start."""
    name = "launcher_startup"
    starters = [impl.plugin for impl in reversed(manager.hook.launcher_startup.get_hookimpls())]
    for plugin in starters:
        others = [other for other in starters if other is not plugin]
        try:
            manager.subset_hook_caller(name, others)(app=app, socketio=socketio, plugin_manager=manager)
        except Exception as problem:
            log.error("The plugin %r did not start: %s.", manager.get_name(plugin), one_line(problem))
