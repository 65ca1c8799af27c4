"""Which node types are installed, read from the source of ComfyUI and of custom nodes without running any of it.

What was read of a file is kept for the next check, as long as the file does not change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from launcher_recovery.workflows.builtin_types import BUILT_IN
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.signatures import Signature, Signatures, signatures_of
from launcher_recovery.workflows.source_code import Declared, declared_in_page, declared_in_python
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
        signatures: what its types give and take; None of those that cannot be known.
    """

    name: str
    types: set[str] = field(default_factory=set)
    is_opaque: bool = False
    names: set[str] = field(default_factory=set)
    signatures: dict[str, Signature | None] = field(default_factory=dict)


@dataclass
class Installed:
    """What is installed.

    Args:
        packages: custom nodes.
        core: types of ComfyUI itself; empty when it could not be looked at.
        signatures: what all of them give and take, as far as it is known.
    """

    packages: list[Package] = field(default_factory=list)
    core: set[str] = field(default_factory=set)
    signatures: Signatures = field(default_factory=Signatures)

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


def installed_nodes(
    folders: Iterable[os.PathLike[str]],
    limits: Limits,
    check: Callable[[], object],
    comfyui: os.PathLike[str] | str | None = None,
) -> Installed:
    """Look at folders such as `custom_nodes`, and at the ComfyUI they are in.

    Args:
        check: called for each file; may raise, to end it.
        comfyui: the folder of a ComfyUI, wherever the others are.
    """
    packages: list[Package] = []
    core: list[Declared] = []
    left = [limits.source_files]
    places = list(map(Path, folders))
    roots = [*([] if comfyui is None else [Path(comfyui)]), *(folder.parent for folder in places)]
    for root in dict.fromkeys(roots):
        core += _core(root, left, check)
    types = {name: kind for file in core for name, kind in file.classes.types.items()}
    for folder in dict.fromkeys(places):
        for entry in _entries(folder):
            is_off = entry.name.startswith(".") or entry.name.endswith(".disabled") or entry.name in _LEFT_OUT
            if is_off or not (entry.is_dir() or entry.name.endswith(".py")):
                continue
            package = Package(entry.name, names={package_key(entry.name.removesuffix(".py"))})
            if entry.is_dir():
                package.names |= set(_names(Path(entry.path)))
            found = _declared_below(_sources(entry.path, left) if entry.is_dir() else [entry.path], check)
            package.types |= _types(found)
            package.is_opaque = any(file.is_opaque for file in found)
            package.signatures = signatures_of(found, types)
            packages.append(package)
    told = signatures_of((file for file in core if file.classes.is_certain), types)
    known = {name: signature for name, signature in told.items() if signature is not None}
    return Installed(packages, _types(core), Signatures(known, (package.signatures for package in packages)))


def package_key(name: str) -> str:
    """What addresses of one repository have in common, and different ways to write one id."""
    text = re.sub(r"^git@([^:]+):", r"\1/", name.strip().lower())
    text = re.sub(r"^[a-z+]+://([^@/]*@)?(www\.)?", "", text)
    return text.rstrip("/").removesuffix(".git").replace("_", "-")


def _last(url: str) -> str:
    return package_key(url).rpartition("/")[2]


def _core(root: Path, left: list[int], check: Callable[[], object]) -> list[Declared]:
    """What the source of the ComfyUI in a folder declares; nothing when there is no ComfyUI."""
    first = _declared(str(root / "nodes.py"))
    if "KSampler" not in first.types:
        return []
    folders = ("comfy_extras", "comfy_api_nodes", "comfy_api")
    files = (file for folder in folders for file in _sources(str(root / folder), left))
    return [first, *_declared_below(files, check)]


def _declared_below(files: Iterable[str], check: Callable[[], object]) -> list[Declared]:
    found = []
    for file in files:
        check()
        found.append(_declared(file))
    return found


def _types(files: Iterable[Declared]) -> set[str]:
    return {node_type for file in files for node_type in file.types}


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


def _declared(path: str) -> Declared:
    try:
        status = os.stat(path)
    except OSError:
        return Declared()
    return _read(path, status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=20_000)  # as many as one check reads; of most there is nothing to keep
def _read(path: str, number: int, changed_at: int, size: int) -> Declared:
    """What a file declares; asked for again only when it is another one, or was changed."""
    if size > _LARGEST:
        return Declared(is_opaque=True)
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST)
    except OSError:
        return Declared()
    return declared_in_python(data) if path.endswith(".py") else Declared(declared_in_page(data))


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
