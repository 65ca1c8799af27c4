"""Has a woven process enter itself among the owners, with how its join points stand, for `doctor` and the page."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher_recovery.weave.standing import WAITING, About, Standing

if TYPE_CHECKING:
    import pluggy

    from launcher_recovery.integration import RecoveryIntegrator
    from launcher_recovery.joinpoints import Host

logger = logging.getLogger("launcher_recovery")

_MAX_ARGUMENTS = 20
_MAX_LENGTH = 200
# A fork waits for what is loaded in the background, since the child would not get out of an import begun by a thread
# that does not exist there; one that loads for so long itself waits for the forking thread.
_FORK_WAITS_S = 10.0


class Presence:
    """What this process tells of itself.

    Args:
        standings: gives how the join points stand.
        enabled: whether settings that do not say whether recovery is on mean that it is.
        hosts: gives the hosts that were found in this process.
        turn_off: called with the name of a host that has to do without recovery, and why.
    """

    def __init__(
        self,
        standings: Callable[[], Sequence[Standing]],
        *,
        enabled: bool,
        hosts: Callable[[], Sequence[Host]] = tuple,
        turn_off: Callable[[str, str], object] = lambda name, reason: None,
    ) -> None:
        self._standings = standings
        self._hosts = hosts
        self._turn_off = turn_off
        self._enabled = enabled
        self._lock = threading.RLock()
        self._ready: RecoveryIntegrator | None = None
        self._told = threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self) -> None:
        """Tell it soon, in the background: what keeps it takes longer to load than the weaving, and the host waits."""
        self._told.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._tell, name="recovery-presence", daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        try:
            while self._told.is_set():
                self._told.clear()
                integrator = self.integrator()
                self._enter(integrator)
        except Exception as error:
            logger.warning("this process could not be entered among those that are woven: %s", error)

    def settle(self) -> None:
        """Wait for what is told in the background; before a fork."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FORK_WAITS_S)

    def integrator(self) -> RecoveryIntegrator:
        """The integrator of this process, loaded and started.

        Raises:
            RecoveryConfigError: a setting cannot be used.
        """
        with self._lock:
            if self._ready is None:
                self._ready = self._start()
                self._enter(self._ready)
            return self._ready

    def _start(self) -> RecoveryIntegrator:
        from launcher_recovery.persistence import forks

        # From here on stores are put away before a fork, which must not be done before this is over. It is asked first.
        forks.wait_first(self.settle)
        from launcher_recovery import integration
        from launcher_recovery.config import load_config

        integrator = integration.attached_integrator()
        if integrator is None:
            config = load_config()
            if self._enabled and not config.is_explicit("enabled"):
                config = config.merged({"enabled": True})
            integrator = integration.RecoveryIntegrator(config)
            integration.set_recovery_integrator(integrator)
        if not integrator.kinds:  # else somebody else has attached it already
            self._attach(integrator)
        return integrator

    def _attach(self, integrator: RecoveryIntegrator) -> None:
        """Give a launcher that has no hooks those of one that has, with what its host says of them."""
        import pluggy

        from launcher_recovery import integration
        from launcher_recovery.observing import NAMESPACE
        from launcher_recovery.plugin import LauncherPlugin
        from launcher_recovery.weave import hooks

        manager = pluggy.PluginManager(NAMESPACE)
        manager.add_hookspecs(hooks)
        for host in self._hosts():
            try:
                self._add_plugin(host, manager, integrator)
            except Exception as error:
                if manager.has_plugin(host.name):
                    manager.unregister(name=host.name)
                reason = f"its plugin cannot be used: {' '.join(f'{type(error).__name__}: {error}'.split())}"
                integrator.report_problem("host", f"{host.name} runs without recovery: {reason}.")
                self._turn_off(host.name, reason)
        self._confine(integrator)
        plugin = LauncherPlugin(integrator, manager)
        try:
            plugin.attach()
        except Exception:
            plugin.detach()
            integration.set_recovery_integrator(None)  # the next one begins anew
            raise

    def _add_plugin(self, host: Host, manager: pluggy.PluginManager, integrator: RecoveryIntegrator) -> None:
        """Have the hooks of a host called.

        Raises:
            Exception: it gives none that can be used.
        """
        plugin = None if host.plugin is None else host.plugin()
        if plugin is None:
            return
        manager.register(plugin, host.name)
        manager.check_pending()
        integrator.extensions.register(plugin, host.name)

    def _confine(self, integrator: RecoveryIntegrator) -> None:
        """Have files written only where the hosts write, unless a setting says where; without a word of one of them
        anywhere, which is told."""
        config, hosts = integrator.config, self._hosts()
        if config.is_explicit("allowed_roots") or not hosts:
            return
        found: list[str] = []
        for host in hosts:
            try:
                roots = [] if host.roots is None else [*host.roots()]
            except Exception as error:  # it is the host's, and of a version of which nothing is known
                logger.info("where %s writes cannot be found out: %s: %s", host.name, type(error).__name__, error)
                roots = []
            if not roots:
                integrator.report_problem(
                    "roots",
                    f"It is not known below which folders {host.name} writes, so that its imports may write anywhere: "
                    "set RECOVERY_ALLOWED_ROOTS.",
                )
                return
            found.extend(roots)
        sources = {**config.sources, "allowed_roots": f"the settings of {' and '.join(host.name for host in hosts)}"}
        integrator.update_config(replace(config, allowed_roots=tuple(found), sources=sources))

    def _enter(self, integrator: RecoveryIntegrator) -> None:
        from launcher_recovery.owners import introduce

        introduce(integrator.persistence, self.about().to_json())

    def about(self) -> About:
        """What there is to tell now."""
        from launcher_recovery import __version__
        from launcher_recovery.redaction import Redactor

        argv: list[Any] = Redactor().value([argument[:_MAX_LENGTH] for argument in sys.argv[:_MAX_ARGUMENTS]])
        standings = tuple(standing for standing in self._standings() if standing.state != WAITING)
        return About(role_of(sys.argv), tuple(argv), standings, __version__)


def role_of(argv: Sequence[str]) -> str:
    """ "worker" of Celery, else "launcher"."""
    program = Path(argv[0]).parts[-2:] if argv else ()
    return "worker" if any("celery" in part for part in program) and "worker" in argv[1:] else "launcher"
