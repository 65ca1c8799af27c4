"""What an import asks for: the parts of a project, as whoever reads import files gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery import requirement_lines
from launcher_recovery.errors import RefusedError

MODELS = "models"
"""The folder of ComfyUI that the folder of models stands for."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# What a project has of its own beside what is imported.
_TAKEN = ("venv", "custom_nodes", "workflow.json", "requirements.txt")
# By which our own format is known; others have files as well.
_MEMBERS = frozenset({"comfyui", "nodes", "models", "workflow", "requirements"})


@dataclass(frozen=True)
class Repository:
    """A git repository that becomes a folder.

    Args:
        url: where it is.
        name: of its folder.
        ref: branch, tag or commit; None: the default branch.
    """

    url: str
    name: str
    ref: str | None = None


@dataclass(frozen=True)
class Model:
    """A file that becomes one of the models, or one of ComfyUI's own.

    Args:
        url: where it is; "": nobody knows, so that it has to be there already, or a person or extension to know.
        path: where it is to be, below the folder of models (of ComfyUI), with "/".
        sha256: 64 hexadecimal digits, if they are known.
        size: bytes, if that is known.
        mirrors: further addresses, tried in their order when `url` fails for good.
        otherwise: other files that do as well, with paths and checksums of their own, tried in their order when this
            one cannot be had.
    """

    url: str
    path: str
    sha256: str | None = None
    size: int | None = None
    mirrors: tuple[str, ...] = ()
    otherwise: tuple[Model, ...] = ()

    @property
    def choices(self) -> tuple[Model, ...]:
        """It, and all that do as well, in their order."""
        return (self, *(choice for other in self.otherwise for choice in other.choices))


@dataclass(frozen=True)
class Plan:
    """An import.

    Args:
        comfyui: ComfyUI itself, which becomes a folder of the project; None: the project has none of its own.
        nodes: custom nodes; they go to the folder `custom_nodes` of ComfyUI, or of the project where that has none.
        models: files for the folder of models, which all projects share.
        workflow: in ComfyUI's UI or API format; None: none.
        requirements: packages, as lines of a requirements file, that are installed after the nodes into the Python
            environment of the project. They are written to its `requirements.txt`.
        files: files that go below ComfyUI's folder (the project's, where that has none), once ComfyUI and the nodes are
            there. One below `models/` goes to the folder of models.
        closing: name of the kind of operation that is done last, after the workflow, when nothing is missing; for what
            only a launcher itself does with a project. Any extension can declare such a kind (`recovery_operations`);
            it gets {"project_id", "name", "import_json", "project_folder", "models_folder"}, and its handler returns a
            value other than None. It has attempts, a verdict and buttons of its own, as every part. When the import is
            tried again after it was done, it is done again only if its `still_there` says so. None: nothing.
        model_paths: whether ComfyUI is told of the folder of models by an `extra_model_paths.yaml`; False where
            `closing` sees to that, such as by a link.
    """

    comfyui: Repository | None = None
    nodes: tuple[Repository, ...] = ()
    models: tuple[Model, ...] = ()
    workflow: Mapping[str, Any] | None = None
    requirements: tuple[str, ...] = ()
    files: tuple[Model, ...] = ()
    closing: str | None = None
    model_paths: bool = True

    def check(self) -> None:
        """Return if nothing of it lands outside of the project and the folder of models, or on top of another part, and
        pip is asked for packages alone.

        Raises:
            RefusedError: it is otherwise.
        """
        for repository in (*self.nodes, *(() if self.comfyui is None else (self.comfyui,))):
            if not _NAME.fullmatch(repository.name):
                raise RefusedError(
                    f"{repository.name!r:.100} is no name for a folder: letters, digits, dots, dashes and underscores "
                    "are allowed"
                )
        if self.comfyui is not None and self.comfyui.name in _TAKEN:
            raise RefusedError(f"ComfyUI cannot be named {self.comfyui.name!r}, which the project needs itself")
        _refuse_doubles("nodes", [node.name for node in self.nodes])
        for model in self.models:
            for choice in model.choices:
                _check_path(choice.path, "the folder of models")
        for file in self.files:
            for choice in file.choices:
                self._check_file(choice.path)
        _refuse_doubles("models", [PurePosixPath(model.path).as_posix() for model in self.models])
        _refuse_doubles("files", [PurePosixPath(file.path).as_posix() for file in self.files])
        self._refuse_one_place_for_two()
        for line in self.requirements:
            requirement_lines.check(line)

    def _check_file(self, path: str) -> None:
        _check_path(path, "ComfyUI's folder")
        parts = PurePosixPath(path).parts
        is_taken = self.comfyui is None and parts[0] in _TAKEN and parts[0] != "custom_nodes"
        if is_taken or parts in ((MODELS,), ("custom_nodes",)) or any(part.lower() == ".git" for part in parts):
            raise RefusedError(f"{path!r:.100} cannot be a file of an import: the project needs that place itself")

    def _refuse_one_place_for_two(self) -> None:
        """Of two entries, either may come to the place of the other only with the same content."""
        entries = [(f"{MODELS}/", model) for model in self.models] + [("", file) for file in self.files]
        known: dict[str, tuple[int, str]] = {}
        for number, (above, entry) in enumerate(entries):
            for choice in entry.choices:
                place = PurePosixPath(above, choice.path).as_posix()
                content = (choice.sha256 or "").lower()
                other, there = known.setdefault(place, (number, content))
                if other != number and there != content:
                    raise RefusedError(f"two different files are to be at {place!r:.100}; give one another path")


