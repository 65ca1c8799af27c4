"""An extension for the stand-in: the join points of the ComfyUI Launcher, with what its functions look like there.

The package knows the functions of the real launcher by their code; those of the stand-in do the same with another one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave.fingerprints import fingerprints_in
from launcher_recovery.weave.hosts import BUILTIN

NAME = "ComfyUI Launcher"
SERVER = Path(__file__).resolve().parents[1] / "host" / "server"


@hookimpl
def recovery_join_points() -> list[Host]:
    """The launcher's, before the package's own of the same name."""
    return [_for_the_stand_in(host) for host in BUILTIN if host.name == NAME]


def _for_the_stand_in(host: Host) -> Host:
    return replace(host, join_points=tuple(map(_known, host.join_points)))


def _known(point: JoinPoint) -> JoinPoint:
    path = SERVER.joinpath(*point.module.split(".")).with_suffix(".py")
    found = fingerprints_in(path) if path.exists() else {}
    # One that the stand-in lacks stays as it is, and is off.
    return replace(point, fingerprints=(found[point.function],)) if point.function in found else point
