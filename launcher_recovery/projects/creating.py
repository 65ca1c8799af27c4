"""Creates a project from a plan: every part is an operation of its own, the workflow comes last."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from launcher_recovery.errors import OperationCancelled, ProjectIncompleteError, RecoveryError
from launcher_recovery.fixes import known_good
from launcher_recovery.fixes.effects import amended
from launcher_recovery.kinds import Arguments, Launcher
from launcher_recovery.nodes.installing import COMMIT
from launcher_recovery.operation import Operation
from launcher_recovery.plans import MODELS, Plan, Repository
from launcher_recovery.projects.environment import interpreter_of
from launcher_recovery.projects.files import Files
from launcher_recovery.projects.lanes import Lanes
from launcher_recovery.projects.part import MISSING, Part, Stage
from launcher_recovery.projects.telling import Telling
from launcher_recovery.records import RecoveryData
from launcher_recovery.workflows.model_paths import FILE_NAME, write_model_paths

WORKFLOW, REQUIREMENTS = "workflow.json", "requirements.txt"

# Each look reads the records of the parts that run, which took a third of what an import costs its own process.
_LOOK_S = 0.5
# Each is another workflow, which is checked, and may be mended again.
_MOST_FIXED = 10
# How long parts take as a rule, which is all that is known before they begin.
_ENVIRONMENT_S, _COMFYUI_S, _NODE_S, _REQUIREMENTS_S, _WORKFLOW_S, _CLOSING_S = 10.0, 120.0, 30.0, 60.0, 2.0, 10.0


def create(operation: Operation, arguments: Arguments, launcher: Launcher) -> Any:
    """Have the project whole, and return its state: {"id", "name", "state", "status_message", "left_out", "parts"}.

    What fails is not tried again here, since every part has attempts of its own; the others are gone on with, and what
    is done stays. Parts that an earlier attempt or process finished are not done again. None: the import is in a format
    that nobody reads.

    Raises:
        ProjectIncompleteError: something is missing.
        RefusedError: the import asks for what is not safe.
        NoHandlerError: nobody declares the kind of operation that the plan ends with.
        OSError: the workflow could not be written.
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check`.
    """
    plan = launcher.read_import(arguments["import_json"])
    if plan is None:
        return None
    plan.check()
    return _Project(operation, arguments, launcher, plan).create()


class _Project:
    """One attempt."""

    def __init__(self, operation: Operation, arguments: Arguments, launcher: Launcher, plan: Plan) -> None:
        self._operation = operation
        self._launcher = launcher
        self._arguments = arguments
        self._plan = plan
        self._id = arguments["project_id"]
        self._folder = Path(arguments["project_folder"])
        self._models = Path(arguments["models_folder"])
        home = self._folder if plan.comfyui is None else self._folder / plan.comfyui.name
        self._nodes = home / "custom_nodes"
        self._venv = self._folder / "venv"
        files = Files(launcher, self._id, self._models, home)
        self._basis, self._node_parts = self._programs()
        self._one_by_one = [*self._basis, *self._node_parts.values(), *self._requirements()]
        self._beside = [files.model(model) for model in plan.models]
        self._after = [files.file(file, self._basis[1:], list(self._node_parts.items())) for file in plan.files]
        self._last = [] if plan.workflow is None else [self._workflow(plan.workflow)]
        self._last += [] if plan.closing is None else [self._closing(plan.closing)]
        self._parts = [*self._one_by_one, *self._beside, *self._after, *self._last]
        self._telling = Telling(operation, arguments, launcher, self._parts)

    def create(self) -> dict[str, Any]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._have(self._one_by_one, self._beside, self._after)
        for part in self._parts:
            if part.stage is Stage.DONE and not part.is_there():
                part.stage, part.reason = Stage.FAILED, "it was deleted meanwhile"
        for part in self._last:
            if any(other.stage in MISSING for other in self._parts):
                done = "put in place" if part.what == "workflow" else "done"
                part.stage, part.reason = Stage.BLOCKED, f"it is {done} when nothing else is missing"
                continue
            self._have([part])
            if part.what == "workflow" and isinstance(part.error, OSError):
                raise part.error  # the disk, and nothing that a part of its own has tried
        return self._ended()

    def _have(self, one_by_one: Sequence[Part], beside: Sequence[Part] = (), after: Sequence[Part] = ()) -> None:
        with Lanes(one_by_one, beside, after) as lanes:
            while not lanes.are_over(_LOOK_S):
                self._telling.now()

    def _ended(self) -> dict[str, Any]:
        missing = [part for part in self._parts if part.stage in MISSING]
        if missing:
            error = _incomplete(missing, self._parts)
            self._telling.is_incomplete(str(error))
            raise error from _cause(missing)
        self._note_comfyui()
        left_out = [part.name for part in self._parts if part.stage is Stage.LEFT_OUT]
        message = f"Ready without {', '.join(left_out)}, left out as you asked" if left_out else "Ready"
        self._telling.is_ready(message)
        return {
            "id": self._id,
            "name": self._arguments["name"],
            "state": "ready",
            "status_message": message,
            "left_out": left_out,
            "parts": [part.told() for part in self._parts],
        }

    def _note_comfyui(self) -> None:
        """Keep which commit of ComfyUI the project is ready with, where it was installed for it."""
        records = [part.record() for part in self._one_by_one if part.what == "comfyui"]
        for record in records:
            commit = None if record is None else record.metadata.get(COMMIT)
            if isinstance(commit, str):
                known_good.note_worked(commit)

    # -- parts --------------------------------------------------------------------------------------

    def _part(
        self,
        what: str,
        name: str,
        seconds: float,
        kind: str,
        arguments: Mapping[str, Any],
        is_there: Callable[[], bool] = lambda: True,
        **more: Any,
    ) -> Part:
        def record() -> RecoveryData | None:
            return self._launcher.record(kind, arguments)

        def run() -> Any:
            return self._launcher.run(kind, arguments)

        return Part(what, name, seconds, more.pop("run", run), record, is_there=is_there, **more)

    def _programs(self) -> tuple[list[Part], dict[Path, Part]]:
        """The environment and ComfyUI; and the nodes, by their folders."""
        plan = self._plan
        with_pip = plan.comfyui is not None or bool(plan.nodes or plan.requirements)
        basis = [
            self._part(
                "environment",
                "venv",
                _ENVIRONMENT_S,
                "make_environment",
                {"folder": str(self._venv), "with_pip": with_pip, "project_id": self._id},
                interpreter_of(self._venv).exists,
            )
        ]
        if plan.comfyui is not None:
            basis.append(self._comfyui(plan.comfyui, needs=tuple(basis)))
        nodes = {}
        for node in plan.nodes:
            place = self._nodes / node.name
            arguments = self._repository(node, place)
            nodes[place] = self._part(
                "node", node.name, _NODE_S, "install_node", arguments, place.is_dir, needs=tuple(basis)
            )
        return basis, nodes

    def _requirements(self) -> list[Part]:
        if not self._plan.requirements:
            return []
        place = self._folder / REQUIREMENTS
        arguments = {
            "destination": str(place),
            "lines": list(self._plan.requirements),
            "nodes_folder": str(self._nodes),
            "python": str(interpreter_of(self._venv)),
            "project_id": self._id,
        }
        # The versions that the import asks for are to be those in the end, whatever nodes bring.
        needs = (*self._basis, *self._node_parts.values())
        kind = "install_requirements"
        return [self._part("requirements", REQUIREMENTS, _REQUIREMENTS_S, kind, arguments, needs=needs)]

    def _closing(self, kind: str) -> Part:
        names = ("project_id", "name", "import_json", "project_folder", "models_folder")
        arguments = {name: self._arguments[name] for name in names}
        self._launcher.record(kind, arguments)  # before anything is made: it knows whether there is such a kind
        return self._part("closing", "launcher", _CLOSING_S, kind, arguments)

    def _comfyui(self, comfyui: Repository, needs: Sequence[Part]) -> Part:
        place = self._folder / comfyui.name
        arguments = self._repository(comfyui, place)

        def run() -> None:
            self._launcher.run("install_comfyui", arguments)
            # A launcher may have linked the folder of models itself.
            if self._plan.model_paths and place.is_dir() and not (place / MODELS).is_symlink():
                folders = {PurePosixPath(model.path).parts[0] for model in self._plan.models if "/" in model.path}
                write_model_paths(place / FILE_NAME, self._models, folders)

        kind = "install_comfyui"
        return self._part("comfyui", comfyui.name, _COMFYUI_S, kind, arguments, place.is_dir, needs=needs, run=run)

    def _repository(self, repository: Repository, place: Path) -> dict[str, Any]:
        return {
            "url": repository.url,
            "destination": str(place),
            "ref": repository.ref,
            "python": str(interpreter_of(self._venv)),
            "project_id": self._id,
        }

    def _workflow(self, workflow: Mapping[str, Any]) -> Part:
        arguments = {
            "workflow": workflow,
            "models_folder": str(self._models),
            "nodes_folder": str(self._nodes),
            "project_id": self._id,
        }

        def run() -> None:
            fixed = self._fixed(arguments)
            found = self._launcher.run("validate_workflow", fixed)
            problems = [problem for problem in found["problems"] if not self._was_left_out(problem)]
            if problems:
                raise RecoveryError(" ".join(str(problem["message"]) for problem in problems))
            _write(self._folder / WORKFLOW, fixed["workflow"])

        def record() -> RecoveryData | None:
            return self._launcher.record("validate_workflow", self._fixed(arguments))

        return Part("workflow", WORKFLOW, _WORKFLOW_S, run, record)

    def _fixed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the check, with the workflow as fixes have changed it after earlier checks."""
        for _ in range(_MOST_FIXED):
            checked = self._launcher.record("validate_workflow", arguments)
            fixed = arguments if checked is None else amended(checked, arguments)
            if fixed == arguments:
                break
            arguments = fixed
        return arguments

    def _was_left_out(self, problem: Mapping[str, Any]) -> bool:
        """Whether it is about nodes that are not there because a person has said that it goes on without one."""
        return problem.get("code") == "missing_node" and any(part.stage is Stage.LEFT_OUT for part in self._parts)


def _incomplete(missing: Sequence[Part], parts: Sequence[Part]) -> ProjectIncompleteError:
    # What comes last is no part that a person misses.
    named = [part for part in missing if part.what != "closing" or part.stage is not Stage.BLOCKED]
    # What failed comes before what only waits for it.
    ordered = sorted(named, key=lambda part: part.stage is Stage.BLOCKED)
    return ProjectIncompleteError(
        [{"what": part.what, "name": part.name, "label": part.label, "reason": part.reason or ""} for part in ordered],
        [part.name for part in parts if part.stage not in MISSING],
    )


def _cause(missing: Sequence[Part]) -> Exception | None:
    """The first error. Where a person cancelled all that is missing, it is that, by which the whole is cancelled."""
    errors = [part.error for part in missing if part.error is not None]
    return next((error for error in errors if not isinstance(error, OperationCancelled)), next(iter(errors), None))


def _write(place: Path, workflow: Mapping[str, Any]) -> None:
    """Put the workflow in its place, whole or not at all; another one that was there is kept beside it."""
    text = json.dumps(workflow, indent=1)
    fresh = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if place.exists() and place.read_text(encoding="utf-8", errors="replace") != text:
            place.replace(_free(place))
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def _free(place: Path) -> Path:
    """A name beside `place` that nothing has."""
    names = (place.with_name(f"{place.stem}.before-{number}{place.suffix}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())
