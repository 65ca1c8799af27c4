"""Plans about git, pip, nodes and ComfyUI itself; and the commands that a person has to type, for this system."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher_recovery.fixes import effects, known_good
from launcher_recovery.fixes.action import Function, Hands
from launcher_recovery.fixes.actions import Call, GitSetting, git_values
from launcher_recovery.fixes.fix import Case, FixRefusedError, Plan, Say
from launcher_recovery.fixes.planning_access import setting

# git, setup.c; of a long message only the last line is kept, which is the command that git proposes.
_DUBIOUS = re.compile(
    r"detected dubious ownership in repository at '([^'\n]+)'|git config --global --add safe\.directory '?([^'\n]+)"
)
_SAFE = "safe.directory"
# By package manager: the command, and the packages of what may be missing.
_MANAGERS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        "apt-get",
        "sudo apt-get install",
        {"tools": "build-essential python3-dev", "git": "git", "lfs": "git-lfs", "venv": "python3-venv"},
    ),
    (
        "dnf",
        "sudo dnf install",
        {"tools": "gcc gcc-c++ make python3-devel", "git": "git", "lfs": "git-lfs", "venv": "python3"},
    ),
    ("pacman", "sudo pacman -S", {"tools": "base-devel", "git": "git", "lfs": "git-lfs", "venv": "python"}),
    (
        "zypper",
        "sudo zypper install",
        {"tools": "gcc gcc-c++ make python3-devel", "git": "git", "lfs": "git-lfs", "venv": "python3"},
    ),
    ("apk", "sudo apk add", {"tools": "build-base python3-dev", "git": "git", "lfs": "git-lfs", "venv": "python3"}),
)
_WINDOWS = {
    "tools": 'winget install Microsoft.VisualStudio.2022.BuildTools --override "--wait --passive '
    '--add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"',
    "git": "winget install Git.Git",
    "lfs": "winget install GitHub.GitLFS",
    "venv": "winget install Python.Python.3.12",
}
_MAC = {
    "tools": "xcode-select --install",
    "git": "xcode-select --install",
    "lfs": "brew install git-lfs",
    "venv": "brew install python",
}


def command_for(what: str, platform: str = sys.platform) -> str:
    """The command that installs "tools", "git", "lfs" or "venv" on this system; empty when it is not known."""
    if platform == "win32":
        return _WINDOWS[what]
    if platform == "darwin":
        return _MAC[what]
    for program, command, packages in _MANAGERS:
        if shutil.which(program):
            return f"{command} {packages[what]}"
    return ""


def repository_of(case: Case) -> str | None:
    """The repository that git does not trust."""
    found = _DUBIOUS.search(case.error_text)
    path = None if found is None else found.group(1) or found.group(2)
    if path is not None and os.path.isabs(path):
        return path
    destination = case.path("destination", "project_folder")
    return None if destination is None else str(destination)


def check_repository(value: Any, case: Case) -> Say | None:
    """Exactly one repository: git takes "*" as all there are, and "/*" at the end as all below."""
    if "*" in value or "\0" in value:
        return Say("wrong.one_folder")
    path = Path(value)
    if not (path / ".git").exists() and not (path / "HEAD").is_file():
        return Say("wrong.no_repository", {"path": value})
    return None


def mark_safe_directory(case: Case) -> Plan:
    """One repository is entered in git's list of those that this user trusts."""
    # As git compares it: without a slash at the end, with links resolved.
    path = os.path.realpath(case.given["path"]).replace(os.sep, "/")
    if path in git_values(case.tools, _SAFE):
        raise FixRefusedError(Say("wrong.already"))
    return Plan((GitSetting(_SAFE, path),), (Say("safe.only", {"path": path}),))


def long_paths(case: Case) -> Plan:
    """git uses long paths, for this operation; the setting of Windows is a person's."""
    return Plan((setting(case, effects.LONG_PATHS, True),), (Say("long.registry"),))


def prefer_binary(case: Case) -> Plan:
    """pip takes older versions that need no compiler before newer ones that do, for this operation."""
    return Plan((setting(case, effects.PREFER_BINARY, True),), (Say("only.here"),))


def skip_node(case: Case) -> Plan:
    """The import goes on without this node, and says so."""
    return Plan((setting(case, effects.SKIPPED, True),), (Say("skip.missing", {"title": case.data.title}),))


def last_good_commit(case: Case) -> str | None:
    """The commit of ComfyUI with which an import worked last."""
    return known_good.last(case.tools.folder)


def check_commit(value: Any, case: Case) -> Say | None:
    """A commit, not a branch: that would move on."""
    return None if known_good.COMMIT.fullmatch(value) else Say("wrong.commit", {"value": value})


def pin_comfyui(case: Case) -> Plan:
    """The import takes one commit of ComfyUI, not the newest."""
    commit = case.given["commit"]
    noted = commit == last_good_commit(case)
    says = () if noted else (Say("pin.not_known"),)
    return Plan((setting(case, effects.COMFYUI_COMMIT, commit),), says)


def restore_environment(case: Case) -> Plan:
    """The environment becomes as it was recorded before the operation changed it."""
    environments = case.tools.environments
    changes = None if environments is None else environments.changes(case.data)
    if changes is None:
        raise FixRefusedError(Say("wrong.no_record"))
    if not changes:
        raise FixRefusedError(Say("wrong.already"))
    back = [f"{name} {version}" for name, version in sorted(changes.items()) if version is not None]
    gone = sorted(name for name, version in changes.items() if version is None)
    told = {"packages": ", ".join(back) or "-", "removed": ", ".join(gone) or "-"}
    return Plan((Call("restore_environment", told, "do.restore"),), (Say("restore.minutes"),))


def _restore(hands: Hands, arguments: Mapping[str, Any]) -> None:
    environments = hands.tools.environments
    if environments is None:
        raise FixRefusedError(Say("wrong.no_record"))
    environments.restore(hands.record())


RESTORE = {"restore_environment": Function(_restore)}
