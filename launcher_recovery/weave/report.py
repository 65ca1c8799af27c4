"""What `launcher-recovery doctor` tells: the settings, the store, the processes that run, and what needs a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from launcher_recovery.clock import Clock
from launcher_recovery.config import RecoveryConfig, load_config
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.joinpoints import Host
from launcher_recovery.owners import is_alive
from launcher_recovery.persistence.base import OwnerRow, Store
from launcher_recovery.persistence.file import default_path
from launcher_recovery.persistence.opening import open_store
from launcher_recovery.redaction import Redactor
from launcher_recovery.weave.hosts import known_hosts
from launcher_recovery.weave.processes import Running, running, unwoven
from launcher_recovery.weave.standing import LIVE, OFF, About, about_of


@dataclass(frozen=True)
class Process:
    """A process that runs: one that is entered in the store, or one of a known launcher that is not.

    Args:
        pid: its id, on `machine` ("": this one).
        is_woven: whether recovery is woven into it.
        hosts: which launchers it is of.
        live, off: its join points; of those that are off, with the reason.
        seen_s: seconds since it was last heard of; None: it does not tell.
    """

    pid: int
    machine: str
    role: str
    argv: tuple[str, ...]
    is_woven: bool
    hosts: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    off: dict[str, str] = field(default_factory=dict)
    seen_s: float | None = None


@dataclass
class Report:
    """All of it; `problems` are sentences, the most important first.

    Args:
        enabled: whether settings say that recovery attaches to a launcher.
        settings: by name, each with its value and where it came from; those that are not the defaults.
        store: where the state is kept, and whether that works.
        hosts: names of the launchers that can be woven into.
        elsewhere: launchers on this machine that have nothing to do with this one, as sentences.
    """

    enabled: bool = False
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def examine(proc: Path = Path("/proc")) -> Report:
    """Look at this installation and this machine; never raises, and makes no database where there is none."""
    report = Report()
    try:
        config = load_config()
    except RecoveryConfigError as error:
        report.problems.append(f"Recovery is off, because a setting cannot be used: {error}")
        return report
    report.enabled = config.enabled
    report.settings = _settings(config)
    hosts = _hosts(report)
    rows = _look_at_store(config, report)
    now = time.time()
    woven: set[int] = set()
    for row in rows:
        if is_alive(row, now):
            process = _process(row, about_of(row.owner.about), now)
            report.processes.append(process)
            if process.is_woven:
                woven.add(process.pid)
                report.problems.extend(_problems(process, about_of(row.owner.about)))
    found = running(hosts, proc)
    folders = {process.folder.resolve() for process in found if process.pid in woven} | {Path.cwd()}
    for other in unwoven(found, woven):
        _add_unwoven(report, other, is_ours=other.folder.resolve() in folders)
    return report


def _settings(config: RecoveryConfig) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for item in fields(config):
        if item.name != "sources" and config.is_explicit(item.name):
            value = getattr(config, item.name) if item.repr else "***"
            shown = value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
            found[item.name] = {"value": shown, "source": config.sources.get(item.name, "default")}
    return found


def _hosts(report: Report) -> list[Host]:
    try:
        hosts, problems = known_hosts()
    except Exception as error:  # an extension's
        report.problems.append(f"The launchers that can be woven into are not known: {error}")
        return []
    report.hosts = [host.name for host in hosts]
    report.problems.extend(problems)
    return hosts


def _look_at_store(config: RecoveryConfig, report: Report) -> Sequence[OwnerRow]:
    """Check the store; gives the rows of its owners."""
    if not config.persistence_enabled:
        report.store = {"where": "memory", "is_there": True, "problem": None}
        return []
    path = None if config.database_url else Path(config.persistence_path or default_path())
    report.store = {"where": "a database server" if path is None else str(path), "is_there": True, "problem": None}
    if path is not None and not path.exists():
        report.store["is_there"] = False  # nothing has run yet
        return []
    said: list[str] = []
    store: Store | None = None
    try:
        store = open_store(config, Clock(), lambda _, sentence: said.append(sentence))
        if not said:
            store.check()
        rows = store.owners()
    except Exception as error:  # of a database
        said.append(str(error) or type(error).__name__)
        rows = []
    finally:
        if store is not None:
            store.close()
    if said:
        report.store["problem"] = Redactor().text(said[0])
        report.problems.append(report.store["problem"])
    return rows


def _process(row: OwnerRow, about: About | None, now: float) -> Process:
    owner, seen = row.owner, round(max(0.0, now - row.heartbeat_at), 1)
    machine = owner.host.partition("pid:[")[0]
    if about is None:
        return Process(owner.pid, machine, "recovery", (), False, seen_s=seen)
    return Process(
        owner.pid,
        machine,
        about.role,
        about.argv,
        True,
        hosts=about.hosts,
        live=tuple(standing.point for standing in about.standings if standing.state == LIVE),
        off={standing.point: standing.reason for standing in about.standings if standing.state == OFF},
        seen_s=seen,
    )


def _problems(process: Process, about: About | None) -> list[str]:
    standings = () if about is None else about.standings
    return [f"In process {process.pid}, {standing.problem}" for standing in standings if standing.problem]


def _add_unwoven(report: Report, other: Running, is_ours: bool) -> None:
    """Add a process without recovery: of a launcher that others are woven into, or of the current folder; or of one
    that may be meant to run without."""
    argv: list[str] = Redactor().value(list(other.argv))
    command = " ".join(argv)[:120]
    if not is_ours:
        report.elsewhere.append(
            f"Process {other.pid} of {other.host} in {other.folder} ({command}) runs without recovery, or keeps its "
            "state in another place"
        )
        return
    role = "worker" if "worker" in other.argv else "launcher"
    report.processes.append(Process(other.pid, "", role, tuple(argv), False, hosts=(other.host,)))
    report.problems.append(
        f"Process {other.pid} of {other.host} ({command}) runs without recovery, or keeps its state in another place: "
        "start it with launcher-recovery run -- in front, and with the same settings"
    )
