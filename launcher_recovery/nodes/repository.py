"""Runs git: never asks a person, trusts nothing that a configuration elsewhere may say, and says what is waited for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from launcher_recovery import reach
from launcher_recovery.errors import CommandError
from launcher_recovery.fixes.effects import ca_bundle_of, git_environment, numbered, proxy_of
from launcher_recovery.nodes.addresses import SCHEMES, host_of
from launcher_recovery.nodes.ssh import ssh_command
from launcher_recovery.nodes.telling import Telling, waiting_for
from launcher_recovery.programs.running import Silence, run_command

# git shows its progress every second; a far end that counts objects says so as well. Only one that hangs says nothing.
SILENT_LIMIT_S = 300.0

# What a configuration of the user or the system may say otherwise, and what would then go differently here. For git
# before 2.31 (March 2021), which does not know GIT_CONFIG_COUNT, they stay as they are.
_SETTINGS = {
    "advice.detachedHead": "false",
    "clone.defaultRemoteName": "origin",
    "core.fsmonitor": "false",
    "core.longpaths": "true",
    "fetch.fsckObjects": "false",
    "fetch.parallel": "1",
    "fetch.prune": "false",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "false",
}

# Of the environment of this process: where another git that started it works.
_NOT_OURS = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)

# The objects or the index are not as git wrote them, as after a power cut.
_DAMAGED = re.compile(
    r"^(?:error|fatal): (?:.*\bis corrupt(?:ed)?\b|.*\bobject file .* is empty|bad (?:object|tree|index file|config)\b"
    r"|.*\bpack(?:file)? .*(?:does not match index|is (?:too small|invalid)|cannot be (?:mapped|accessed))"
    r"|unable to (?:read (?:tree|sha1 file)|unpack)\b|index file (?:corrupt|smaller than expected)"
    r"|inflate: data stream error|missing (?:blob|tree|commit) object|Could not read [0-9a-f]{40,64}"
    r"|revision walk setup failed|not a git repository|loose object .*corrupt|cannot read [^:]*index"
    r"|Unable to find current revision in submodule path|shallow file)",
    re.MULTILINE | re.IGNORECASE,
)
_PERCENT = re.compile(
    r"^(?:remote: )?(?P<what>[A-Z][a-z]+(?: [a-z]+)*):\s+(?P<percent>\d+%)[^,]*(?:, (?P<amount>[^,]+))?"
)
_WORDS = {
    "Counting objects": "the server counts objects",
    "Compressing objects": "the server compresses objects",
    "Receiving objects": "receiving",
    "Resolving deltas": "unpacking",
    "Updating files": "writing files",
    "Unpacking objects": "receiving",
    "Filtering content": "receiving large files",
}


class DamagedError(Exception):
    """What is in the staging folder cannot be used; it has to be begun anew. Its cause is the error of git."""


class Repository:
    """Runs git in the staging folder of a node, as guided fixes have it: proxy, certificates, a token for the host.

    Args:
        telling: is told what git does.
        folder: where git works; it need not be there yet for `init`.
        url: of the repository; decides which protocols may be used.
        asks: the address that is asked, whose host gets the token that a person gave for it; default: `url`.
        heard: called with every line that git prints for people, in other folders as well.
        more: variables for git that go before those of its own; None: one that it does not get.
    """

    def __init__(
        self,
        telling: Telling,
        folder: Path,
        url: str,
        asks: str | None = None,
        heard: Callable[[str], object] = lambda line: None,
        more: Mapping[str, str | None] | None = None,
    ) -> None:
        self.telling = telling
        self.folder = folder
        self.url = url
        self.asks = url if asks is None else asks
        self.heard = heard
        self.more = more or {}

    def within(self, folder: Path, asks: str | None = None) -> Repository:
        """Git in another folder, such as that of a submodule; `asks` None: it is fetched from the same host."""
        return Repository(self.telling, folder, self.url, self.asks if asks is None else asks, self.heard, self.more)

    def git(self, *words: str, waits_for: str | None = None) -> str:
        """Run `git WORDS` and return the end of its output.

        Args:
            waits_for: who is waited for while nothing is printed; None: this machine.

        Raises:
            DamagedError: the repository is not usable.
            CommandError: any other failure.
            PrivateAddressError: the repository is where it may not be asked, see `reach`.
        """
        return self._run(words, waits_for, self._show)

    def lines(self, *words: str, waits_for: str | None = None) -> list[str]:
        """Run `git WORDS`, where it prints one thing a line, and return all of them; see `git`."""
        found: list[str] = []
        self._run(words, waits_for, found.append)
        return found

    def _run(self, words: Sequence[str], waits_for: str | None, on_line: Callable[[str], object]) -> str:
        limit = reach.current()
        if limit is not None and (waits_for is not None or urlsplit(self.asks).scheme == "file"):
            limit.check_repository(self.asks, host_of(self.asks))
        whom = "git" if waits_for is None else f"an answer from {waits_for}"
        silence = Silence(SILENT_LIMIT_S, tell=waiting_for(whom, self.telling.say))
        operation, variables = self.telling.operation, self._environment(is_asking=waits_for is not None)
        try:
            return run_command(
                operation, ["git", *words], cwd=self.folder, env=variables, on_line=on_line, silence=silence
            )
        except CommandError as error:
            if _DAMAGED.search(error.output):
                raise DamagedError(str(error)) from error
            raise

    def _environment(self, is_asking: bool) -> dict[str, str | None]:
        """The variables for git, as they differ from those of this process; see `environment`."""
        variables = {**environment(self.url), **self.more}
        variables |= git_environment(self.telling.operation.data, self.asks, environ=variables)
        if is_asking:
            whole = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
            variables["GIT_SSH_COMMAND"] = ssh_command(self.folder, whole)
            variables |= self._confined(variables)
        return variables

    def _confined(self, variables: Mapping[str, str | None]) -> dict[str, str]:
        """What has git go no farther than it may, see `reach`; nothing when it may go anywhere."""
        limit = reach.current()
        if limit is None:
            return {}
        from launcher_recovery.nodes import confined  # which loads requests
        from launcher_recovery.transfer.http.session import way

        data = self.telling.operation.data
        return numbered(confined.settings_for(self.asks, limit, way(proxy_of(data), ca_bundle_of(data))), variables)

    def _show(self, line: str) -> None:
        self.heard(line)
        found = _PERCENT.match(line)
        if found is None or found["what"] not in _WORDS:
            return
        amount = f" ({found['amount'].strip()})" if found["amount"] and "i" in found["amount"] else ""
        self.telling.say(f"{_WORDS[found['what']]}: {found['percent']}{amount}")


def protocols(url: str) -> str:
    """What git may use; local files only for a repository that is one, or its submodules could read others."""
    allowed = SCHEMES if urlsplit(url).scheme == "file" else [name for name in SCHEMES if name != "file"]
    configured = os.environ.get("GIT_ALLOW_PROTOCOL")
    if configured is not None:
        allowed = [name for name in allowed if name in configured.split(":")]
    return ":".join(allowed)


def environment(url: str) -> dict[str, str | None]:
    """The variables for git, as they differ from those of this process; None: not given to it."""
    return {
        **dict.fromkeys(_NOT_OURS),
        **numbered([*_SETTINGS.items()]),
        # Its messages are read by rules, which know the English ones.
        "LC_ALL": "C",
        "LANGUAGE": "C",
        # Nobody is there to be asked, neither at a terminal nor in a window.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_EDITOR": ":",
        # A line that has been almost silent for half a minute (bytes a second, seconds); for http only.
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "30",
        "GIT_ALLOW_PROTOCOL": protocols(url),
        "GIT_LITERAL_PATHSPECS": "1",
        # `lfs.get_files` gets them, in a step of its own, and knows which of them a node can do without.
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_PROGRESS_DELAY": "1",
    }


def is_progress(line: str) -> bool:
    """Whether it is a line that git prints only because it was asked for its progress."""
    return _PERCENT.match(line) is not None


def failed_with(error: CommandError, patterns: Sequence[str]) -> bool:
    """Whether the output of git has one of these texts."""
    return any(pattern in error.output for pattern in patterns)
