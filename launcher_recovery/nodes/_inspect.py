"""Tells what a Python environment has and what requirement files ask of it; run by the interpreter of that environment.

    PYTHON _inspect.py [NAME=REQUIREMENTS.TXT …]

Prints a line of JSON for each thing, after a mark, since other code may print as well. It works with Python 3.8, and
reads requirements with the `packaging` that pip brings along.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]  # else the modules beside this one would stand for others of the same name

import json
from collections.abc import Iterator
from typing import Any

MARK = "launcher-recovery: "
_LONGEST = 400


def _say(kind: str, **members: object) -> None:
    print(MARK + json.dumps({"kind": kind, **members}), flush=True)


def _normal(name: str) -> str:
    """The name as PEP 503 compares it."""
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def _pip_version() -> str | None:
    try:
        import pip
    except ImportError:
        return None
    return pip.__version__


def _source(distribution: Any) -> str | None:
    """How pip is to get it again, when that is not by its version (PEP 610); as `pip freeze` writes it."""
    text = distribution.read_text("direct_url.json")
    if not text:
        return None
    about = json.loads(text)
    url = str(about["url"])
    if about.get("dir_info", {}).get("editable"):
        return "-e " + url
    version_control = about.get("vcs_info")
    if version_control:
        return f"{version_control['vcs']}+{url}@{version_control['commit_id']}"
    return url


def _half(distribution: Any) -> str | None:
    """The folder of a distribution that pip began to install and did not finish: it writes RECORD last (PEP 376)."""
    folder = str(getattr(distribution, "_path", ""))
    is_half = folder.endswith(".dist-info") and distribution.read_text("RECORD") is None
    return folder if is_half else None


def _packages() -> dict[str, str]:
    from importlib import metadata

    known = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if not name or not version or _normal(name) in known:
            continue  # what lies further back in the path is hidden
        known[_normal(name)] = version
        try:
            source = _source(distribution)
        except (OSError, ValueError, KeyError, TypeError):
            source = None
        _say("package", name=_normal(name), version=version, source=source, half=_half(distribution))
    return known


def _lines(path: str, depth: int = 0) -> Iterator[str]:
    """Requirements of a file and of those that it includes, without options and comments."""
    if depth > 5:
        return
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        text = file.read(1 << 20)
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if " #" in line:
            line = line.split(" #")[0].strip()
        if line.startswith(("-r ", "--requirement ", "--requirement=")):
            other = line.replace("=", " ", 1).split(None, 1)[1]
            try:
                yield from _lines(os.path.join(os.path.dirname(path), other), depth + 1)
            except OSError:
                continue
        elif line and not line.startswith(("#", "-")):
            yield line.split(" --")[0].strip()


def _asks(node: str, path: str, known: dict[str, str]) -> None:
    # Of a package that is only named nothing is told. To load what reads the others takes as long as all the rest.
    lines = [line for line in _lines(path) if any(mark in line for mark in "<>=!~")]
    if not lines:
        return
    try:
        from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        return
    for line in lines:
        try:
            asked = Requirement(line)
            applies = asked.marker is None or asked.marker.evaluate({"extra": ""})
        except (InvalidRequirement, ValueError, KeyError):
            continue  # pip says what is wrong with it
        if applies and str(asked.specifier):
            have = known.get(_normal(asked.name))
            satisfied = have is None or asked.specifier.contains(have, prereleases=True)
            wants = str(asked.name) + str(asked.specifier)
            _say("ask", node=node, name=_normal(asked.name), wants=wants[:_LONGEST], satisfied=satisfied)


def main(words: list[str]) -> None:
    """Tell everything."""
    import sysconfig

    _say("python", pip=_pip_version(), packages=sysconfig.get_paths()["purelib"])
    known = _packages()
    for word in words:
        node, _, path = word.partition("=")
        try:
            _asks(node, path, known)
        except OSError:
            continue


if __name__ == "__main__":
    main(sys.argv[1:])
