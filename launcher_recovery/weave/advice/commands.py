"""The advice around a launcher's function that runs commands in a shell, and around the one that computes checksums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from launcher_recovery import reach
from launcher_recovery.defaults.git import check_ref, check_repository
from launcher_recovery.defaults.paths import confined
from launcher_recovery.errors import CommandError
from launcher_recovery.joinpoints import Call
from launcher_recovery.kinds import Arguments, OperationKind
from launcher_recovery.nodes.addresses import host_of
from launcher_recovery.operation import current_operation
from launcher_recovery.weave.advice.attempts import attempt, printed
from launcher_recovery.weave.advice.done import is_done
from launcher_recovery.weave.advice.forms import CheckOut, Clone, Form, MakeEnvironment, form_of
from launcher_recovery.weave.advice.setup import current_setup
from launcher_recovery.weave.operations import run

KIND = "command"
_BLOCK = 1 << 20


def run_command(call: Call) -> Any:
    """Run a command that sets a project up as an operation, with attempts of its own; see `forms` for those that are
    known.

    It is for a function with the parameters `cmd` (words), `cwd` and `bg`. One that is not known, or is to run in the
    background, is left to the launcher. What it prints is printed as well. While `current_setup` says what is there
    already, a command that would bring nothing else is not run.

    Raises:
        RefusedError: an address, or the name of a commit, is not allowed.
        CommandError: it failed for good.
        OperationInterrupted: a person paused or cancelled what it is part of.
        Exception: see `attempts.attempt`.
    """
    words, form = _read(call)
    if form is None:
        return call.proceed()
    setup = current_setup.get()
    if setup is not None and is_done(form, setup):
        around = current_operation()
        if around is not None:
            around.check()
        printed(f"{form.title}: done already")
        return None

    def once() -> None:
        operation = current_operation()
        assert operation is not None
        with reach.of_others(allow_private=call.integrator.config.allow_private_addresses):
            attempt(operation, form)

    def seen(error: BaseException) -> BaseException:
        # The launcher says of a command only that it failed.
        return CommandError(words, None, "") if isinstance(error, AssertionError) else error

    arguments = {**form.arguments, "project_id": _project()}
    return run(call, _kind(call, form), arguments, once, seen=seen)


def checksum(call: Call) -> Any:
    """The SHA-256 of the file `file_path`, in lower-case hexadecimal digits.

    Of a file that `current_setup` has as verified it is not computed again, provided that the file is still the same.

    Raises:
        OSError: the file cannot be read, as from the launcher's function.
    """
    setup = current_setup.get()
    path = call.arguments["file_path"]
    if setup is None and call.integrator.config.mode_for(call.point.kind, str(path)) != "recover":
        return call.proceed()
    if setup is not None:
        place = os.path.realpath(path)
        for known, verified in setup.verified.items():
            if os.path.realpath(known) == place and verified.is_of(place):
                return verified.sha256
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read(call: Call) -> tuple[Sequence[str], Form | None]:
    """The words of the command, and what it is; None: it is left to the launcher."""
    try:
        given = call.arguments
    except TypeError:  # which the launcher's function raises as well
        return (), None
    words = given.get("cmd")
    if given.get("bg") or not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        return (), None
    return words, form_of(list(words), given.get("cwd"))


def _kind(call: Call, form: Form) -> OperationKind:
    def check(arguments: Arguments, roots: tuple[str, ...]) -> None:
        if isinstance(form, Clone):
            check_repository(form.url)
            if os.path.realpath(form.destination) not in map(os.path.realpath, roots):  # which it may become itself
                confined(str(form.destination), roots)
        elif isinstance(form, CheckOut):
            check_ref(form.ref)
        elif isinstance(form, MakeEnvironment):
            confined(str(form.folder), roots)

    return OperationKind(
        name=KIND,
        hook=call.point.name,
        key=lambda arguments: form.key,
        title=lambda arguments: form.title,
        scope=lambda arguments: host_of(form.url) if isinstance(form, Clone) else None,
        check=check,
    )


def _project() -> str | None:
    """The project of the operation in which the command is run."""
    operation = current_operation()
    return None if operation is None else operation.data.project
