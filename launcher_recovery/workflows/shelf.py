"""The model files that are there, found by name, by case and by content; a name of a workflow is never opened."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.loaders import ALIASES, SUFFIXES, main_folder
from launcher_recovery.workflows.model_paths import ModelFolder
from launcher_recovery.workflows.names import base, key
from launcher_recovery.workflows.sources import ModelSource

_DEEPEST = 20
_MOST_TIMES = 8  # that one folder is looked at: links to it from several places are usual, but not without end
_BLOCK = 1 << 20
_SUFFIXES = (*SUFFIXES, ".yaml", ".yml", ".json")


@dataclass(frozen=True)
class ModelFile:
    """One file.

    Args:
        path: where it is.
        place: its path below the folder of models, with `/`.
    """

    path: str
    place: str

    @property
    def folder(self) -> str:
        """The folder of models that it is in, such as "loras"; "" directly in the root."""
        return self.place.partition("/")[0] if "/" in self.place else ""

    @cached_property
    def size(self) -> int:
        """Bytes; -1 when it cannot be looked at."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return -1


class Shelf:
    """All model files below some folders.

    Args:
        roots: folders of models, as ComfyUI's `models`; the first one with a file wins.
        check: called between blocks that are read; may raise, to end it.
        extra: further folders; those that are the default go before the roots, the others after them.
    """

    def __init__(
        self,
        roots: Sequence[os.PathLike[str]],
        limits: Limits,
        check: Callable[[], object],
        extra: Sequence[ModelFolder] = (),
    ) -> None:
        self._limits = limits
        self._check = check
        self._left = limits.hash_bytes
        self._hashes: dict[tuple[str, str], str | None] = {}
        self.skipped: set[str] = set()
        self.files: list[ModelFile] = []
        self._by_base: dict[str, list[ModelFile]] = defaultdict(list)
        self._by_place: dict[str, list[ModelFile]] = defaultdict(list)
        known: set[ModelFile] = set()
        for root, place in (
            *((one.path, one.folder) for one in extra if one.is_default),
            *((os.fspath(root), "") for root in roots),
            *((one.path, one.folder) for one in extra if not one.is_default),
        ):
            for file in _files(root, place, limits, check):
                if len(self.files) >= limits.models:
                    break
                if file not in known:  # folders are often listed that are there anyway
                    known.add(file)
                    self._add(file)

    def _add(self, file: ModelFile) -> None:
        self.files.append(file)
        self._by_base[key(base(file.place))].append(file)
        self._by_place[key(file.place)].append(file)

    def at(self, folder: str, name: str) -> list[ModelFile]:
        """Files of that tidy name in a folder, in any case; those of exactly that name first."""
        found = [
            (file.place != f"{part}/{name}", file)
            for part in ALIASES.get(folder, (folder,))
            for file in self._by_place.get(key(f"{part}/{name}"), ())
        ]
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def named(self, name: str) -> list[ModelFile]:
        """Files anywhere whose last part is that of a tidy name, in any case."""
        return self._by_base.get(key(base(name)), [])

    def name_in(self, folder: str, file: ModelFile) -> str | None:
        """How a node that reads `folder` names a file; None: it does not see it."""
        for part in ALIASES.get(folder, (folder,)):
            if file.place.startswith(f"{part}/"):
                return file.place[len(part) + 1 :]
        return None

    # -- by content -----------------------------------------------------------------------------------

    def has_content(self, file: ModelFile, source: ModelSource) -> bool | None:
        """Whether a file is what a source tells of; None: that cannot be said, or was not looked at."""
        if source.size is not None and file.size != source.size:
            return False
        if source.checksum is None:
            return None
        algorithm = "sha256" if source.algorithm == "autov2" else source.algorithm
        found = self._hash(file, algorithm)
        return None if found is None else found.startswith(source.checksum)

    def like(self, source: ModelSource, folder: str | None) -> Iterator[ModelFile]:
        """Files that may be what a source tells of under another name: of the same kind and size."""
        if source.checksum is None:
            return
        suffix = os.path.splitext(source.name.lower())[1]
        same = [file for file in self.files if file.place.lower().endswith(suffix)]
        # Those where the node looks first; then the small ones, of which more can be read.
        same.sort(key=lambda file: (folder is None or main_folder(file.folder) != folder, file.size))
        for file in same:
            if source.size is None or file.size == source.size:
                yield file

    def _hash(self, file: ModelFile, algorithm: str) -> str | None:
        known = (file.path, algorithm)
        if known not in self._hashes:
            if file.size < 0:
                return None
            if file.size > self._left:
                self.skipped.add(file.path)
                return None
            self._left -= file.size
            self._hashes[known] = self._read(file, algorithm)
        return self._hashes[known]

    def _read(self, file: ModelFile, algorithm: str) -> str | None:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        left = file.size
        try:
            with open(file.path, "rb") as opened:
                while left > 0 and (block := opened.read(min(_BLOCK, left))):
                    self._check()
                    digest.update(block)
                    left -= len(block)
        except OSError:
            return None
        return digest.hexdigest()


def _files(root: str, place: str, limits: Limits, check: Callable[[], object]) -> Iterator[ModelFile]:
    """Files below a folder; links are followed, as ComfyUI does, but not into what they are in.

    Args:
        place: of the folder itself.
    """
    times: Counter[tuple[int, int]] = Counter()
    waiting: list[tuple[str, str, tuple[tuple[int, int], ...]]] = [(os.path.abspath(root), place, ())]
    left = limits.models * 5  # of everything, should it be no folder of models
    while waiting and left > 0:
        folder, place, above = waiting.pop()
        check()
        try:
            status = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        own = (status.st_dev, status.st_ino)
        if own in above or times[own] >= _MOST_TIMES:
            continue
        times[own] += 1
        left -= len(entries)
        inner = []
        for entry in entries:
            where = f"{place}/{entry.name}" if place else entry.name
            try:
                if entry.is_dir():
                    if len(above) < _DEEPEST and entry.name != ".git":
                        inner.append((entry.path, where, (*above, own)))
                elif entry.is_file() and entry.name.lower().endswith(_SUFFIXES):
                    yield ModelFile(entry.path, where)
            except OSError:
                continue
        waiting.extend(reversed(inner))
