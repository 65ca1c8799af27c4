"""Decides where each model that is named is, and what can be done when it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.limits import Limits
from launcher_recovery.workflows.loaders import DOWNLOAD_THEMSELVES
from launcher_recovery.workflows.names import base, is_absolute, is_generic, key, tidy, written
from launcher_recovery.workflows.problems import Change, Fix, Severity
from launcher_recovery.workflows.references import ModelUse
from launcher_recovery.workflows.shelf import ModelFile, Shelf
from launcher_recovery.workflows.sources import Lookups, ModelSource

_EMBEDDING_SUFFIXES = ("", ".safetensors", ".pt", ".bin")  # in the order in which ComfyUI tries them


@dataclass(frozen=True)
class Model:
    """A model that the workflow needs.

    Args:
        name: as it is written.
        folder: where it is looked for; None: not known.
        state: "present", "written_otherwise", "moved", "renamed", "elsewhere" or "missing"; None: not looked at.
        path: of the file that was found.
        nodes: ids of the nodes that name it.
        sources: where it can be downloaded.
    """

    name: str
    folder: str | None
    state: str | None = None
    path: str | None = None
    nodes: tuple[str | int, ...] = ()
    sources: tuple[ModelSource, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        sources = [
            {name: value for name, value in vars(source).items() if value is not None} for source in self.sources
        ]
        return {**vars(self), "nodes": list(self.nodes), "sources": sources}


class _Found(NamedTuple):
    state: str
    file: ModelFile | None = None
    name: str = ""  # how the node has to name it; empty: the node does not see it
    safe: bool = False


class Matcher:
    """Matches names with the files that are there.

    Args:
        shelf: the files; None: names are gathered, and not looked for.
        windows: whether names are written with `\\`.
    """

    def __init__(
        self, shelf: Shelf | None, lookups: Lookups, findings: Findings, limits: Limits, *, windows: bool
    ) -> None:
        self._shelf = shelf
        self._lookups = lookups
        self._findings = findings
        self._limits = limits
        self._windows = windows

    def match(self, uses: Iterable[ModelUse]) -> list[Model]:
        """Look at every model once, however many nodes name it."""
        grouped: dict[tuple[str, str | None, bool], list[ModelUse]] = {}
        for use in uses:
            name = (use.name, use.folder, use.in_prompt)
            if len(grouped) >= self._limits.names and name not in grouped:
                self._findings.add("too_large", limit=self._limits.names, what="names of models")
                break
            grouped.setdefault(name, []).append(use)
        return [self._one(same) for same in grouped.values()]

    def _one(self, uses: Sequence[ModelUse]) -> Model:
        use = next((use for use in uses if use.node.is_active), uses[0])
        model = Model(use.name, use.folder, nodes=tuple(dict.fromkeys(other.node.id for other in uses)))
        if self._shelf is None:
            return model
        sources = self._sources(use)
        found = self._find(self._shelf, use, sources)
        file = found.file
        model = replace(
            model, state=found.state, path=file.path if file is not None else None, sources=tuple(_usable(sources))
        )
        if found.state != "present":
            self._report(use, uses, found, model)
        return model

    def _sources(self, use: ModelUse) -> list[ModelSource]:
        """What is known of the file: by the workflow, then by the tables."""
        name = tidy(use.name)
        answers = list(use.known)
        for suffix in _EMBEDDING_SUFFIXES if use.in_prompt else ("",):
            answers += self._lookups.model_sources(base(name) + suffix, use.folder)
        return list(dict.fromkeys(answers))

    # -- where it is ------------------------------------------------------------------------------------

    def _find(self, shelf: Shelf, use: ModelUse, sources: Sequence[ModelSource]) -> _Found:
        name = tidy(use.name)
        if use.in_prompt:
            return self._find_embedding(shelf, name)
        if use.folder is None or not use.is_certain:
            tails = [(_tail(file.place, name), file) for file in shelf.named(name)]
            there = [(tail, file) for tail, file in tails if key(tail) == key(name)]
        else:
            files = shelf.at(use.folder, name) or shelf.at(use.folder, _below(name, use.folder))
            there = [(self._name(shelf, use, file), file) for file in files]
        for seen, file in there:
            # A path from the root may be what an unknown node wants.
            if written(seen, windows=self._windows) == use.name or (not use.is_certain and is_absolute(use.name)):
                return _Found("present", file)
        if there:
            return _Found("written_otherwise", there[0][1], there[0][0], safe=True)
        return self._find_elsewhere(shelf, use, name, sources)

    def _find_embedding(self, shelf: Shelf, name: str) -> _Found:
        for suffix in _EMBEDDING_SUFFIXES:
            there = shelf.at("embeddings", name + suffix)
            if there:
                return _Found("present", there[0])
        return _Found("missing")

    def _find_elsewhere(self, shelf: Shelf, use: ModelUse, name: str, sources: Sequence[ModelSource]) -> _Found:
        """The same file in another folder, or under another name, as sure as its content is known."""
        known = [source for source in sources if source.checksum is not None or source.size is not None]
        same: list[tuple[bool, ModelFile]] = []
        for file in shelf.named(name):
            answers = [shelf.has_content(file, source) for source in known]
            if True in answers or None in answers or not answers:
                same.append((True in answers, file))
        # What is surely the same file goes first; then what the node sees.
        same.sort(key=lambda pair: (not pair[0], self._name(shelf, use, pair[1]) == "", len(pair[1].place)))
        for is_sure, file in same[:1]:
            seen = self._name(shelf, use, file)
            if not seen:
                return _Found("elsewhere", file)
            rivals = [other for _, other in same if self._name(shelf, use, other)]
            return _Found("moved", file, seen, safe=is_sure or (len(rivals) == 1 and not is_generic(name)))
        for source in known:
            for file in shelf.like(source, use.folder):
                if shelf.has_content(file, source):
                    seen = self._name(shelf, use, file)
                    return _Found("renamed" if seen else "elsewhere", file, seen, safe=True)
        return _Found("missing")

    def _name(self, shelf: Shelf, use: ModelUse, file: ModelFile) -> str:
        """How the node names a file; empty when it does not see it."""
        if use.folder is None:
            return ""
        return shelf.name_in(use.folder, file) or ""

    # -- what is said of it -----------------------------------------------------------------------------

    def _report(self, use: ModelUse, uses: Sequence[ModelUse], found: _Found, model: Model) -> None:
        details: dict[str, Any] = {"model": use.name, "place": f" in {use.folder}" if use.folder else ""}
        parameters: dict[str, Any] = {"model": use.name, "folder": use.folder}
        if found.state == "missing":
            code = "missing_embedding" if use.in_prompt else "missing_model"
            if model.sources:
                best = model.sources[0]
                parameters.update(url=best.url, destination=_destination(use, best), size=best.size)
                parameters[best.algorithm] = best.checksum
                parameters["sources"] = [source.url for source in model.sources[1:]]
            fix = Fix("download_missing_model", {name: value for name, value in parameters.items() if value})
            if DOWNLOAD_THEMSELVES.search(use.node.type) and not use.is_certain:
                details["severity"] = Severity.NOTICE
        else:
            assert found.file is not None
            details["found"] = found.file.place
            if not use.is_certain:
                details["severity"] = Severity.WARNING
            if found.name:
                code = {"written_otherwise": "model_path_style", "moved": "model_moved", "renamed": "model_renamed"}[
                    found.state
                ]
                details["found"] = new = written(found.name, windows=self._windows)
                changes = tuple(Change(other.pointer, other.name, new) for other in uses)
                fix = Fix("fix_workflow", {**parameters, "found": new}, changes, safe=found.safe)
            else:
                code, details["place"] = "model_elsewhere", use.folder or "its folder"
                to = _destination(use, None)
                at = {"found": found.file.place, "path": found.file.path, "destination": to}
                fix = Fix("use_found_model", {**parameters, **at})
        self._findings.add(code, node=use.node, pointer=use.pointer, fix=fix, **details)


def _tail(place: str, name: str) -> str:
    """As many parts of the end of a place as a name has."""
    return "/".join(place.split("/")[-1 - name.count("/") :])


def _below(name: str, folder: str | None) -> str:
    """The name below its folder; absolute paths name the folder as well."""
    return name[len(folder) + 1 :] if folder is not None and key(name).startswith(f"{key(folder)}/") else name


def _destination(use: ModelUse, source: ModelSource | None) -> str | None:
    """Where the file belongs, below the folder of models."""
    folder = use.folder or (source.folder if source is not None else None)
    name = _below(tidy(use.name), use.folder)
    if use.in_prompt and source is not None:
        name = base(source.name)
    return f"{folder}/{name}" if folder and name else None


def _usable(sources: Iterable[ModelSource]) -> list[ModelSource]:
    return [source for source in sources if source.url]
