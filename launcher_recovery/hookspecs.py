"""The hooks of the extension namespace `launcher_recovery`: what third parties can add or change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pluggy

from launcher_recovery.classification import Verdict
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.fixes.fix import Fix
from launcher_recovery.joinpoints import Host
from launcher_recovery.kinds import OperationKind
from launcher_recovery.plans import Plan
from launcher_recovery.records import RecoveryData
from launcher_recovery.strategies import Strategy
from launcher_recovery.workflows.sources import LoaderInput, ModelSource, NodeSource

NAMESPACE = "launcher_recovery"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@hookspec
def recovery_startup(config: RecoveryConfig) -> None:
    """Called once for each extension, when recovery starts or, if that was earlier, when the extension registers.

    In the thread that starts recovery. `config` is in force from now on; it is not changed in place.
    """


@hookspec
def recovery_settings_changed(config: RecoveryConfig) -> None:
    """`config` is in force from now on, by `update_config`; called after `recovery_startup`, in the thread that changes
    it. An extension that raises is logged, and the settings count all the same."""


@hookspec
def recovery_operations() -> Sequence[OperationKind]:
    """Kinds of operations to add. Called once, at start-up. All answers are used; names must differ."""
    raise NotImplementedError


@hookspec(firstresult=True)
def recovery_read_import(import_json: Any) -> Plan | None:
    """What an import asks for, from the `import_json` of the launcher's hook `launcher_create_project`.

    Called at the beginning of each attempt to create a project, in its thread. None: it is in another format, the next
    extension is asked; when all say so, the launcher's own handler creates the project. RefusedError: it is in the
    extension's format, and something in it cannot be; the project is not created. A plan that would write outside of
    the project and its folder of models is refused as well.
    """


@hookspec(firstresult=True)
def recovery_classify(error: BaseException, operation: RecoveryData | None) -> Verdict | None:
    """The verdict on an error of an attempt, before the built-in rules are asked.

    Called in the thread of the operation. None: no opinion, the next extension is asked. An extension that raises
    is logged and counts as no opinion.
    """


@hookspec(firstresult=True)
def recovery_choose_strategy(operation: RecoveryData) -> Strategy | None:
    """The strategy for an operation that begins; None: no opinion. Called in the thread of the operation."""


@hookspec
def recovery_sources(url: str, operation: RecoveryData) -> Sequence[str]:
    """Further addresses of what `url` is, best first; tried when it fails in a way another source may not.

    Called in the thread of the download, before each of its attempts. All answers are used, those of the extension
    registered last first, without doubles. The checksum always comes from the request, never from a mirror.
    """
    raise NotImplementedError


@hookspec
def recovery_node_sources(node_type: str) -> Sequence[NodeSource]:
    """Git repositories that provide a node type of ComfyUI, best first.

    Called for each type of a workflow that is not installed, in the thread that checks it. All answers are used, those
    of the extension registered last first, without doubles.
    """
    raise NotImplementedError


@hookspec
def recovery_model_sources(name: str, folder: str | None) -> Sequence[ModelSource]:
    """Where a model can be downloaded, best first; with a checksum, a file that was renamed is found by it.

    Called for each model that a workflow names, in the thread that checks it. `name` is the name of the file, without
    folders; `folder` the folder of models that it is wanted in, such as "loras", None when that is not known. All
    answers are used, those of the extension registered last first, without doubles.
    """
    raise NotImplementedError


@hookspec
def recovery_loader_folders(node_type: str) -> Sequence[LoaderInput]:
    """Which folders of models the inputs of a node type read, for loaders that the package does not know.

    Called once for each type of a workflow that is checked, in the thread that checks it. All answers are used; of two
    for one input, and before the package's own table, that of the extension registered last counts.
    """
    raise NotImplementedError


@hookspec
def recovery_suggest_fix(operation: RecoveryData) -> Sequence[Fix]:
    """Further fixes for an operation, best first; offered after the one that its verdict names.

    Called when a person looks at what can be done about the operation, or does it, in the thread of the request. All
    answers are used, those of the extension registered last first; the names of the package's own fixes are taken. A
    verdict of `recovery_classify` may name one as its `fix`.
    """
    raise NotImplementedError


@hookspec
def recovery_join_points() -> Sequence[Host]:
    """Launchers without a plugin system that recovery can be woven into, and where.

    Called in a process that is being woven, once, before the launcher's own code, in the main thread; and by `doctor`.
    All answers are used; of two hosts with one name that of the extension registered last counts, and before the
    package's own. What the module of the extension imports, the launcher imports as well: as little as possible.
    """
    raise NotImplementedError


@hookspec
def recovery_redactions() -> Sequence[Callable[[str], str]]:
    """Functions that take further secrets out of text before it is kept or shown. Called once, at start-up."""
    raise NotImplementedError


@hookspec
def recovery_attempt_started(operation: RecoveryData) -> None:
    """An attempt begins. An observer: what it raises is logged and harms nothing. In the operation's thread."""


@hookspec
def recovery_attempt_finished(operation: RecoveryData, error: BaseException | None) -> None:
    """An attempt ended; `error` is None when it succeeded. An observer, like `recovery_attempt_started`."""


@hookspec
def recovery_settled(operation: RecoveryData, error: BaseException | None) -> None:
    """An operation ended well or for good; not called for a cancel. An observer, like the above."""
