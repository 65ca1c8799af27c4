"""The hooks of the extension namespace `launcher_recovery`: what third parties can add or change.

An implementation is marked with `hookimpl`, has the name of its hook, and takes those of its arguments that it needs,
by their names. Of several the one registered last is called first; `hookimpl(tryfirst=True)` and `trylast=True` change
that. Wrappers are refused. An extension is a module or an object that an entry point of the group `launcher_recovery`
names; what its name is there can be switched off by `RECOVERY_DISABLED_EXTENSIONS`.

Each hook says when it is called, in which process and thread, what its answer means, and what an exception does: unless
it says otherwise the exception is logged, told as a problem in status and health, and counts as no answer.
"""

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
    """Recovery begins.

    Called: once for each extension, when recovery starts or, if that was earlier, when the extension registers; in
        every process that uses recovery, in the thread that starts it.

    Args:
        config: the settings in force from now on; not changed in place.

    An exception is logged and told in health; the extension's other hooks are called all the same.
    """


@hookspec
def recovery_settings_changed(config: RecoveryConfig) -> None:
    """Settings were changed while recovery runs.

    Called: after `recovery_startup`, whenever the settings change; in every process that uses recovery, in the thread
        that changes them there.

    Args:
        config: the settings in force from now on; not changed in place.

    An exception is logged and told in health, and the settings count all the same.
    """


