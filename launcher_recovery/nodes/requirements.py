"""Installs what a node requires with the pip of its project, and says what that did to the environment."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launcher_recovery.errors import CommandError, OperationInterrupted, text_of
from launcher_recovery.nodes import conflicts, environment
from launcher_recovery.nodes.interpreter import Environment, Interpreter
from launcher_recovery.nodes.pip_log import PipLog
from launcher_recovery.nodes.restoring import put_back
from launcher_recovery.nodes.telling import Telling
from launcher_recovery.room import amount, free_bytes

logger = logging.getLogger("launcher_recovery")

# Among the metadata of an operation: packages that are not as they were before, and nodes that do not go together.
CHANGES, CONFLICTS = "environment_changes", "conflicts"
MOST_CHANGES = 200

# With its numbers pip says something twice a second; without them it is silent for as long as a download of gigabytes
# takes, and its own timeout sees to a line that is dead.
SILENT_LIMIT_S = 900.0
SILENT_DOWNLOAD_LIMIT_S = 7200.0

# When a disk gets full while it writes to a file that is open, pip does not say where.
_FULL = re.compile(r"No space left on device(?!: ')")

_COLLECTING = re.compile(r"\s*(Collecting \S+)")
_DOWNLOADING = re.compile(r"\s*Downloading (?P<what>\S+)(?: \((?P<size>[^)]*)\))?")
_NUMBERS = re.compile(r"Progress (?P<done>\d+) of (?P<size>\d+)")
_OTHERS = re.compile(
    r"\s*((?:Building wheels?|Installing|Preparing metadata|Attempting uninstall|Uninstalling|Using cached"
    r"|Running setup\.py|Getting requirements to build|Cloning|Processing|Created wheel)\b[^:]{0,80})"
)


class Requirements:
    """What a node requires, and the environment that is to have it.

    Args:
        telling: is told what pip does.
        interpreter: of the environment.
        destination: where the node will be.
        folder: where it is now.
    """

    def __init__(self, telling: Telling, interpreter: Interpreter, destination: Path, folder: Path) -> None:
        self._telling = telling
        self._interpreter = interpreter
        self._folder = folder
        self._known: Environment | None = None
        self.is_as_before = False
        """Whether pip failed, and left the environment as it was or had it put back."""
        self._files = {**conflicts.beside(destination), telling.name: folder / "requirements.txt"}

    @property
    def is_needed(self) -> bool:
        """Whether the node requires anything; pip, which takes a second to find out, is not asked."""
        return asks_anything(self._folder / "requirements.txt")

    def known(self) -> Environment:
        """What the environment has, and what nodes ask of it, as it was when it was last looked at."""
        if self._known is None:
            self._known = self._interpreter.look(self._files)
        return self._known

    def look(self) -> Environment:
        """The same as it is now."""
        self._known = None
        return self.known()

    def install(self, before: dict[str, Any]) -> None:
        """Run pip.

        Args:
            before: what was kept of the environment.

        Raises:
            CommandError: it failed; the environment is as it was before, as far as it could be put back.
        """
        now = self._mended(before)
        speaker = Speaker(self._telling.say)
        try:
            run_pip(self._interpreter, ["-r", "requirements.txt"], speaker, now, cwd=self._folder)
        except CommandError as error:
            self._roll_back(before)
            raise self._with_conflicts(error, now) from None
        for line in speaker.incompatible:
            self._telling.warn("incompatible", line)
        self.tell_changes(before, now)

    def tell_changes(self, before: dict[str, Any], earlier: Environment) -> None:
        """Say what is not as it was.

        Args:
            before: what was kept of the environment.
            earlier: how it was found before pip ran.
        """
        name, metadata = self._telling.name, self._telling.operation.metadata
        self._telling.forget("changed_package", "conflict", "environment_changed")
        metadata.pop(CONFLICTS, None)
        now = self.look()
        lines = environment.lines_of(now)
        # Of others may be what changed between two attempts.
        own = {change["name"] for change in metadata.get(CHANGES) or ()}
        own |= {change.name for change in environment.changes(environment.lines_of(earlier), lines)}
        found = [change for change in environment.changes(before["packages"], lines) if change.name in own]
        metadata[CHANGES] = environment.told(found[:MOST_CHANGES])
        for change in environment.noteworthy(found):
            about = {"package": change.name, "before": change.before, "after": change.after}
            self._telling.warn(
                "changed_package", environment.sentence(name, change), **about, fix="restore_environment"
            )
        self._tell_conflicts(conflicts.broken(name, earlier.asks, now.asks, dict(now.versions)))
        self._telling.operation.save_metadata()

    def _tell_conflicts(self, found: list[dict[str, Any]]) -> None:
        if found:
            self._telling.operation.metadata[CONFLICTS] = found
        for conflict in found:
            about = {"package": conflict["name"], "asked": conflict["asked"]}
            self._telling.warn("conflict", conflicts.sentence(conflict), **about, fix="pin_dependency")

    def _with_conflicts(self, error: CommandError, now: Environment) -> CommandError:
        """The error with a last line that names what pip does not: who asks for what."""
        if "ResolutionImpossible" not in error.output and "conflicting dependencies" not in error.output:
            return error
        found = conflicts.impossible(error.output, self._telling.name, now.asks)
        if not found:
            return error
        self._telling.operation.metadata[CONFLICTS] = found
        self._telling.operation.save_metadata()
        return _with_lines(error, "".join(f"{conflicts.sentence(conflict)}\n" for conflict in found))

    def _mended(self, before: dict[str, Any]) -> Environment:
        """The environment without what an earlier pip left half installed."""
        now = self.known()
        return self.look() if environment.forget_halves(now, before["packages"]) else now

    def _roll_back(self, before: dict[str, Any]) -> None:
        """Put the environment back if pip has changed it already."""
        try:
            self._known = None
            if environment.changes(before["packages"], environment.lines_of(self._mended(before))):
                self._telling.say("putting the Python environment back")
                put_back(self._interpreter, before["packages"], None, lambda line: None)
            self.is_as_before = True
        except OperationInterrupted:
            raise
        except (CommandError, OSError) as error:
            logger.warning("the environment could not be put back: %s", text_of(error))
            self._telling.warn(**not_put_back(self._telling.name))


def asks_anything(file: Path) -> bool:
    """Whether a requirements file has anything for pip to do; false as well where there is no file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return True  # pip knows other encodings
    except OSError:
        return file.is_file()
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def run_pip(
    interpreter: Interpreter,
    words: Sequence[str],
    on_line: Callable[[str], object],
    now: Environment,
    *,
    cwd: Path | None = None,
    **env: str,
) -> None:
    """Run `pip install WORDS` until it has been silent for too long.

    Args:
        now: the environment as it is.
        env: variables that it gets.

    Raises:
        CommandError: it failed; the last lines name what pip does not: indexes that did not answer, a disk that is
            full.
    """
    limit = SILENT_LIMIT_S if now.pip is not None and now.pip >= (24, 1) else SILENT_DOWNLOAD_LIMIT_S
    with PipLog() as log:
        try:
            interpreter.pip([*log.words, *words], on_line, now.pip, limit=limit, cwd=cwd, **env)
        except CommandError as error:
            raise _with_disk(log.explained(error), now) from None


