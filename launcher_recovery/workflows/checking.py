"""Checks a workflow: its text, its form, its links, the nodes and the models it needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Union

from launcher_recovery.workflows.errors import WorkflowError
from launcher_recovery.workflows.findings import Findings
from launcher_recovery.workflows.installed import Installed, installed_nodes
from launcher_recovery.workflows.limits import DEFAULT_LIMITS, Limits
from launcher_recovery.workflows.links import check_links
from launcher_recovery.workflows.loaders import Loaders
from launcher_recovery.workflows.matching import Matcher
from launcher_recovery.workflows.missing import missing_nodes, node_types
from launcher_recovery.workflows.model_paths import FILE_NAME, NODES, ModelFolder, read_model_paths
from launcher_recovery.workflows.parsing import parse_workflow
from launcher_recovery.workflows.reading import Source, read_workflow
from launcher_recovery.workflows.references import model_uses
from launcher_recovery.workflows.report import Report
from launcher_recovery.workflows.shelf import Shelf
from launcher_recovery.workflows.sources import Lookups, Nobody

Folders = Union["os.PathLike[str]", str, "Sequence[os.PathLike[str] | str]"]


def check_workflow(
    source: Source,
    *,
    models: Folders | None = None,
    nodes: Folders | None = None,
    comfyui: os.PathLike[str] | str | None = None,
    model_paths: Folders | None = None,
    node_types_known: Iterable[str] | None = None,
    lookups: Lookups | None = None,
    limits: Limits = DEFAULT_LIMITS,
    windows: bool = os.name == "nt",
    check: Callable[[], object] = lambda: None,
) -> Report:
    """Say what a workflow needs, and everything that is wrong with it.

    It never raises because of what is in the workflow, changes nothing, opens no address, and opens no file but the
    workflow, those below `models` and `nodes`, and the ComfyUI around `nodes` with the folders of models that its
    `extra_model_paths.yaml` names.

    Args:
        source: a path (not text) of a JSON file or an image (PNG, WebP, JPEG), its bytes, JSON text, or objects.
        models: the folder of models, or several (`models` of ComfyUI); None: models are listed, not looked for.
        nodes: the folder of custom nodes, or several; None, and nothing in `node_types_known`: types are listed only.
        comfyui: the folder of ComfyUI; its `models` and `custom_nodes` are looked at where those are not given.
        model_paths: files, in the form of ComfyUI's `extra_model_paths.yaml`, that name further folders of models.
        node_types_known: types that are there in any case, such as the names in ComfyUI's `/object_info`.
        lookups: where missing nodes and models can be had, and what loaders read that are not in the table of the
            package; default: only what the workflow says.
        limits: how much is looked at.
        windows: whether the ComfyUI that will run it writes names with `\\`; default: as on this machine.
        check: called now and then; may raise, to end it.
    """
    lookups = lookups or Nobody()
    try:
        document = read_workflow(source, limits)
    except WorkflowError as error:
        return Report(problems=(error.problem,))
    findings = Findings(limits, document.problems)
    try:
        workflow = parse_workflow(document.content, findings, limits)
    except WorkflowError as error:
        findings.problems.append(error.problem)
        return Report(problems=tuple(findings.problems), workflow=document.content, text=document.text)
    places = _Places(models, nodes, comfyui, model_paths, findings)
    is_looked_for = places.nodes is not None or node_types_known is not None
    installed = installed_nodes(places.nodes or (), limits, check, comfyui) if is_looked_for else Installed()
    check_links(workflow, findings, installed.signatures)
    check()
    types = node_types(workflow)
    missing = []
    if is_looked_for:
        if node_types_known is not None:
            installed = replace(installed, core=installed.core | set(node_types_known))
        missing = missing_nodes(types, installed, lookups, findings)
    shelf = None if places.models is None else Shelf(places.models, limits, check, places.extra)
    found = Matcher(shelf, lookups, findings, limits, windows=windows).match(model_uses(workflow, Loaders(lookups)))
    if shelf is not None and shelf.skipped:
        findings.add("search_ended", count=len(shelf.skipped), limit=limits.hash_bytes)
    return Report(
        workflow.format,
        tuple(findings.problems),
        tuple(found),
        tuple(missing),
        tuple(sorted(types)),
        document.content,
        document.text,
    )


class _Places:
    """Where models and nodes are looked for; None: they are not."""

    def __init__(
        self,
        models: Folders | None,
        nodes: Folders | None,
        comfyui: os.PathLike[str] | str | None,
        model_paths: Folders | None,
        findings: Findings,
    ) -> None:
        root = None if comfyui is None else Path(comfyui)
        self.models = _paths(models) if models is not None or root is None else [root / "models"]
        self.nodes = _paths(nodes) if nodes is not None or root is None else [root / NODES]
        self.extra: list[ModelFolder] = []
        roots = [*([] if root is None else [root]), *(folder.parent for folder in self.nodes or ())]
        usual = [file for folder in dict.fromkeys(roots) if os.path.isfile(file := folder / FILE_NAME)]
        for file in (*usual, *(_paths(model_paths) or ())):
            try:
                found = read_model_paths(file)
            except ValueError as error:
                findings.add("model_paths_unreadable", file=str(file), reason=str(error))
                continue
            self.extra += (folder for folder in found if folder.folder != NODES)
            if self.nodes is not None:
                self.nodes += (Path(folder.path) for folder in found if folder.folder == NODES)


def _paths(folders: Folders | None) -> list[Path] | None:
    if folders is None:
        return None
    given = [folders] if isinstance(folders, (str, os.PathLike)) else folders
    return [Path(folder) for folder in given]