def _check_path(given: str, where: str) -> None:
    path = PurePosixPath(given)
    is_below = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    if not is_below or not given.isprintable() or re.search(r"[\\:]|/$", given):
        raise RefusedError(f"{given!r:.100} is no path below {where}, such as loras/a.pt")


def _refuse_doubles(what: str, names: Sequence[str]) -> None:
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise RefusedError(f"two {what} are named {double!r:.100}; give one another name")


def read(import_json: Any) -> Plan | None:
    """The plan of an import in the format of the launcher's hook; None: it is in another one.

    The format: {"comfyui"?: {"url", "ref"?, "name"?}, "nodes"?: [{"url", "ref"?, "name"?}], "models"?: [{"url", "path",
    "sha256"?, "size"?, "mirrors"?: [url], "otherwise"?: [another model]}], "files"?: [the same], "requirements"?:
    [line], "workflow"?: {...}}. Nothing at all, None, is an empty project. A name that is left out is the end of the
    address, and "comfyui" for ComfyUI.
    """
    if import_json is None:
        return Plan()
    if not isinstance(import_json, Mapping) or not _MEMBERS & set(import_json):
        return None
    try:
        comfyui = import_json.get("comfyui")
        return Plan(
            comfyui=None if comfyui is None else _repository(comfyui, "comfyui"),
            nodes=tuple(_repository(node) for node in import_json.get("nodes") or ()),
            models=tuple(_model(model) for model in import_json.get("models") or ()),
            workflow=_as(import_json.get("workflow"), Mapping, optional=True),
            requirements=tuple(_as(line, str) for line in _as(import_json.get("requirements") or [], list)),
            files=tuple(_model(file) for file in import_json.get("files") or ()),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _repository(value: Mapping[str, Any], name: str | None = None) -> Repository:
    url = _as(value["url"], str)
    given = _as(value.get("name"), str, optional=True)
    return Repository(url, given or name or end_of(url), _as(value.get("ref"), str, optional=True))


def _model(value: Mapping[str, Any]) -> Model:
    return Model(
        _as(value["url"], str),
        _as(value["path"], str),
        _as(value.get("sha256"), str, optional=True),
        _as(value.get("size"), int, optional=True),
        tuple(_as(url, str) for url in value.get("mirrors") or ()),
        tuple(_model(other) for other in value.get("otherwise") or ()),
    )


def _as(value: Any, kind: Any, optional: bool = False) -> Any:
    if (value is None and optional) or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise TypeError


def end_of(url: str) -> str:
    """The name of a repository: the end of its address, without .git."""
    path = urlsplit(url).path if "://" in url else url.rpartition(":")[2]
    return PurePosixPath(path).name.removesuffix(".git")
