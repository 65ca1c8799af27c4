"""Which node types are installed, read from the source of ComfyUI and of custom nodes without running any of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from launcher_recovery.workflows.builtin_types import BUILT_IN
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.source_code import declared_in_page, declared_in_python
from launcher_recovery.workflows.sources import NodeSource

_LARGEST = 4 << 20
_DEEPEST = 8
_LEFT_OUT = frozenset({"__pycache__", ".git", "node_modules", "venv", ".venv", "site-packages", "tests", "test"})
_REMOTE = re.compile(r"^\s*url\s*=\s*(\S+)", re.MULTILINE)
_PROJECT_NAME = re.compile(r"^\s*name\s*=\s*[\"']([^\"']{1,200})[\"']", re.MULTILINE)


@dataclass
class Package:
    """One folder, or file, of custom nodes.

    Args:
        name: of the folder.
        types: that it surely provides.
        is_opaque: whether it may provide others, which only running it would tell.
        names: what it goes by: its repository, its id, its folder.
    """

    name: str
    types: set[str] = field(default_factory=set)
    is_opaque: bool = False
    names: set[str] = field(default_factory=set)


@dataclass
class Installed:
    """What is installed.

    Args:
        packages: custom nodes.
        core: types of ComfyUI itself; empty when it could not be looked at.
    """

    packages: list[Package] = field(default_factory=list)
    core: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._types = {*BUILT_IN, *self.core, *(kind for package in self.packages for kind in package.types)}
        self._names = {name for package in self.packages for name in package.names}

    @property
    def opaque(self) -> list[str]:
        """Names of packages of which not everything is known."""
        return [package.name for package in self.packages if package.is_opaque]

    def has(self, node_type: str) -> bool:
        """Whether a type is surely there."""
        return node_type in self._types

    def has_package(self, source: NodeSource) -> bool:
        """Whether a package is there, by the address of its repository, its id or its folder."""
        names = {package_key(source.url), _last(source.url)} if source.url else set()
        return bool((names | ({package_key(source.id)} if source.id else set())) & self._names)


def installed_nodes(folders: Iterable[os.PathLike[str]], limits: Limits, check: Callable[[], object]) -> Installed:
    """Look at folders such as `custom_nodes`, and at the ComfyUI they are in.

    Args:
        check: called for each file; may raise, to end it.
    """
    packages: list[Package] = []
    core: set[str] = set()
    left = [limits.source_files]
    for folder in map(Path, folders):
        core |= _core(folder.parent, left, check)
        for entry in _entries(folder):
            is_off = entry.name.startswith(".") or entry.name.endswith(".disabled") or entry.name in _LEFT_OUT
            if is_off or not (entry.is_dir() or entry.name.endswith(".py")):
                continue
            package = Package(entry.name, names={package_key(entry.name.removesuffix(".py"))})
            if entry.is_dir():
                package.names |= set(_names(Path(entry.path)))
            for file in _sources(entry.path, left) if entry.is_dir() else [entry.path]:
                check()
                types, is_opaque = _declared(file)
                package.types |= types
                package.is_opaque |= is_opaque
            packages.append(package)
    return Installed(packages, core)


def package_key(name: str) -> str:
    """What addresses of one repository have in common, and different ways to write one id."""
    text = re.sub(r"^git@([^:]+):", r"\1/", name.strip().lower())
    text = re.sub(r"^[a-z+]+://([^@/]*@)?(www\.)?", "", text)
    return text.rstrip("/").removesuffix(".git").replace("_", "-")


def _last(url: str) -> str:
    return package_key(url).rpartition("/")[2]


def _core(root: Path, left: list[int], check: Callable[[], object]) -> set[str]:
    """Types of the ComfyUI in a folder; none when there is no ComfyUI."""
    found, _ = _declared(str(root / "nodes.py"))
    if "KSampler" not in found:
        return set()
    for folder in ("comfy_extras", "comfy_api_nodes"):
        for file in _sources(str(root / folder), left):
            check()
            found |= _declared(file)[0]
    return found


def _entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _sources(folder: str, left: list[int], depth: int = 0) -> Iterator[str]:
    """Files with source below a folder, as long as some are left to be read."""
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=depth == 0):
            if depth < _DEEPEST and entry.name not in _LEFT_OUT:
                yield from _sources(entry.path, left, depth + 1)
        elif entry.name.endswith((".py", ".js", ".mjs")):
            left[0] -= 1
            if left[0] < 0:
                return
            yield entry.path


def _declared(path: str) -> tuple[set[str], bool]:
    try:
        if os.path.getsize(path) > _LARGEST:
            return set(), True
        data = Path(path).read_bytes()
    except OSError:
        return set(), False
    return declared_in_python(data) if path.endswith(".py") else (declared_in_page(data), False)


def _names(folder: Path) -> Iterator[str]:
    """What a package goes by: where it was cloned from, and its id in the registry."""
    for file, pattern in ((folder / ".git" / "config", _REMOTE), (folder / "pyproject.toml", _PROJECT_NAME)):
        try:
            with file.open(encoding="utf-8", errors="replace") as opened:
                text = opened.read(100_000)
        except OSError:
            continue
        for found in pattern.finditer(text):
            yield package_key(found[1])
