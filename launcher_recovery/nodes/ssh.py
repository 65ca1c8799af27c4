"""The ssh that git uses: the user's own, asking for nothing, and giving up on a far end that does not answer."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

_LOOK_S = 20.0
# ssh takes the first that it is given of each (ssh_config(5)): those of the user's command go before them.
_OPTIONS = "-o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
# By these names git knows that a program takes the options of OpenSSH (git-config(1), ssh.variant).
_OPENSSH = frozenset({"ssh", "ssh.exe"})


def ssh_command(folder: Path, environ: Mapping[str, str]) -> str | None:
    """What GIT_SSH_COMMAND is to be; None: not set, since the user has another program in another variable.

    git goes by GIT_SSH_COMMAND before core.sshCommand, and by that before GIT_SSH; so does this.

    Args:
        folder: where git works, whose settings count.
        environ: the variables of git.
    """
    own = environ.get("GIT_SSH_COMMAND") or _configured(folder, environ)
    if own is None:
        return None if environ.get("GIT_SSH") else f"ssh {_OPTIONS}"
    return f"{own} {_OPTIONS}" if _is_openssh(own) else own


def _configured(folder: Path, environ: Mapping[str, str]) -> str | None:
    """What the settings of git say; None: nothing."""
    try:
        done = subprocess.run(
            ["git", "config", "--get", "core.sshCommand"],
            cwd=folder,
            env=dict(environ),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_LOOK_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _is_openssh(command: str) -> bool:
    """Whether the command is ssh itself, not a wrapper or another program, which may take other options."""
    try:
        words = shlex.split(command, posix=os.name != "nt")
    except ValueError:
        return False
    name = words[0].strip("\"'").replace("\\", "/").rpartition("/")[2] if words else ""
    return name.lower() in _OPENSSH
