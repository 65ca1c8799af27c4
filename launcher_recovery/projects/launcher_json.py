"""Reads launcher.json, the format of ComfyUI Launcher's imports and exports.

    {"format": "comfyui_launcher", "workflow_json": {…},
     "snapshot_json": {"comfyui": commit, "git_custom_nodes": {url: {"hash": commit, "disabled": bool}}},
     "files": [[{"download_url", "dest_relative_path", "sha256_checksum"}, …], …],
     "pip_requirements"?: [line or {"_key": name, "_version": version}, …]}

Of an entry of `files` any one will do. All paths are below ComfyUI's folder, whose `models` is the folder of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NoReturn

from launcher_recovery import requirement_lines
from launcher_recovery.errors import RefusedError
from launcher_recovery.plans import MODELS, Model, Plan, Repository
from launcher_recovery.redaction import redact_url

FORMAT = "comfyui_launcher"
COMFYUI_URL = "https://github.com/comfyanonymous/ComfyUI.git"


def read_launcher_json(
    launcher_json: Mapping[str, Any] | None,
    *,
    comfyui_url: str = COMFYUI_URL,
    default_nodes: Sequence[Repository] = (),
    ignored: Sequence[str] = (),
    models_prefix: str = f"{MODELS}/",
    with_workflow: bool = True,
) -> Plan:
    """What an import asks for.

    Addresses of one entry for the same file are its mirrors; other files of it do as well (`Model.otherwise`). Entries
    for the same file are one; what cannot be beside another entry is not in the plan (`left_of`). A file that has no
    address has "".

    Args:
        launcher_json: None: ComfyUI and `default_nodes`, and nothing else.
        comfyui_url: where ComfyUI is.
        default_nodes: come before those of the import.
        ignored: nodes of the import are left out whose address has one of these in it.
        models_prefix: what the paths of models begin with; all other files go below ComfyUI's folder as they are.
        with_workflow: whether the workflow is part of the plan.

    Raises:
        RefusedError: a member is missing, or is not what it has to be; the message names it.
    """
    comfyui = Repository(comfyui_url, "comfyui")
    if launcher_json is None:
        return Plan(comfyui=comfyui, nodes=tuple(default_nodes))
    workflow = _member(launcher_json, "workflow_json", "", Mapping if with_workflow else object)
    snapshot = _member(launcher_json, "snapshot_json", "", Mapping)
    commit = _member(snapshot, "comfyui", "snapshot_json.", str, type(None))
    nodes = _member(snapshot, "git_custom_nodes", "snapshot_json.", Mapping)
    files = _Files(_member(launcher_json, "files", "", list), models_prefix)
    return Plan(
        comfyui=replace(comfyui, ref=commit or None),
        nodes=(*default_nodes, *_nodes(nodes, ignored)),
        models=files.models,
        workflow=workflow if with_workflow else None,
        requirements=tuple(_requirements(launcher_json.get("pip_requirements"))),
        files=files.others,
    )


def left_of(launcher_json: Mapping[str, Any] | None, *, models_prefix: str = f"{MODELS}/") -> tuple[Model, ...]:
    """The files that are not in the plan of `read_launcher_json`, with their paths below ComfyUI's folder.

    Their places are those of other files, with other checksums, that come before them in the import or are the first
    choice of their entries.

    Raises:
        RefusedError: a member is missing, or is not what it has to be.
    """
    if launcher_json is None:
        return ()
    return _Files(_member(launcher_json, "files", "", list), models_prefix).left


# -- nodes and packages -------------------------------------------------------------------------------


def _nodes(given: Mapping[str, Any], ignored: Sequence[str]) -> Iterable[Repository]:
    for url, about in given.items():
        if any(part in url for part in ignored):
            continue
        where = f"snapshot_json.git_custom_nodes[{redact_url(url)!r}]"
        if not isinstance(about, Mapping):
            _refuse(where, about, (Mapping,))
        ref = _member(about, "hash", f"{where}.", str, type(None))
        if not _member(about, "disabled", f"{where}.", object):
            # As the launcher names them, so that it finds them there.
            yield Repository(url, url.split("/")[-1].replace(".git", ""), ref or None)


def _requirements(given: Any) -> Iterable[str]:
    if not isinstance(given, (list, type(None))):
        _refuse("pip_requirements", given, (list,))
    for number, one in enumerate(given or ()):
        where = f"pip_requirements[{number}]"
        if isinstance(one, Mapping):
            name = _member(one, "_key", f"{where}.", str)
            version = _member(one, "_version", f"{where}.", str, int, float)
            yield f"{name}=={version}"
        elif not isinstance(one, str):
            _refuse(where, one, (str, Mapping))
        elif not requirement_lines.is_blank(one):
            yield one.strip()


# -- files --------------------------------------------------------------------------------------------


class _Files:
    """Files by where they go.

    Args:
        given: the entries.
        prefix: what the paths of models begin with.
    """

    def __init__(self, given: Sequence[Any], prefix: str) -> None:
        self._prefix = prefix
        self._taken: dict[str, tuple[int, str | None]] = {}  # by place, the number of the entry, and the checksum
        models, others = [], []
        self.left: tuple[Model, ...] = ()
        for first, *rest in self._sorted([_entry(one, f"files[{number}]") for number, one in enumerate(given)]):
            if all(one.path.startswith(prefix) for one in (first, *rest)):
                first, *rest = (replace(one, path=one.path.removeprefix(prefix)) for one in (first, *rest))
                models.append(replace(first, otherwise=tuple(rest)))
            else:
                first, *rest = map(self._below_comfyui, (first, *rest))
                others.append(replace(first, otherwise=tuple(rest)))
        self.models, self.others = tuple(models), tuple(others)

    def _sorted(self, entries: Sequence[list[Model]]) -> list[list[Model]]:
        """The entries without doubles, and without what cannot come to its place beside them; that is `left`."""
        found: dict[int, list[Model]] = {}
        left: list[Model] = []
        # What is wanted first has its place before what only does as well.
        for number, entry in enumerate(entries):
            for first in entry[:1]:
                owner, sha256 = self._taken.setdefault(first.path, (number, first.sha256))
                if owner == number:
                    found[number] = [first]
                elif sha256 == first.sha256:
                    found[owner][0] = _merged(found[owner][0], first)
                    entries[owner].extend(entry[1:])
                else:
                    left.append(first)
        for number, kept in found.items():
            for other in entries[number][1:]:
                owner, sha256 = self._taken.setdefault(other.path, (number, other.sha256))
                (kept if number == owner or sha256 == other.sha256 else left).append(other)
        self.left = tuple(left)
        return list(found.values())

    def _below_comfyui(self, file: Model) -> Model:
        """With the folder of models as a plan names it."""
        is_model = file.path.startswith(self._prefix)
        return replace(file, path=f"{MODELS}/{file.path.removeprefix(self._prefix)}") if is_model else file


def _entry(given: Any, where: str) -> list[Model]:
    """The files of an entry, those without an address only if there are no others."""
    if not isinstance(given, list):
        _refuse(where, given, (list,))
    found: dict[tuple[str, str | None], Model] = {}
    for number, one in enumerate(given):
        file = _file(one, f"{where}[{number}]")
        known = found.get((file.path, file.sha256))
        found[file.path, file.sha256] = file if known is None else _merged(known, file)
    return [file for file in found.values() if file.url] or list(found.values())


def _file(given: Any, where: str) -> Model:
    if not isinstance(given, Mapping):
        _refuse(where, given, (Mapping,))
    url = _member(given, "download_url", f"{where}.", str, type(None))
    path = _member(given, "dest_relative_path", f"{where}.", str).replace("\\", "/")
    sha256 = _member(given, "sha256_checksum", f"{where}.", str).strip().lower()
    # A slash at the end stays, to be refused: it is no file.
    return Model(url or "", PurePosixPath(path).as_posix() if not path.endswith("/") else path, sha256 or None)


def _merged(one: Model, other: Model) -> Model:
    """One file, at the addresses of both."""
    first, *others = [url for url in dict.fromkeys((one.url, *one.mirrors, other.url, *other.mirrors)) if url] or [""]
    return replace(one, url=first, mirrors=tuple(others))


# -- members ------------------------------------------------------------------------------------------

_WORDS = {Mapping: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}


def _member(given: Mapping[str, Any], name: str, above: str, *kinds: Any) -> Any:
    """A member of one of these kinds.

    Args:
        above: where it is, for messages.
    """
    if name not in given:
        raise RefusedError(f"the launcher.json has no {above}{name}, which has to be there")
    value = given[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and not {bool, object} & set(kinds)):
        _refuse(f"{above}{name}", value, kinds)
    return value


def _refuse(where: str, value: Any, kinds: Iterable[Any]) -> NoReturn:
    expected = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
    raise RefusedError(f"{where} of the launcher.json is {value!r:.80}, but has to be {expected}")
