"""The Python of a project: what is in its environment, what nodes ask of it, and its pip."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher_recovery.errors import CommandError
from launcher_recovery.fixes import effects
from launcher_recovery.nodes import _inspect
from launcher_recovery.nodes.telling import waiting_for
from launcher_recovery.operation import Operation
from launcher_recovery.programs.running import Silence, run_command
from launcher_recovery.records import RecoveryData

# Reading an environment takes a second or two; on a slow disk that nobody has read from it may be a minute.
_LOOK_LIMIT_S = 300.0
# Of pip itself. It has no figure for how long an index may be silent once it has answered but this one.
PIP_TIMEOUT_S = 30
PIP_RETRIES = 3
_PIP_RESUMES = 20

# What is said of the interpreter of this process, and is wrong for another one.
_OWN = ("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "PYTHONSAFEPATH")


@dataclass(frozen=True)
class Ask:
    """What the requirements of a node say of a package: `wants` as it is written, `satisfied` as it is installed."""

    node: str
    name: str
    wants: str
    satisfied: bool


@dataclass(frozen=True)
class Environment:
    """What an environment has.

    Args:
        pip: its version; None: there is no pip.
        folder: where packages lie.
        versions: by name, as PEP 503 writes names.
        sources: how pip gets those again that are of no index, by name.
        halves: folders of those that pip did not install to the end, by name.
        asks: what the requirements of nodes say.
    """

    pip: tuple[int, ...] | None = None
    folder: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    halves: Mapping[str, Path] = field(default_factory=dict)
    asks: Sequence[Ask] = ()


class Interpreter:
    """Runs the Python of a project.

    Args:
        operation: asked whether to go on; None: nobody is.
        python: path of the interpreter; of a virtual environment not resolved, because it is a link to that of all.
        say: is told what is waited for.
        about: the operation whose guided fixes count: proxy, certificates, options of pip; default: `operation`.
    """

    def __init__(
        self,
        operation: Operation | None,
        python: str | None,
        say: Callable[[str], object],
        about: RecoveryData | None = None,
    ) -> None:
        self.python = os.path.abspath(python or sys.executable)
        self._operation = operation
        self._say = say
        self._about = operation.data if about is None and operation is not None else about

    def look(self, requirements: Mapping[str, Path] | None = None) -> Environment:
        """See what the environment has.

        Args:
            requirements: files whose asks are told as well, by the name of their node.

        Raises:
            CommandError: the interpreter failed.
            FileNotFoundError: there is none.
        """
        found: list[dict[str, Any]] = []

        def take(line: str) -> None:
            if line.startswith(_inspect.MARK):
                found.append(json.loads(line.removeprefix(_inspect.MARK)))

        files = [f"{node}={path}" for node, path in (requirements or {}).items()]
        self.run([_inspect.__file__, *files], take, limit=_LOOK_LIMIT_S)
        return _environment(found)

    def run(
        self,
        words: Sequence[str],
        on_line: Callable[[str], object],
        *,
        limit: float,
        cwd: Path | None = None,
        **env: str,
    ) -> str:
        """Run the interpreter with `words`; see `run_command`.

        Args:
            limit: seconds after which it is ended if it prints nothing.
            env: variables that it gets.
        """
        first = next((word for word in words if not word.startswith("-")), "")
        whom = "Python" if not first or os.path.isabs(first) else first  # "pip", or a script of the node
        fixed = {} if self._about is None else effects.environment_of(self._about)
        return run_command(
            self._operation,
            [self.python, *words],
            cwd=cwd,
            env={
                **dict.fromkeys(_OWN),
                "PYTHONUNBUFFERED": "1",
                "PYTHONIOENCODING": "utf-8:replace",
                **fixed,
                **env,
            },
            on_line=on_line,
            silence=Silence(limit, tell=waiting_for(whom, self._say)),
        )

    def pip(
        self, words: Sequence[str], on_line: Callable[[str], object], version: tuple[int, ...] | None, **how: Any
    ) -> str:
        """Run `pip install WORDS`, with what that pip knows to do when a connection fails.

        Args:
            version: of the pip.
            how: `limit` and `cwd`, as in `run`.
        """
        options = [] if self._about is None else effects.pip_options(self._about)
        return self.run(["-m", "pip", "install", *pip_options(version or ()), *options, *words], on_line, **how)


def pip_options(version: tuple[int, ...]) -> list[str]:
    """Options of `pip install` that this pip has."""
    options = [
        "--disable-pip-version-check",
        "--no-input",
        f"--retries={PIP_RETRIES}",
        f"--timeout={PIP_TIMEOUT_S}",
        # With its numbers on lines of their own, since 24.1; the bar of others needs a terminal.
        f"--progress-bar={'raw' if version >= (24, 1) else 'off'}",
    ]
    if version >= (25, 1):
        options.append(f"--resume-retries={_PIP_RESUMES}")
    return options


def _environment(found: list[dict[str, Any]]) -> Environment:
    about = next((one for one in found if one["kind"] == "python"), None)
    if about is None:
        raise CommandError([_inspect.__file__], 1, "the interpreter did not tell what it has")
    packages = [one for one in found if one["kind"] == "package"]
    return Environment(
        pip=None if about["pip"] is None else tuple(map(int, re.findall(r"\d+", about["pip"])[:3])),
        folder=Path(about["packages"]),
        versions={one["name"]: one["version"] for one in packages},
        sources={one["name"]: one["source"] for one in packages if one["source"]},
        halves={one["name"]: Path(one["half"]) for one in packages if one["half"]},
        asks=tuple(
            Ask(one["node"], one["name"], one["wants"], one["satisfied"]) for one in found if one["kind"] == "ask"
        ),
    )
