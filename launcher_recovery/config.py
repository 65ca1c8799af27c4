"""Settings: one frozen record, read from arguments, environment, the host's config, a TOML file and defaults."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from launcher_recovery import config_values as read
from launcher_recovery.config_values import KINDS, Limits
from launcher_recovery.errors import RecoveryConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DEFAULT_CONFIG", "KINDS", "Limits", "RecoveryConfig", "load_config"]

PREFIX = "RECOVERY_"


def _shown(name: str, value: Any) -> str:
    """The value as it may be told: of a URL, which may have a password in it, only what it is for."""
    if name not in SECRET:
        return repr(value)
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://", str(value))
    return repr(f"{found.group()}…" if found else "…")


@dataclass(frozen=True)
class RecoveryConfig:
    """Every setting, checked when it is made.

    Args:
        enabled: whether the plugin attaches to a host; default off.
        mode: "off", "observe" (record what would be done) or "recover", for every kind without one of its own.
        modes: mode by operation kind (download, validate_workflow, install_node, create_project).
        rollout: percentage of operations by kind ("*": every other kind), decided by a hash of the key.
        max_retries: retries after the first attempt (of the launcher's operations: in a row, without progress).
        initial_delay, backoff_factor, max_delay: exponential backoff: seconds, factor, seconds.
        timeout: seconds for one attempt; None: no limit.
        deadline: seconds for a whole operation; None: no limit.
        circuit_breaker_threshold: failures in a row after which a host is left alone.
        circuit_breaker_timeout: seconds for which it is.
        concurrency: how many operations run at a time by kind, each `Limits`, also as text such as
            "download:8/4,install_node:4" (in all, and from one host or into one Python environment; "any": any
            number). What is not given stays as it is by default.
        persistence_enabled: whether state is kept on the disk.
        persistence_path: the database file; None: in the user's state folder.
        encryption_key: what `launcher_recovery.persistence.encryption.Cipher` takes: keys, or `file:` and the path of a
            file with them; None: nothing is encrypted. Not shown in any text or message.
        database_url: a database instead of that file, such as "postgresql://user:password@host:5432/database"; it is
            kept secret. Given together with `persistence_path` it is refused, since only one of them can be meant;
            of one in the environment and one in `app.config`, say, that of the environment is taken.
        api_token: what has to be shown to the API and the pages, at least 16 characters, or `file:` and the path of a
            file that holds it; None: they are open to whoever reaches the server. Not shown in any text or message.
        allowed_hosts: names under which the server may be addressed, besides IP addresses, localhost and the
            machine's own name.
        allowed_roots: folders below which downloads and installs may go; empty: anywhere.
        allow_private_addresses: whether what an import asks for may be on this machine or in its network; what is
            typed at a terminal or called by code may in any case.
        retention_days: days for which finished operations are kept.
        disabled_extensions: names of extensions that are not loaded.
        staging_folder: a folder for partial downloads, which counts for those whose destination is on the same file
            system; None: beside the destination.
        bandwidth_limit: bytes a second of all downloads of a process, also as text such as "10M"; None: no limit.
        connections_per_host, connections_in_all: how many connections all downloads of a process have, at one host and
            in all. Each download has one in any case.
        connections_per_download: how many one download has at most, if that makes it faster.
        reuse: how a file with the same content that was downloaded before may serve instead of a download: "reflink",
            "hardlink", "copy", "auto" (the first of these that can be done), or "off".
        workflow_tables: files that tell which repository provides a node type, and where models are, in the forms of
            ComfyUI-Manager: custom-node-list.json, extension-node-map.json, model-list.json. Changes of them count.
        sources: where each setting that is not a default came from.

    Raises:
        RecoveryConfigError: a value is unusable; the message names it and says what was expected.
    """

    enabled: bool = False
    mode: str = "recover"
    modes: Mapping[str, str] = field(default_factory=dict)
    rollout: Mapping[str, float] = field(default_factory=lambda: {"*": 100.0})
    max_retries: int = 3
    initial_delay: float = 1.0
    backoff_factor: float = 2.0
    max_delay: float = 60.0
    timeout: float | None = None
    deadline: float | None = None
    circuit_breaker_threshold: int = 5
    circuit_breaker_timeout: float = 300.0
    concurrency: Mapping[str, Limits] = field(default_factory=dict)
    persistence_enabled: bool = True
    persistence_path: str | None = None
    encryption_key: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    api_token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_roots: tuple[str, ...] = ()
    allow_private_addresses: bool = False
    retention_days: float = 7.0
    disabled_extensions: tuple[str, ...] = ()
    staging_folder: str | None = None
    bandwidth_limit: float | None = None
    connections_per_host: int = 4
    connections_in_all: int = 16
    connections_per_download: int = 4
    reuse: str = "off"
    workflow_tables: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, parse in _PARSERS.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, parse(value))
            except ValueError as error:
                where = self.sources.get(name, name)
                raise RecoveryConfigError(f"{where}={_shown(name, value)} is not usable: it must be {error}") from None
        if self.database_url is not None and self.persistence_path is not None:
            url, path = (self.sources.get(name, name) for name in _PLACES)
            raise RecoveryConfigError(
                f"{url} and {path}={self.persistence_path!r} are both given, but the state is kept in one place: "
                "leave one of them out"
            )

    def mode_for(self, kind: str, key: str) -> str:
        """The mode for one operation; the same key is always on the same side of a percentage."""
        mode = self.modes.get(kind, self.mode)
        if mode == "off":
            return mode
        share = self.rollout.get(kind, self.rollout.get("*", 100.0))
        digest = hashlib.sha256(f"{kind}\0{key}".encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64 * 100
        return mode if position < share else "off"

    def is_explicit(self, name: str) -> bool:
        """Whether the setting was given by somebody, rather than left at its default."""
        return name in self.sources or getattr(self, name) != getattr(DEFAULT_CONFIG, name)

    def merged(self, changes: Mapping[str, Any]) -> RecoveryConfig:
        """A copy with `changes`, whole or not at all.

        Raises:
            RecoveryConfigError: a name is unknown or a value is unusable.
        """
        for name in changes:
            if name not in _PARSERS:
                raise RecoveryConfigError(f"{name!r} is not a setting{_suggestion(name, _PARSERS)}")
        return replace(self, **dict(changes), sources={**self.sources, **{name: name for name in changes}})


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "enabled": read.flag,
    "mode": read.mode,
    "modes": read.modes,
    "rollout": read.rollout,
    "max_retries": read.count(0),
    "initial_delay": read.seconds,
    "backoff_factor": read.factor,
    "max_delay": read.seconds,
    "timeout": read.optional_seconds,
    "deadline": read.optional_seconds,
    "circuit_breaker_threshold": read.count(1),
    "circuit_breaker_timeout": read.seconds,
    "concurrency": read.concurrency,
    "persistence_enabled": read.flag,
    "persistence_path": read.path,
    "encryption_key": read.path,
    "database_url": read.database_url,
    "api_token": read.token,
    "allowed_hosts": read.texts,
    "allowed_roots": read.paths,
    "allow_private_addresses": read.flag,
    "retention_days": read.seconds,
    "disabled_extensions": read.texts,
    "staging_folder": read.folder,
    "bandwidth_limit": read.bandwidth,
    "connections_per_host": read.count(1),
    "connections_in_all": read.count(1),
    "connections_per_download": read.count(1),
    "reuse": read.reuse,
    "workflow_tables": read.paths,
}

_PLACES = ("database_url", "persistence_path")
SECRET = frozenset({"api_token", "database_url", "encryption_key"})
"""Settings whose values are never shown."""

DEFAULT_CONFIG = RecoveryConfig()

_VARIABLES = {f"{PREFIX}{name.upper()}": name for name in _PARSERS if name != "modes"}
_MODE_VARIABLES = {f"{PREFIX}MODE_{kind.upper()}": kind for kind in KINDS}
_FILE_VARIABLE = f"{PREFIX}CONFIG"
_KNOWN = (*_VARIABLES, *_MODE_VARIABLES, _FILE_VARIABLE)
# Variables of the test suite, which are nobody's settings.
_TEST_PREFIX = f"{PREFIX}TEST_"


def load_config(
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    app_config: Mapping[str, Any] | None = None,
) -> RecoveryConfig:
    """The settings in force: arguments before environment before `app.config` before the file before defaults.

    Args:
        arguments: by field name of `RecoveryConfig`.
        environ: the environment; default: `os.environ`.
        app_config: the host's Flask config, of which names beginning with RECOVERY_ are read.

    Raises:
        RecoveryConfigError: a value is unusable, or the file named by RECOVERY_CONFIG cannot be read.
    """
    environ = os.environ if environ is None else environ
    app_config = app_config or {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def take(name: str, value: Any, source: str) -> None:
        values[name] = value
        sources[name] = source

    def forget_other_place(layer: Collection[str]) -> None:
        """Of the two places for the state the one in this layer counts, not another one from a lower layer."""
        for name, other in (_PLACES, _PLACES[::-1]):
            if name in layer and other not in layer and values[name]:
                values.pop(other, None)
                sources.pop(other, None)

    file = environ.get(_FILE_VARIABLE) or app_config.get(_FILE_VARIABLE)
    if file:
        for name, value in _read_file(Path(file)).items():
            if name not in _PARSERS:
                raise RecoveryConfigError(f"{file}: {name!r} is not a setting{_suggestion(name, _PARSERS)}")
            take(name, value, f"{file}: {name}")
    for layer, label in ((app_config, 'app.config["{}"]'), (environ, "{}")):
        taken: set[str] = set()
        for variable, value in layer.items():
            if not isinstance(variable, str) or not variable.startswith(PREFIX):
                continue
            if variable in _VARIABLES:
                taken.add(_VARIABLES[variable])
                take(_VARIABLES[variable], value, label.format(variable))
            elif variable in _MODE_VARIABLES:
                given = values.get("modes", {})
                if not isinstance(given, Mapping):
                    continue  # refused below, with its name
                modes = {**given, _MODE_VARIABLES[variable]: value}
                take("modes", modes, label.format(variable))
            elif variable not in _KNOWN and not variable.startswith(_TEST_PREFIX):
                warnings.warn(f"{variable} is not a setting{_suggestion(variable, _KNOWN)}", stacklevel=2)
        forget_other_place(taken)
    for name, value in (arguments or {}).items():
        if name not in _PARSERS:
            raise RecoveryConfigError(f"{name!r} is not a setting{_suggestion(name, _PARSERS)}")
        take(name, value, name)
    forget_other_place(arguments or {})
    return RecoveryConfig(**values, sources=sources)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecoveryConfigError(f"{_FILE_VARIABLE}={str(path)!r} cannot be read: {error}") from None
    table = content.get("recovery")
    if not isinstance(table, dict):
        raise RecoveryConfigError(f"{_FILE_VARIABLE}={str(path)!r} has no table [recovery]")
    return table


def _suggestion(name: str, known: Any) -> str:
    nearest = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


assert {item.name for item in fields(RecoveryConfig)} == {*_PARSERS, "sources"}
