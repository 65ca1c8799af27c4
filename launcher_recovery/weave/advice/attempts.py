"""Runs one attempt of a command that is known: without a shell, watched, and so that nothing half done stays."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes.effects import amended
from launcher_recovery.nodes import environment, install_script, publishing, repository, requirements, upkeep
from launcher_recovery.nodes.addresses import host_of
from launcher_recovery.nodes.fetching import fetch
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.repository import DamagedError, Repository
from launcher_recovery.nodes.staging import InPlace, Staging
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.operation import Operation
from launcher_recovery.projects.environment import make_environment
from launcher_recovery.redaction import redact_url
from launcher_recovery.weave.advice.forms import CheckOut, Clone, Form, Install, MakeEnvironment, Script

logger = logging.getLogger("launcher_recovery")

_HASH = re.compile(r"[0-9a-fA-F]{4,64}")
_NOT_HERE = ("invalid reference", "did not match any file", "reference is not a tree", "unable to read tree")
_LONGEST = 120


def attempt(operation: Operation, form: Form) -> None:
    """Run the command once.

    Raises:
        CommandError: it failed.
        FileNotFoundError: a program that it needs is not there.
        OSError: the disk failed.
        OperationInterrupted, RecoveryTimeoutError: as `Operation.check`; all its processes are ended first.
    """
    try:
        if isinstance(form, Clone):
            _clone(operation, form)
        elif isinstance(form, CheckOut):
            _check_out(operation, form)
        elif isinstance(form, MakeEnvironment):
            base = shutil.which("python") or sys.executable
            make_environment(operation, form.folder, with_pip=True, base=base, on_line=printed)
        elif isinstance(form, Install):
            _install(operation, form)
        else:
            _run_script(operation, form)
    except DamagedError as error:
        raise (error.__cause__ or error) from None


def printed(line: str) -> None:
    """Print a line, as the launcher does with what its commands print; one that cannot be printed harms nothing."""
    with suppress(OSError, ValueError):
        print(line, flush=True)


class _Saying(Telling):
    """Says what is being done; a command has no steps."""

    def say(self, message: str | None) -> None:
        self.operation.progress(0, None, "steps", message)


def _git(telling: Telling, folder: Path, url: str, heard: Callable[[str], object] = printed) -> Repository:
    def hear(line: str) -> None:
        if not repository.is_progress(line):
            heard(line)

    # The files of Git LFS come with the others where it is installed, as for the launcher's own git.
    more = {"GIT_LFS_SKIP_SMUDGE": os.environ.get("GIT_LFS_SKIP_SMUDGE")}
    return Repository(telling, folder, url, heard=hear, more=more)


def _clone(operation: Operation, form: Clone) -> None:
    url = str(amended(operation.data, {"url": form.url})["url"])
    place = Path(os.path.realpath(form.destination))
    staging = Staging(place, redact_url(url))

    def heard(line: str) -> None:
        printed(line.replace(str(staging.folder), str(form.destination)))

    def clone(to: Path) -> None:
        git.git("clone", "--progress", *form.options, "--", url, str(to), waits_for=host_of(url))

    place.parent.mkdir(parents=True, exist_ok=True)
    git = _git(_Saying(operation, place.name), place.parent, url, heard)
    if place.exists() and not (place.is_dir() and next(place.iterdir(), None) is None):
        clone(place)  # which git refuses, as it always did
        return
    staging.discard()
    upkeep.is_begun(operation, staging)
    try:
        clone(staging.folder)
        publishing.publish(staging, operation.check)
    except BaseException:
        with suppress(OSError):
            staging.discard()
        raise
    finally:
        if not staging.folder.exists():
            upkeep.is_over(operation, staging)


def _check_out(operation: Operation, form: CheckOut) -> None:
    telling = _Saying(operation, form.folder.name)
    looking = _git(telling, form.folder, "")
    url = _found(looking, "config", "--get", "remote.origin.url")
    git = _git(telling, form.folder, url)
    staging = InPlace(form.folder, redact_url(url))
    if operation.attempt > 1:
        staging.clear_leftovers()
    is_commit = _HASH.fullmatch(form.ref) is not None
    if is_commit and url and not _found(looking, "rev-parse", "--verify", "--quiet", f"{form.ref}^{{commit}}"):
        _bring(git, staging, form.ref)
    try:
        _write(git, form.ref)
    except CommandError as error:
        if is_commit or not url or not repository.failed_with(error, _NOT_HERE):
            raise
        _bring(git, staging, form.ref)
        _write(git, form.ref)


def _write(git: Repository, ref: str) -> None:
    git.git("checkout", "--progress", ref, "--")


def _found(git: Repository, *words: str) -> str:
    """The last line that git prints; empty: it knows nothing."""
    try:
        return (git.lines(*words) or [""])[-1]
    except (CommandError, DamagedError):
        return ""


def _bring(git: Repository, staging: InPlace, ref: str) -> None:
    """Fetch what the repository lacks."""
    git.telling.say(f"fetching {ref}, which is not there")
    staging.mark()
    fetch(git, staging, ref)
    staging.unmark()


def _install(operation: Operation, form: Install) -> None:
    telling = _Saying(operation, form.file.parent.name)
    interpreter = Interpreter(operation, str(form.python), telling.say)
    telling.say("looking at the Python environment")
    now = interpreter.look()
    before = operation.step("environment", lambda: environment.kept(now, interpreter.python, str(form.file)))
    if environment.forget_halves(now, before["packages"]):
        now = interpreter.look()
    speaker = requirements.Speaker(telling.say)

    def take(line: str) -> None:
        if not requirements.is_progress(line):
            printed(line)
        speaker(line)

    requirements.run_pip(
        interpreter, ["-r", str(form.file)], take, now, cwd=form.folder, **_activated(form.environment)
    )
    for line in speaker.incompatible:
        telling.warn("incompatible", line)


def _run_script(operation: Operation, form: Script) -> None:
    telling = _Saying(operation, form.file.parent.name)

    def take(line: str) -> None:
        printed(line)
        telling.say(f"{form.file.name}: {line.strip()[:_LONGEST]}")

    Interpreter(operation, str(form.python), telling.say).run(
        [str(form.file)],
        take,
        limit=install_script.SILENT_LIMIT_S,
        cwd=form.folder,
        **_activated(form.environment),
    )


def _activated(folder: Path) -> dict[str, str]:
    """The variables that the script of a virtual environment sets."""
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    return {"VIRTUAL_ENV": str(folder), "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