def not_put_back(node: str) -> dict[str, str]:
    """The warning that an environment is not as it was before a node which is not installed."""
    return {
        "code": "environment_changed",
        "message": f"{node} was not installed, but it changed the Python environment; restore it.",
        "fix": "restore_environment",
    }


def _with_disk(error: CommandError, now: Environment) -> CommandError:
    if not _FULL.search(error.output) or now.folder is None:
        return error
    return _with_lines(error, f"OSError: [Errno 28] No space left on device: '{_fullest(now.folder)}{os.sep}'\n")


def _fullest(packages: Path) -> Path:
    """The folder on the disk with the least room, of those where pip writes."""
    return min((packages, Path(tempfile.gettempdir())), key=free_bytes)


def _with_lines(error: CommandError, lines: str) -> CommandError:
    return CommandError(error.argv, error.returncode, f"{error.output.rstrip()}\n{lines}")


def is_progress(line: str) -> bool:
    """Whether it is a line that pip prints only because it was asked for its progress."""
    return _NUMBERS.fullmatch(line.strip()) is not None


class Speaker:
    """Makes what a person is told of the lines that pip prints; what it says of packages that do not fit is kept."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._what = ""
        self.incompatible: list[str] = []

    def __call__(self, line: str) -> None:
        """Take a line."""
        numbers = _NUMBERS.fullmatch(line.strip())
        if numbers is not None:
            done, size = int(numbers["done"]), int(numbers["size"])
            self._say(f"downloading {self._what}: {amount(done)} of {amount(size)}")
        elif (found := _DOWNLOADING.match(line)) is not None:
            self._what = found["what"].partition("#")[0].partition("?")[0].rpartition("/")[2]
            size_words = f" ({found['size']})" if found["size"] else ""
            self._say(f"downloading {self._what}{size_words}")
        elif (other := _COLLECTING.match(line) or _OTHERS.match(line)) is not None:
            self._say(f"pip: {other[1].strip()}")
        elif (problem := conflicts.incompatible(line)) is not None:
            self.incompatible.append(problem)
