"""The task of ComfyUI Launcher that sets a project up: one operation, of which each part is one of its own.

When all parts are there, the launcher's own function runs over them, once, and finds its work done (`finish`). So what
can fail fails outside of it: it deletes the project for any error, which is not let happen.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from launcher_recovery.errors import OperationCancelled, RecoveryError
from launcher_recovery.fixes.effects import is_skipped
from launcher_recovery.joinpoints import Call
from launcher_recovery.kinds import Arguments, Sources
from launcher_recovery.operation import Operation
from launcher_recovery.projects.environment import interpreter_of
from launcher_recovery.records import RecoveryData, RecoveryState
from launcher_recovery.weave.advice import queueing
from launcher_recovery.weave.advice.asked import Asked, normal
from launcher_recovery.weave.advice.setup import Setup, Verified, current_setup

logger = logging.getLogger("launcher_recovery")

COMFYUI = "comfyui"
MODELS = "models/"

running_task: ContextVar[Call | None] = ContextVar("running_task", default=None)
"""The call of the launcher's task within which this runs."""

_PAGE, _KEPT_PAGE = Path("web", "index.html"), Path("web", "comfyui_index.html")


def set_up_project(call: Call) -> None:
    """Advice around the task.

    What was delivered twice, or too late, is not done again, and a cancel is no failure of the task.

    Raises:
        ProjectIncompleteError: something is missing; the project stays, and says what.
        Exception: what else the import gave up with.
    """
    asked = Asked.of_task(call.arguments)
    if not queueing.is_due(call.integrator, asked, _task_id()):
        logger.info("the project %s does not wait for this task any more", asked.project_id)
        return
    if not call.arguments.get("create_project_folder", True) and not asked.folder.is_dir():
        logger.info("the project %s was deleted, and is not set up any more", asked.project_id)
        queueing.give_up(call.integrator, asked)
        return
    token = running_task.set(call)
    try:
        call.integrator.launcher.launcher_create_project(**asked.hook_arguments)
    except OperationCancelled:
        logger.warning("the project %s is not set up any more: it was cancelled", asked.project_id)
    finally:
        running_task.reset(token)


def finish(operation: Operation, arguments: Arguments, sources: Sources) -> str:
    """Have the launcher's own function do what is left to do; "finished".

    Raises:
        RecoveryError: this process does not run the launcher's task, ComfyUI is too new for the launcher, or files are
            missing.
        Exception: what the launcher's function raises.
    """
    call = running_task.get()
    if call is None:
        raise RecoveryError("the launcher finishes a project only in its own worker: start its worker, and retry")
    asked = Asked.of_hook(arguments)
    parts = operation.store.find(parent_id=operation.data.parent_id, limit=-1)
    make_ready(asked.folder / COMFYUI)
    token = current_setup.set(_setup(asked, parts))
    try:
        with kept(asked.folder, call.original.__globals__):
            call.original(**{**asked.task_arguments, "launcher_json": _without_left_out(asked.launcher_json, parts)})
    finally:
        current_setup.reset(token)
    return "finished"


def make_ready(comfyui: Path) -> None:
    """Undo what the launcher's function did to ComfyUI when it ran over it before, since it does that only once.

    Raises:
        RecoveryError: ComfyUI is of a version without the folder that the launcher needs.
    """
    models = comfyui / "models"
    if models.is_symlink():
        models.unlink()
    if is_finished(comfyui):
        os.replace(comfyui / _KEPT_PAGE, comfyui / _PAGE)
    if not (comfyui / _PAGE).exists():
        raise RecoveryError(
            "this ComfyUI has no web/index.html, which ComfyUI Launcher needs: ComfyUI has been without it since March "
            "2025. Import the project with a commit of ComfyUI from before that."
        )


def is_finished(comfyui: Path) -> bool:
    """Whether the launcher's function has run over ComfyUI since `make_ready`."""
    return (comfyui / _KEPT_PAGE).exists()


@contextmanager
def kept(folder: Path, names: dict[str, Any]) -> Iterator[None]:
    """While it is entered, code with these global names does not delete the folder by its `shutil.rmtree`; several may
    be entered at a time, such as when one that was cancelled has not stopped yet."""
    place = os.path.abspath(folder)
    with _keeping:
        keeper = names["shutil"]
        if not isinstance(keeper, _Keeping):
            keeper = names["shutil"] = _Keeping(keeper)
        keeper.folders.append(place)
    try:
        yield
    finally:
        with _keeping:
            keeper.folders.remove(place)
            if not keeper.folders:
                names["shutil"] = keeper.module


_keeping = threading.Lock()


class _Keeping:
    """The module `shutil`, which leaves some folders alone."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.folders: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def rmtree(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        if os.path.abspath(os.fspath(path)) in self.folders:
            logger.warning("%s is not deleted, although the launcher would", path)
            return None
        return self.module.rmtree(path, *args, **kwargs)


def place_in_comfyui(asked: Asked, relative: str) -> Path:
    """Where a file of an import is put, which the launcher finds below ComfyUI."""
    relative = normal(relative)
    if relative.startswith(MODELS):
        return asked.models / relative.removeprefix(MODELS)
    return asked.folder / COMFYUI / relative


def _setup(asked: Asked, parts: list[RecoveryData]) -> Setup:
    from launcher_recovery.weave.advice import files  # which loads what downloads

    comfyui = asked.folder / COMFYUI
    done = [part for part in parts if part.state is RecoveryState.SUCCESS and not is_skipped(part)]
    nodes = frozenset(Path(part.kwargs["destination"]) for part in done if part.kind == "install_node")
    has_requirements = any(part.kind == "install_requirements" for part in done)
    placed: dict[Path, Path] = {}
    verified: dict[Path, Verified] = {}
    left_out: set[Path] = set()
    downloads = {part.kwargs["destination"]: part for part in parts if part.kind == "download"}
    entries = [] if asked.launcher_json is None else asked.launcher_json["files"]
    for one in (choice for entry in entries for choice in entry):
        relative = normal(one["dest_relative_path"])
        part = downloads.get(str(place_in_comfyui(asked, relative)))
        if part is None:
            continue
        place = comfyui / relative
        if is_skipped(part):
            left_out.add(place)
        elif part.state is RecoveryState.SUCCESS:
            actual = place.with_name(files.place_of(part.kwargs["destination"], part.metadata).name)
            placed[place] = actual
            found = files.verified_in(part.metadata)
            if found is not None:
                verified[actual] = found
    requirements = frozenset({asked.folder / "requirements.txt"}) if has_requirements else frozenset[Path]()
    return Setup(
        folder=asked.folder,
        comfyui=comfyui,
        python=interpreter_of(asked.folder / "venv"),
        nodes=nodes,
        requirements=requirements,
        verified=verified,
        placed=placed,
        left_out=frozenset(left_out),
    )


def _without_left_out(launcher_json: Mapping[str, Any] | None, parts: list[RecoveryData]) -> Any:
    """The import without the nodes and packages that a person does without, which the launcher would install."""
    if launcher_json is None:
        return None
    given = copy.deepcopy(dict(launcher_json))
    skipped = {part.kwargs["url"] for part in parts if part.kind == "install_node" and is_skipped(part)}
    nodes = given["snapshot_json"]["git_custom_nodes"]
    given["snapshot_json"]["git_custom_nodes"] = {url: node for url, node in nodes.items() if url not in skipped}
    if any(part.kind == "install_requirements" and is_skipped(part) for part in parts):
        given["pip_requirements"] = []
    return given


def _task_id() -> str | None:
    from celery import current_task

    found: str | None = None if not current_task else current_task.request.id
    return found
