"""The settings as people look at them: each with its value, where it comes from, and what it means; and changing them
while the launcher runs, in all of its processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from launcher_recovery.clock import to_datetime, to_iso
from launcher_recovery.config import DEFAULT_CONFIG, SECRET, RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError, StoreError
from launcher_recovery.owners import OWNER
from launcher_recovery.redaction import MASK
from launcher_recovery.rows import Row
from launcher_recovery.signals import Event

if TYPE_CHECKING:
    from launcher_recovery.integration import RecoveryIntegrator

logger = logging.getLogger("launcher_recovery")

EVENT = "settings_update"
KEPT = "kept"
"""Where the value of a setting comes from that is kept over restarts."""
_TABLE, _KEY = "settings", ("launcher",)
CHANGEABLE = frozenset(
    {
        "mode",
        "modes",
        "rollout",
        "max_retries",
        "initial_delay",
        "backoff_factor",
        "max_delay",
        "timeout",
        "deadline",
        "circuit_breaker_threshold",
        "circuit_breaker_timeout",
        "concurrency",
        "retention_days",
        "bandwidth_limit",
        "connections_per_host",
        "connections_in_all",
        "connections_per_download",
        "reuse",
    }
)
"""Those that can be changed while the launcher runs, without a risk: no place where something is kept, and nothing that
says who may do what."""


MEANINGS: Mapping[str, str] = {
    "enabled": "Whether recovery attaches to the launcher at all.",
    "mode": "What recovery does: recover; observe (run as before, and record what would have been done); off.",
    "modes": "The same for single kinds of operations.",
    "rollout": "For how many percent of the operations recovery is on, by kind; * stands for every other kind.",
    "max_retries": "How often something is tried again; of downloads and installs only attempts in vain count.",
    "initial_delay": "Seconds before the second attempt.",
    "backoff_factor": "How many times as long each further wait is.",
    "max_delay": "The longest wait before an attempt, in seconds.",
    "timeout": "Seconds that one attempt may take; empty: any number.",
    "deadline": "Seconds that all attempts together may take; empty: any number.",
    "circuit_breaker_threshold": "Failures in a row after which a server is left alone for a while.",
    "circuit_breaker_timeout": "For how many seconds it is left alone.",
    "concurrency": "How many operations run at a time, by kind: in all, and at one server or in one environment.",
    "persistence_enabled": "Whether state is kept on the disk, so that it is there after a restart.",
    "persistence_path": "The file in which it is kept; empty: one in the user's own folder.",
    "encryption_key": "With what the state is encrypted.",
    "database_url": "The database in which state is kept in place of that file.",
    "api_token": "What has to be shown to this page and to the API.",
    "allowed_hosts": "Further names under which the launcher may be opened.",
    "allowed_roots": "The folders below which files may be written; empty: anywhere.",
    "allow_private_addresses": "Whether an import may fetch from this machine and from its own network.",
    "retention_days": "For how many days finished operations are kept.",
    "disabled_extensions": "Extensions that are not loaded.",
    "staging_folder": "The folder for files that are not whole yet; empty: beside the file.",
    "bandwidth_limit": "Bytes a second of all downloads together, such as 10M; empty: no limit.",
    "connections_per_host": "How many connections all downloads have to one server.",
    "connections_in_all": "How many connections all downloads have in all.",
    "connections_per_download": "How many connections one download has, if that makes it faster.",
    "reuse": "How a file that is there already serves in place of a download: reflink, hardlink, copy, auto or off.",
    "workflow_tables": "Files that tell where nodes and models can be had.",
}
"""Each in a sentence for people."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        value, default: as JSON values; of a secret `***` when there is one.
        source: where the value comes from; None: it is the default.
        changeable: whether it can be changed while the launcher runs.
        meaning: what it is, in a sentence.
    """

    name: str
    value: Any
    default: Any
    source: str | None
    changeable: bool
    meaning: str


def settings_of(config: RecoveryConfig) -> list[Setting]:
    """All settings, in the order in which they are declared."""
    return [
        Setting(
            name=item.name,
            value=_shown(item.name, getattr(config, item.name)),
            default=_shown(item.name, getattr(DEFAULT_CONFIG, item.name)),
            source=config.sources.get(item.name),
            changeable=item.name in CHANGEABLE,
            meaning=MEANINGS[item.name],
        )
        for item in fields(RecoveryConfig)
        if item.name != "sources"
    ]


def _shown(name: str, value: Any) -> Any:
    if name in SECRET:
        return None if value is None else MASK
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def change(integrator: RecoveryIntegrator, changes: Mapping[str, Any], *, keep: bool | None = None) -> None:
    """Change settings here, and in every process with the same store; whole or not at all.

    They hold until a process ends: the next one begins with what environment and files say, unless they are kept.

    Args:
        keep: True: every process that starts later begins with them, see `restore`; False: with what environment and
            files say, also if one of them was kept before; None: as without this change.

    Raises:
        RecoveryConfigError: one is unknown, cannot be changed while the launcher runs, or its value is not usable; or
            it is to be kept, and nothing is kept here.
        StoreError: they cannot be kept, or the others cannot be told; then nothing changes here.
    """
    for name in changes:
        if name in MEANINGS and name not in CHANGEABLE:
            raise RecoveryConfigError(
                f"{name} cannot be changed while the launcher runs: set RECOVERY_{name.upper()} and start it again"
            )
    config = integrator.config.merged(changes)
    at = to_iso(to_datetime(integrator.clock.time()))
    told = {name: _plain(getattr(config, name)) for name in changes}
    if keep:
        if not _can_keep(integrator):
            raise RecoveryConfigError(
                "the settings cannot be kept over a restart, since this launcher keeps nothing: change them without "
                "keeping them, or have its state kept on the disk"
            )
        _keep(integrator, lambda kept: {**kept, **told})
    elif keep is False:
        forget(integrator, told)
    payload = {"settings": told, "kept": bool(keep), "process": OWNER.owner_id, "timestamp": at}
    integrator.persistence.append_event(EVENT, payload)
    integrator.update_config(_from(KEPT if keep else None, config, told))


def kept(integrator: RecoveryIntegrator) -> Mapping[str, Any]:
    """The settings with which every process begins that starts later, as JSON values by name.

    Raises:
        StoreError: the store cannot be read.
    """
    rows = integrator.persistence.shared(_TABLE, _KEY) if _can_keep(integrator) else []
    found: Mapping[str, Any] = dict(rows[0][KEPT]) if rows else {}
    return {name: value for name, value in found.items() if name in CHANGEABLE}


def forget(integrator: RecoveryIntegrator, names: Iterable[str] | None = None) -> None:
    """Have processes that start later begin with what environment and files say; those that run stay as they are.

    Args:
        names: of the settings that are not kept any more; None: all.

    Raises:
        StoreError: the store cannot be written.
    """
    dropped = None if names is None else set(names)
    if _can_keep(integrator):
        _keep(
            integrator,
            lambda kept: {} if dropped is None else {name: kept[name] for name in kept if name not in dropped},
        )


def restore(integrator: RecoveryIntegrator) -> None:
    """Have a process that starts begin with the settings that are kept. They go before environment and files, by which
    they would be undone with every start, and after what the code of the launcher gives as arguments.

    What cannot be used or read is left out, and logged."""
    try:
        found = kept(integrator)
    except StoreError as error:
        logger.warning("settings that are kept cannot be read, and do not count for now: %s", error)
        return
    config = integrator.config
    for name, value in found.items():
        if _is_argument(config, name):
            continue
        try:
            config = _from(KEPT, config.merged({name: value}), (name,))
        except RecoveryConfigError as error:  # of another version
            logger.warning("a setting that is kept cannot be used: %s", error)
    if config is not integrator.config:
        integrator.update_config(config)


def _is_argument(config: RecoveryConfig, name: str) -> bool:
    """Whether code gave a setting: by its name, or in a `RecoveryConfig` of its own, which has no sources."""
    return config.sources[name] == name if name in config.sources else config.is_explicit(name)


def _from(source: str | None, config: RecoveryConfig, names: Iterable[str]) -> RecoveryConfig:
    """The settings, of which these have another source; None: as it is."""
    return config if source is None else replace(config, sources={**config.sources, **dict.fromkeys(names, source)})


def _can_keep(integrator: RecoveryIntegrator) -> bool:
    # One of somebody's own that does all the rest need not be able to.
    return integrator.is_durable and hasattr(integrator.persistence, "share")


def _keep(integrator: RecoveryIntegrator, changed: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    at = integrator.clock.time()

    def transition(row: Row | None) -> Row | None:
        known: Mapping[str, Any] = {} if row is None else row[KEPT]
        wanted = changed(known)
        return None if wanted == known else {KEPT: wanted, "updated_at": at}

    integrator.persistence.share(_TABLE, _KEY, transition)


def follow(integrator: RecoveryIntegrator, event: Event) -> None:
    """Subscriber of the outbox: take over what another process has changed."""
    if event.name != EVENT or event.payload.get("process") == OWNER.owner_id:
        return
    told = dict(event.payload.get("settings") or {})
    usable = {name: value for name, value in told.items() if name in CHANGEABLE}
    try:
        config = integrator.config.merged(usable)
        integrator.update_config(_from(KEPT if event.payload.get("kept") else None, config, usable))
    except RecoveryConfigError as error:  # of another version
        logger.warning("settings that another process has changed cannot be used here: %s", error)
