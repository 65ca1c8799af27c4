"""What ComfyUI Launcher has no code for, as implementations of the hooks of launchers and of extensions.

Every process of a woven launcher loads it, so that what only a download or an import needs is loaded by these.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher_recovery import reach, requirement_lines
from launcher_recovery.classification.verdict import ErrorCategory, Retry, Verdict
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RefusedError
from launcher_recovery.hookspecs import hookimpl as extension_hookimpl
from launcher_recovery.integration import attached_integrator
from launcher_recovery.kinds import OperationKind
from launcher_recovery.observing import hookimpl
from launcher_recovery.operation import current_operation
from launcher_recovery.plans import Model, Plan, Repository
from launcher_recovery.records import RecoveryData
from launcher_recovery.weave.advice import importing, queueing, status
from launcher_recovery.weave.advice.asked import FORMAT, Asked, ListedAddressError

_EXPIRED = Verdict(
    ErrorCategory.NETWORK,
    Retry.YES,
    "listed-address-expired",
    "The address that the launcher's site gave for the file was no longer valid; the site is asked for another one.",
)

CLOSING = "finish_project"

# What it installs into every project, beside what the import asks for.
_DEFAULT_NODES = (
    Repository("https://github.com/ltdrdata/ComfyUI-Manager", "ComfyUI-Manager"),
    Repository("https://github.com/thecooltechguy/ComfyUI-ComfyWorkflows", "ComfyUI-ComfyWorkflows"),
)


# -- the launcher's hooks -----------------------------------------------------------------------------


@hookimpl
def launcher_download(
    url: str, destination: str, sha256: str | None, size: int | None, project_id: str | None
) -> str | None:
    from launcher_recovery.weave.advice import files

    operation, integrator = current_operation(), attached_integrator()
    if operation is None or integrator is None or operation.data.kind != "download":
        return None
    given = {"url": url, "destination": destination, "sha256": sha256, "size": size, "project_id": project_id}
    arguments = integrator.kinds["download"].completed(given, integrator.config)
    data = operation.data
    with reach.of_others(allow_private=integrator.config.allow_private_addresses):
        return files.download(
            operation, arguments, lambda url: reach.trusting(integrator.extensions.sources(url, data))
        )


@hookimpl(trylast=True)
def launcher_create_project(
    project_id: str, name: str, import_json: Any, project_folder: str, models_folder: str
) -> dict[str, Any] | None:
    call = importing.running_task.get()
    if call is None:
        return None
    call.proceed()
    return {"id": project_id, "name": name}


@hookimpl
def launcher_project_changed(
    project_id: str, project_folder: str, state: str, status_message: str, details: Mapping[str, Any]
) -> None:
    folder = Path(project_folder)
    if state == "setting_up":
        percent = details.get("progress") or 0
        message = f"{status_message} ({percent:.0f} %)"
        status.write_state(folder, status.state_of(details.get("parts") or ()), message)
    else:
        status.write_state(folder, status.READY if state == "ready" else status.FAILED, status_message)


@hookimpl
def launcher_run_again(operation_id: str, kind: str, arguments: Mapping[str, Any]) -> bool | None:
    integrator = attached_integrator()
    if kind != queueing.KIND or integrator is None:
        return None
    data = integrator.persistence.get(operation_id)
    if data is None or not _is_ours(data):
        return None
    return queueing.run_again(integrator, data) or None


def _is_ours(data: RecoveryData) -> bool:
    """Whether an import is one of this launcher, also when what was asked for could not be kept."""
    given = data.kwargs.get("import_json")
    return not data.kwargs or (isinstance(given, Mapping) and given.get("format") == FORMAT)


# -- the hooks of extensions --------------------------------------------------------------------------


@extension_hookimpl
def recovery_operations() -> Sequence[OperationKind]:
    return [
        OperationKind(
            name=CLOSING,
            hook=CLOSING,
            key=lambda arguments: f"{CLOSING}:{arguments['project_id']}",
            title=lambda arguments: f"The launcher's own steps for {arguments['name']}",
            handler=importing.finish,
            still_there=_is_finished,
        )
    ]


@extension_hookimpl
def recovery_classify(error: BaseException) -> Verdict | None:
    return _EXPIRED if isinstance(error, ListedAddressError) else None


@extension_hookimpl
def recovery_startup(config: RecoveryConfig) -> None:
    integrator = attached_integrator()
    if integrator is not None:
        queueing.watch_worker(integrator)


@extension_hookimpl
def recovery_read_import(import_json: Any) -> Plan | None:
    if not isinstance(import_json, Mapping) or import_json.get("format") != FORMAT:
        return None
    from launcher_recovery.projects.launcher_json import read_launcher_json

    utils = sys.modules["utils"]
    plan = read_launcher_json(
        import_json["launcher_json"],
        comfyui_url=utils.COMFYUI_REPO_URL,
        default_nodes=_DEFAULT_NODES,
        ignored=utils.CUSTOM_NODES_TO_IGNORE_FROM_SNAPSHOTS,
        with_workflow=False,
    )
    if not all(map(_is_plain, plan.requirements)):
        plan = replace(plan, requirements=())  # the launcher gives pip what it is given
    return replace(_recovered(plan), closing=CLOSING, model_paths=False)


def _is_plain(line: str) -> bool:
    """Whether it asks pip for a package, and for nothing else."""
    try:
        requirement_lines.check(line)
    except RefusedError:
        return False
    return True


def _recovered(plan: Plan) -> Plan:
    """The plan without what is left to the launcher's own code, as the settings say."""
    call = importing.running_task.get()
    if call is None:
        return plan
    asked, integrator = Asked.of_task(call.arguments), call.integrator

    def is_recovered(kind: str, *paths: str) -> bool:
        """Whether all that may come to one of these places below ComfyUI is."""
        places = [importing.place_in_comfyui(asked, path) for path in paths]
        keys = [integrator.kinds[kind].key({"destination": str(place)}) for place in places]
        return all(integrator.config.mode_for(kind, key) == "recover" for key in keys)

    def is_had(file: Model, above: str = "") -> bool:
        return is_recovered("download", *(f"{above}{choice.path}" for choice in file.choices))

    return replace(
        plan,
        nodes=tuple(node for node in plan.nodes if is_recovered("install_node", f"custom_nodes/{node.name}")),
        models=tuple(model for model in plan.models if is_had(model, importing.MODELS)),
        files=tuple(file for file in plan.files if is_had(file)),
    )


def _is_finished(data: RecoveryData) -> bool:
    """Whether the launcher has finished the project, in the state that it was in then."""
    asked = Asked.of_hook(data.kwargs)
    return importing.is_finished(asked.folder / importing.COMFYUI)
