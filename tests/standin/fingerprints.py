"""`python -m tests.standin.fingerprints SERVER…`: what the functions of hosts look like, as join points are given it.

Each SERVER is the folder `server` of a checkout; of several, as of several versions, a function has all that differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from launcher_recovery.joinpoints import Fingerprint
from launcher_recovery.weave.fingerprints import fingerprints_in

MODULES = ("utils", "tasks", "server")


def of_hosts(servers: Iterable[Path]) -> dict[tuple[str, str], list[Fingerprint]]:
    """By module and function, what it looks like in the hosts that have it, in their order and without doubles.

    Raises:
        OSError, SyntaxError: a module of a host cannot be read.
    """
    found: dict[tuple[str, str], list[Fingerprint]] = {}
    for server in servers:
        for module in MODULES:
            for function, fingerprint in fingerprints_in(server / f"{module}.py").items():
                known = found.setdefault((module, function), [])
                if fingerprint not in known:
                    known.append(fingerprint)
    return found


def as_source(found: dict[tuple[str, str], list[Fingerprint]]) -> str:
    """A line of Python for each function, by module."""
    lines = []
    for (module, function), fingerprints in found.items():
        if "." not in function:
            told = "".join(f"{_expression(fingerprint)}, " for fingerprint in fingerprints)
            lines.append(f'("{module}", "{function}"): ({told.rstrip()}),\n')
    return "".join(lines)


def _expression(fingerprint: Fingerprint) -> str:
    names = ", ".join(f'"{name}"' for name in fingerprint.parameters)
    return f'Fingerprint(({names}{"," if len(fingerprint.parameters) == 1 else ""}), "{fingerprint.code}")'


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers", metavar="SERVER", nargs="+", type=Path)
    print(as_source(of_hosts(parser.parse_args(arguments).servers)), end="")


if __name__ == "__main__":
    main()
