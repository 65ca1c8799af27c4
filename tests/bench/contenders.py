"""Who downloads in the benchmark: the command of each, and what it needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_EXTRA = "pip install -e '.[bench]'"


@dataclass(frozen=True)
class Job:
    """One download.

    `certificate` is the file with the certificate to trust (None: plain HTTP), `goes_on` whether a partial lies at
    the destination already, `state` the folder in which recovery keeps its database.
    """

    url: str
    destination: Path
    sha256: str
    state: Path
    certificate: Path | None = None
    goes_on: bool = False

    @property
    def environ(self) -> dict[str, str]:
        """What commands need in their environment."""
        found = {"RECOVERY_PERSISTENCE_PATH": str(self.state / "recovery.db"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        if self.certificate is not None:
            found |= {"REQUESTS_CA_BUNDLE": str(self.certificate), "SSL_CERT_FILE": str(self.certificate)}
        return found


@dataclass(frozen=True)
class Contender:
    """Somebody who downloads.

    Args:
        name: as `--peers` and the table have it.
        label: what it does, in a few words.
        command: its command line for a job.
        programs, modules: what has to be installed.
        install: how.
        speaks_tls: whether it can do HTTPS.
        goals: by row, the largest good ratio of our time to its.
    """

    name: str
    label: str
    command: Callable[[Job], list[str]]
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    install: str = ""
    speaks_tls: bool = True
    goals: tuple[tuple[str, float], ...] = ()

    def missing(self) -> str | None:
        """What is missing, and how to install it; None when nothing is."""
        lacks = [name for name in self.programs if shutil.which(name) is None]
        lacks += [name for name in self.modules if importlib.util.find_spec(name) is None]
        if self.name == "splice" and not hasattr(os, "splice"):
            lacks.append("splice(2), which Linux has")
        if not lacks:
            return None
        return f"{', '.join(lacks)} missing" + (f" ({self.install})" if self.install else "")


def _curl(job: Job) -> list[str]:
    trusted = [] if job.certificate is None else ["--cacert", str(job.certificate)]
    on = ["-C", "-"] if job.goes_on else []
    return ["curl", "-q", "-sSf", *trusted, *on, "-o", str(job.destination), job.url]


def _and(job: Job, script: str) -> list[str]:
    """curl, and after it a line for the shell, in which $file and $sha256 are known."""
    line = f'file=$1 sha256=$2; shift 2; "$@" && {script}'
    return ["sh", "-c", line, "sh", str(job.destination), job.sha256, *_curl(job)]


def _curl_sync(job: Job) -> list[str]:
    return _and(job, 'sync "$file"')


def _curl_sha256(job: Job) -> list[str]:
    return _and(job, 'echo "$sha256  $file" | sha256sum -c --status')


def _wget(job: Job) -> list[str]:
    trusted = [] if job.certificate is None else [f"--ca-certificate={job.certificate}"]
    on = ["-c"] if job.goes_on else []
    return ["wget", "--no-config", "-q", *trusted, *on, "-O", str(job.destination), job.url]


def _aria2(connections: int) -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        trusted = [] if job.certificate is None else [f"--ca-certificate={job.certificate}"]
        on = ["--continue=true"] if job.goes_on else []
        # Its default is to write the whole file once before, which takes it twice the time.
        return [
            *("aria2c", "--no-conf=true", "-q", f"-x{connections}", f"-s{connections}", "--file-allocation=falloc"),
            *("--auto-file-renaming=false", f"--checksum=sha-256={job.sha256}"),
            *(*trusted, *on, "-d", str(job.destination.parent), "-o", job.destination.name, job.url),
        ]

    return command


def _child(name: str) -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        return [sys.executable, "-m", "tests.bench.children", name, job.url, str(job.destination), job.sha256]

    return command


OURS = Contender("ours", "launcher-recovery, sha256", _child("ours"))
_APT = "sudo apt install"

PEERS = (
    Contender("splice", "bare splice(2), nothing else", _child("splice"), speaks_tls=False, goals=(("http", 2.2),)),
    Contender(
        "curl",
        "curl, unverified, no fsync",
        _curl,
        ("curl",),
        install=f"{_APT} curl",
        goals=(("http", 1.0), ("https", 1.2)),
    ),
    Contender("curl-sync", "curl && sync FILE", _curl_sync, ("curl", "sync"), install=f"{_APT} curl coreutils"),
    Contender(
        "curl-sha256", "curl && sha256sum", _curl_sha256, ("curl", "sha256sum"), install=f"{_APT} curl coreutils"
    ),
    Contender("wget", "wget, unverified", _wget, ("wget",), install=f"{_APT} wget"),
    Contender("aria2-x1", "aria2c -x1 --checksum", _aria2(1), ("aria2c",), install=f"{_APT} aria2"),
    Contender(
        "aria2-x4",
        "aria2c -x4 --checksum",
        _aria2(4),
        ("aria2c",),
        install=f"{_APT} aria2",
        goals=(("http", 0.5), ("limited", 1.1)),
    ),
    Contender(
        "huggingface",
        "huggingface_hub + sha256",
        _child("huggingface"),
        modules=("huggingface_hub",),
        install=_EXTRA,
        goals=(("http", 0.35),),
    ),
    Contender("pypdl", "pypdl, 4 segments + sha256", _child("pypdl"), modules=("pypdl",), install=_EXTRA),
)