@hookspec
def recovery_operations() -> Sequence[OperationKind]:
    """Kinds of operations to add.

    Called: once, at start-up; in every process that uses recovery, in the thread that loads it.

    Returns:
        The kinds. All answers are used; of two with one name that of the extension registered last counts, and before
        the package's own.

    An exception is logged and told in health, and the extension adds none.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def recovery_read_import(import_json: Any) -> Plan | None:
    """What an import asks for, in a format that the extension knows.

    Called: at the beginning of each attempt to create a project; in the process and the thread of the operation.

    Args:
        import_json: that of the launcher's hook `launcher_create_project`, from outside: nothing in it is checked.

    Returns:
        The plan, which is refused when it would write outside of the project and its folder of models. None: it is in
        another format, the next extension is asked; when all say so, the launcher's own handler creates the project.

    An exception of the type RefusedError says that it is in the extension's format, and that something in it cannot be:
    the project is not created. Any other is logged, told in health, and counts as None.
    """


@hookspec(firstresult=True)
def recovery_classify(error: BaseException, operation: RecoveryData | None) -> Verdict | None:
    """The verdict on an error of an attempt, before the built-in rules are asked.

    Called: when an attempt has failed; in the process and the thread of the operation.

    Args:
        error: what the attempt raised, with its causes.
        operation: whose attempt it was; None: it is not known. Not to be changed.

    Returns:
        The verdict. None: no opinion, the next extension is asked, and last the built-in rules.

    An exception is logged, told in health, and counts as no opinion.
    """


@hookspec(firstresult=True)
def recovery_choose_strategy(operation: RecoveryData) -> Strategy | None:
    """The strategy by which an operation waits between its attempts.

    Called: when an operation begins or goes on; in the process and the thread of the operation.

    Args:
        operation: that begins. Not to be changed.

    Returns:
        The strategy. None: no opinion, the next extension is asked, and last the settings.

    An exception is logged, told in health, and counts as no opinion.
    """


@hookspec
def recovery_sources(url: str, operation: RecoveryData) -> Sequence[str]:
    """Further addresses of the same file; tried when `url` fails in a way in which another source may not.

    Called: before each attempt of a download, and when a person asks for other sources; in the process and the thread
        of the download, or of the request.

    Args:
        url: that was asked for.
        operation: the download. Not to be changed.

    Returns:
        The addresses, best first. All answers are used, those of the extension registered last first, without doubles.
        The checksum always comes from the request, never from a mirror.

    An exception is logged, told in health, and counts as no address.
    """
    raise NotImplementedError


@hookspec
def recovery_node_sources(node_type: str) -> Sequence[NodeSource]:
    """Git repositories that provide a node type of ComfyUI.

    Called: for each type of a workflow that is not installed; in the process and the thread that checks it.

    Args:
        node_type: the type's name, as workflows have it.

    Returns:
        The repositories, best first. All answers are used, those of the extension registered last first, without
        doubles.

    An exception is logged, told in health, and counts as no repository.
    """
    raise NotImplementedError


@hookspec
def recovery_model_sources(name: str, folder: str | None) -> Sequence[ModelSource]:
    """Where a model can be downloaded; with a checksum, a file that was renamed is found by it.

    Called: for each model that a workflow names; in the process and the thread that checks it.

    Args:
        name: of the file, without folders.
        folder: of models that it is wanted in, such as "loras"; None when that is not known.

    Returns:
        The sources, best first. All answers are used, those of the extension registered last first, without doubles.

    An exception is logged, told in health, and counts as no source.
    """
    raise NotImplementedError


@hookspec
def recovery_loader_folders(node_type: str) -> Sequence[LoaderInput]:
    """Which folders of models the inputs of a node type read, for loaders that the package does not know.

    Called: once for each type of a workflow that is checked; in the process and the thread that checks it.

    Args:
        node_type: the type's name, as workflows have it.

    Returns:
        The inputs. All answers are used; of two for one input, and before the package's own table, that of the
        extension registered last counts.

    An exception is logged, told in health, and counts as no input.
    """
    raise NotImplementedError


@hookspec
def recovery_suggest_fix(operation: RecoveryData) -> Sequence[Fix]:
    """Further fixes for an operation; offered after the one that its verdict names.

    Called: when a person looks at what can be done about the operation, or does it; in the process and the thread of
        the request.

    Args:
        operation: that a person looks at. Not to be changed.

    Returns:
        The fixes, best first. All answers are used, those of the extension registered last first; the names of the
        package's own fixes are taken. A verdict of `recovery_classify` may name one as its `fix`.

    An exception is logged, told in health, and counts as no fix.
    """
    raise NotImplementedError


@hookspec
def recovery_join_points() -> Sequence[Host]:
    """Launchers without a plugin system that recovery can be woven into, and where.

    Called: in a process that is being woven, once, before the launcher's own code, in the main thread; and by `doctor`.
        What the module of the extension imports, the launcher imports as well: as little as possible.

    Returns:
        The launchers. All answers are used; of two with one name that of the extension registered last counts, and
        before the package's own.

    An exception is logged, told by `doctor`, and counts as no launcher.
    """
    raise NotImplementedError


@hookspec
def recovery_redactions() -> Sequence[Callable[[str], str]]:
    """Functions that take further secrets out of text before it is kept or shown.

    Called: once, at start-up; in every process that uses recovery, in the thread that loads it. The functions are
        called in any thread.

    Returns:
        The functions, from a text to the same without secrets. All answers are used.

    An exception is logged and told in health, and the extension adds none; that of a function is told by its type
    alone, and leaves the text as it was.
    """
    raise NotImplementedError


@hookspec
def recovery_attempt_started(operation: RecoveryData) -> None:
    """An attempt begins. An observer.

    Called: before the attempt; in the process of the operation, in a thread and with the context (`contextvars`) of its
        own, for which the operation waits 5 seconds at most.

    Args:
        operation: whose attempt it is. Not to be changed.

    An exception is logged and told in health, and harms nothing. So does an observer that has not come back after that
    time; the extension's observers are not called any more before it has.
    """


@hookspec
def recovery_attempt_finished(operation: RecoveryData, error: BaseException | None) -> None:
    """An attempt ended. An observer.

    Called: after the attempt, and before it is decided what becomes of the operation; in the process of the operation,
        in a thread like that of `recovery_attempt_started`.

    Args:
        operation: whose attempt it was. Not to be changed.
        error: what it raised; None: it succeeded.

    An exception, and an observer that does not come back, are as with `recovery_attempt_started`.
    """


@hookspec
def recovery_settled(operation: RecoveryData, error: BaseException | None) -> None:
    """An operation ended well or for good; a cancel is not told. An observer.

    Called: after the last attempt; in the process of the operation, in a thread like that of
        `recovery_attempt_started`.

    Args:
        operation: that ended. Not to be changed.
        error: what its last attempt raised; None: it succeeded.

    An exception, and an observer that does not come back, are as with `recovery_attempt_started`.
    """
