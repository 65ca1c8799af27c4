"""What an import asks for: the parts of a project, as whoever reads import files gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from launcher_recovery.errors import RefusedError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# What a project has of its own beside what is imported.
_TAKEN = ("venv", "custom_nodes", "workflow.json")


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
    """A file that becomes one of the models.

    Args:
        url: where it is.
        path: where it is to be, below the folder of models, with "/".
        sha256: 64 hexadecimal digits, if they are known.
        size: bytes, if that is known.
        mirrors: further addresses, tried in their order when `url` fails for good.
    """

    url: str
    path: str
    sha256: str | None = None
    size: int | None = None
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """An import.

    Args:
        comfyui: ComfyUI itself, which becomes a folder of the project; None: the project has none of its own.
        nodes: custom nodes; they go to the folder `custom_nodes` of ComfyUI, or of the project where that has none.
        models: files for the folder of models, which all projects share.
        workflow: in ComfyUI's UI or API format; None: none.
    """

    comfyui: Repository | None = None
    nodes: tuple[Repository, ...] = ()
    models: tuple[Model, ...] = ()
    workflow: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Return if nothing of it lands outside of the project and the folder of models, or on top of another part.

        Raises:
            RefusedError: something would.
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
            path = PurePosixPath(model.path)
            is_below = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
            if not is_below or not model.path.isprintable() or re.search(r"[\\:]|/$", model.path):
                raise RefusedError(f"{model.path!r:.100} is no path below the folder of models, such as loras/a.pt")
        _refuse_doubles("models", [PurePosixPath(model.path).as_posix() for model in self.models])


def _refuse_doubles(what: str, names: Sequence[str]) -> None:
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise RefusedError(f"two {what} are named {double!r:.100}; give one another name")


def read(import_json: Any) -> Plan | None:
    """The plan of an import in the format of the launcher's hook; None: it is in another one.

    The format: {"comfyui"?: {"url", "ref"?, "name"?}, "nodes"?: [{"url", "ref"?, "name"?}], "models"?: [{"url", "path",
    "sha256"?, "size"?, "mirrors"?: [url]}], "workflow"?: {...}}. Nothing at all, None, is an empty project. A name that
    is left out is the end of the address, and "comfyui" for ComfyUI.
    """
    if import_json is None:
        return Plan()
    if not isinstance(import_json, Mapping) or not ({"nodes", "models", "comfyui", "workflow"} & set(import_json)):
        return None
    try:
        comfyui = import_json.get("comfyui")
        return Plan(
            comfyui=None if comfyui is None else _repository(comfyui, "comfyui"),
            nodes=tuple(_repository(node) for node in import_json.get("nodes") or ()),
            models=tuple(_model(model) for model in import_json.get("models") or ()),
            workflow=_as(import_json.get("workflow"), Mapping, optional=True),
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
    )


def _as(value: Any, kind: Any, optional: bool = False) -> Any:
    if (value is None and optional) or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise TypeError


def end_of(url: str) -> str:
    """The name of a repository: the end of its address, without .git."""
    path = urlsplit(url).path if "://" in url else url.rpartition(":")[2]
    return PurePosixPath(path).name.removesuffix(".git")
