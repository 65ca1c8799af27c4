"""The rules as data: what an error looks like, what it means, whether a retry helps, and where that is known from.

The first rule that matches decides. Structured facts come first (status, errno, exception type), texts of
programs last and anchored to the wording of the program, never bare keywords.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass

from launcher_recovery.classification.facts import Facts
from launcher_recovery.classification.verdict import ErrorCategory, Retry
from launcher_recovery.records import WaitingFor


@dataclass(frozen=True)
class Rule:
    """One entry. Every condition that is given must hold.

    Args:
        id: stable name, shown by `explain`.
        category, retry, fix: the verdict; `fix` is the id of a guided fix, shown when retries have run out.
        explanation: one sentence for people; `{host}` and `{status}` are filled in.
        source: where this meaning is documented.
        types: qualified names of exception classes, any of which is in the chain.
        errnos: any of them is in the chain.
        statuses: HTTP status, from (inclusive) to (inclusive).
        text: pattern found in the output of a program or the message.
        commands_only: the pattern is looked for in program output alone.
        waits: what an operation may wait for instead of failing, where its folder is known; the explanation is then
            that of `launcher_recovery.room`, which has the numbers.
    """

    id: str
    category: ErrorCategory
    retry: Retry
    explanation: str
    source: str
    fix: str | None = None
    types: frozenset[str] = frozenset()
    errnos: frozenset[int] = frozenset()
    statuses: tuple[int, int] | None = None
    text: re.Pattern[str] | None = None
    commands_only: bool = False
    waits: WaitingFor | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether every given condition holds for `facts`."""
        if self.statuses is not None and (
            facts.status is None or not self.statuses[0] <= facts.status <= self.statuses[1]
        ):
            return False
        if self.errnos and not self.errnos.intersection(facts.errnos):
            return False
        if self.types and not self.types & facts.types:
            return False
        if self.commands_only and facts.returncode is None:
            return False
        return self.text is None or self.text.search(facts.text) is not None


def _types(*names: str) -> frozenset[str]:
    return frozenset(names)


def _output(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.MULTILINE | re.IGNORECASE)


_C, _R = ErrorCategory, Retry
_OURS = "launcher_recovery.errors."

RULES: tuple[Rule, ...] = (
    # -- our own errors -------------------------------------------------------------------------------
    Rule(
        "login-required", _C.PERMISSION, _R.AFTER_FIX, "{host} probably wants you to log in, or to accept a licence, "
        "before it gives the file: add an access token for it.", "launcher_recovery.transfer.content.recognising",
        fix="add_token", types=_types(_OURS + "LoginRequiredError"),
    ),
    Rule(
        "captive-portal", _C.NETWORK, _R.YES, "A page of another place came between you and {host}, such as the login "
        "page of a network: open any page in the browser and log in there.", "RFC 8952",
        fix="check_connection", types=_types(_OURS + "CaptivePortalError"),
    ),
    Rule(
        "browser-check", _C.RATE_LIMIT, _R.YES, "{host} lets only browsers pass at the moment.",
        "Cloudflare, Detect a Challenge Page response", fix="wait_and_retry", types=_types(_OURS + "BrowserCheckError"),
    ),
    Rule(
        "pointer-file", _C.VALIDATION, _R.NO, "The address on {host} leads to the Git LFS pointer of the file, not to "
        "the file; use its download address.", "git-lfs docs/spec.md",
        fix="update_url", types=_types(_OURS + "PointerFileError"),
    ),
    Rule(
        "document-login", _C.PERMISSION, _R.AFTER_FIX, "{host} does not let us have this: it may need an access token, "
        "or its licence accepted.", "RFC 9110 §15.5", fix="add_token", types=_types(_OURS + "ErrorDocumentError"),
        statuses=(401, 403),
    ),
    Rule(
        "document-429", _C.RATE_LIMIT, _R.YES, "{host} asked us to slow down.", "RFC 6585 §4",
        fix="wait_and_retry", types=_types(_OURS + "ErrorDocumentError"), statuses=(429, 429),
    ),
    Rule(
        "document-5xx", _C.NETWORK, _R.YES, "{host} has a problem of its own at the moment.", "RFC 9110 §15.6",
        fix="wait_and_retry", types=_types(_OURS + "ErrorDocumentError"), statuses=(500, 599),
    ),
    Rule(
        "error-document", _C.VALIDATION, _R.NO, "{host} answered with an error message instead of the file.",
        "launcher_recovery.transfer.content.recognising", fix="update_url", types=_types(_OURS + "ErrorDocumentError"),
    ),
    Rule(
        "unexpected-content", _C.VALIDATION, _R.NO, "{host} has something else than the file at this address.",
        "launcher_recovery.transfer.content.recognising", fix="update_url", types=_types(_OURS + "UnexpectedContentError"),
    ),
    Rule(
        "address-expired", _C.PERMISSION, _R.NO, "The address is no longer valid: it was made for a while only. Get a "
        "new one from where you have it, and start the download again; what has arrived is kept.",
        "launcher_recovery.transfer", fix="update_url", types=_types(_OURS + "AddressExpiredError"),
    ),
    Rule(
        "part-in-use", _C.RESOURCE, _R.YES, "Another program is writing to the same file; it is tried again when that "
        "has ended.", "launcher_recovery.transfer", fix="close_other_program",
        types=_types(_OURS + "PartInUseError"), waits=WaitingFor.PROGRAM,
    ),
    Rule(
        "checksum", _C.INTEGRITY, _R.ONCE, "The file that arrived is damaged; it is fetched once more from the start.",
        "launcher_recovery.transfer", fix="redownload", types=_types(_OURS + "IntegrityError"),
    ),
    Rule(
        "cancelled", _C.CANCELLED, _R.NO, "It was cancelled.", "Python asyncio documentation",
        types=_types(_OURS + "OperationCancelled", "asyncio.exceptions.CancelledError"),
    ),
    Rule(
        "breaker-open", _C.NETWORK, _R.YES, "{host} has failed repeatedly and is left alone for a while.",
        "launcher_recovery.breaker", fix="wait_and_retry", types=_types(_OURS + "CircuitBreakerOpenError"),
    ),
    Rule(
        "folder-gone", _C.RESOURCE, _R.AFTER_FIX, "The folder is not there any more: its disk was unplugged, or it was deleted.",
        "launcher_recovery.transfer", fix="reconnect_disk", types=_types(_OURS + "FolderGoneError"), waits=WaitingFor.DISK,
    ),
    Rule(
        "refused", _C.VALIDATION, _R.NO, "The request was refused because it is not safe or not possible.",
        "launcher_recovery.errors", types=_types(_OURS + "RefusedError", _OURS + "NoHandlerError"),
    ),
    # -- HTTP status (RFC 9110 §15, RFC 6585) ---------------------------------------------------------
    Rule(
        "http-429", _C.RATE_LIMIT, _R.YES, "{host} asked us to slow down.", "RFC 6585 §4",
        fix="wait_and_retry", statuses=(429, 429),
    ),
    Rule(
        "http-401", _C.PERMISSION, _R.AFTER_FIX, "{host} wants you to log in: add an access token for it.",
        "RFC 9110 §15.5.2", fix="add_token", statuses=(401, 401),
    ),
    Rule(
        "http-403", _C.PERMISSION, _R.AFTER_FIX, "{host} does not let us have this: it may need an access token, "
        "or its licence accepted.", "RFC 9110 §15.5.4", fix="add_token", statuses=(403, 403),
    ),
    Rule(
        "http-407", _C.PERMISSION, _R.AFTER_FIX, "The proxy wants a user name and password.", "RFC 9110 §15.5.8",
        fix="check_proxy", statuses=(407, 407),
    ),
    Rule(
        "http-gone", _C.NOT_FOUND, _R.NO, "The address is not there any more on {host} (status {status}).",
        "RFC 9110 §15.5.5", fix="update_url", statuses=(404, 404),
    ),
    Rule(
        "http-410", _C.NOT_FOUND, _R.NO, "The address was removed from {host} for good.", "RFC 9110 §15.5.11",
        fix="update_url", statuses=(410, 410),
    ),
    Rule(
        "http-timeout", _C.TIMEOUT, _R.YES, "{host} took too long to answer.", "RFC 9110 §15.5.9",
        fix="check_connection", statuses=(408, 408),
    ),
    Rule(
        "http-416", _C.INTEGRITY, _R.ONCE, "The file on {host} changed while it was being downloaded.",
        "RFC 9110 §15.5.17", fix="redownload", statuses=(416, 416),
    ),
    Rule(
        "http-501", _C.VALIDATION, _R.NO, "{host} cannot do what was asked (status {status}).", "RFC 9110 §15.6.2",
        fix="update_url", statuses=(501, 501),
    ),
    Rule(
        "http-504", _C.TIMEOUT, _R.YES, "A server behind {host} took too long to answer.", "RFC 9110 §15.6.5",
        fix="wait_and_retry", statuses=(504, 504),
    ),
    Rule(
        "http-522", _C.TIMEOUT, _R.YES, "A server behind {host} did not answer in time (status {status}).",
        "Cloudflare 5xx errors", fix="wait_and_retry", statuses=(522, 522),
    ),
    Rule(
        "http-524", _C.TIMEOUT, _R.YES, "A server behind {host} did not answer in time (status {status}).",
        "Cloudflare 5xx errors", fix="wait_and_retry", statuses=(524, 524),
    ),
    Rule(
        "http-511", _C.NETWORK, _R.YES, "The network wants you to log in before it lets you through to {host}: open any "
        "page in the browser.", "RFC 6585 §6", fix="check_connection", statuses=(511, 511),
    ),
    Rule(
        "http-5xx", _C.NETWORK, _R.YES, "{host} has a problem of its own at the moment (status {status}).",
        "RFC 9110 §15.6", fix="wait_and_retry", statuses=(500, 599),
    ),
    Rule(
        "http-4xx", _C.VALIDATION, _R.NO, "{host} refused the request (status {status}).", "RFC 9110 §15.5",
        fix="update_url", statuses=(400, 499),
    ),
    # -- errno (errno(3)) -----------------------------------------------------------------------------
    Rule(
        "quota", _C.RESOURCE, _R.AFTER_FIX, "What this user may store on the disk is used up (a quota).", "errno(3)",
        fix="free_disk_space", errnos=frozenset({errno.EDQUOT}), waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        "disk-full", _C.RESOURCE, _R.AFTER_FIX, "The disk is full.", "errno(3)", fix="free_disk_space",
        errnos=frozenset({errno.ENOSPC}), waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        "read-only-disk", _C.PERMISSION, _R.AFTER_FIX, "The disk can be read, but not written to.", "errno(3)",
        fix="fix_permissions", errnos=frozenset({errno.EROFS}),
    ),
    Rule(
        "file-rights", _C.PERMISSION, _R.AFTER_FIX, "The folder cannot be written to.", "errno(3)",
        fix="fix_permissions", errnos=frozenset({errno.EACCES, errno.EPERM}),
    ),
    Rule(
        "disk-fails", _C.RESOURCE, _R.AFTER_FIX, "The disk does not answer as it should: it may have been unplugged, or "
        "be about to fail.", "errno(3)", fix="reconnect_disk",
        errnos=frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE}),
    ),
    Rule(
        "name-too-long", _C.VALIDATION, _R.AFTER_FIX, "The name of the file is longer than its disk allows.", "errno(3)",
        fix="shorten_name", errnos=frozenset({errno.ENAMETOOLONG}),
    ),
    Rule(
        "file-too-large", _C.RESOURCE, _R.AFTER_FIX, "The disk takes no files as large as this one; FAT32, as on many USB "
        "sticks, takes 4 GB.", "errno(3)", fix="use_other_disk", errnos=frozenset({errno.EFBIG}),
    ),
    Rule(
        "too-many-files", _C.RESOURCE, _R.YES, "Too many files are open at the moment.", "errno(3)",
        fix="close_other_program", errnos=frozenset({errno.EMFILE, errno.ENFILE}),
    ),
    Rule(
        # Before "timeout": urllib3 has them under its class of that name.
        "not-connected", _C.NETWORK, _R.YES, "{host} could not be reached.", "urllib3 documentation",
        fix="check_connection",
        types=_types("urllib3.exceptions.NewConnectionError", "urllib3.exceptions.NameResolutionError"),
    ),
    # -- exception types ------------------------------------------------------------------------------
    Rule(
        "bad-url", _C.VALIDATION, _R.NO, "The address is not a usable web address.", "requests documentation",
        fix="update_url", types=_types(
            "requests.exceptions.MissingSchema", "requests.exceptions.InvalidSchema",
            "requests.exceptions.InvalidURL", "requests.exceptions.TooManyRedirects",
        ),
    ),
    Rule(
        "tls-certificate", _C.NETWORK, _R.NO, "The identity of {host} could not be verified.", "Python ssl documentation",
        fix="check_clock", types=_types("ssl.SSLCertVerificationError"),
    ),
    Rule(
        "timeout", _C.TIMEOUT, _R.YES, "{host} did not answer in time.", "requests and Python documentation",
        fix="check_connection", types=_types(
            "requests.exceptions.Timeout", "urllib3.exceptions.TimeoutError", "builtins.TimeoutError",
            "socket.timeout", "asyncio.exceptions.TimeoutError", "subprocess.TimeoutExpired",
        ),
    ),
    Rule(
        "connection", _C.NETWORK, _R.YES, "The connection to {host} broke off.", "requests and Python documentation",
        fix="check_connection", types=_types(
            "requests.exceptions.ConnectionError", "requests.exceptions.ChunkedEncodingError",
            "urllib3.exceptions.ProtocolError", "http.client.IncompleteRead", "http.client.RemoteDisconnected",
            "builtins.ConnectionError", "socket.gaierror", "ssl.SSLError",
        ),
    ),
    Rule(
        "connection-errno", _C.NETWORK, _R.YES, "The connection to {host} broke off.", "errno(3)",
        fix="check_connection", errnos=frozenset({
            errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ECONNRESET,
            errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT,
        }),
    ),
    Rule(
        "memory", _C.RESOURCE, _R.AFTER_FIX, "The computer ran out of memory.", "Python documentation",
        fix="free_memory", types=_types("builtins.MemoryError"),
    ),
    Rule(
        "permission", _C.PERMISSION, _R.AFTER_FIX, "Access was denied.", "Python documentation",
        fix="fix_permissions", types=_types("builtins.PermissionError"),
    ),
    Rule(
        "missing-file", _C.NOT_FOUND, _R.NO, "A file or program that is needed is not there.", "Python documentation",
        types=_types("builtins.FileNotFoundError", "builtins.NotADirectoryError", "builtins.IsADirectoryError"),
    ),
    # -- output of git and pip ------------------------------------------------------------------------
    Rule(
        "git-http-5xx", _C.NETWORK, _R.YES, "The git server has a problem of its own at the moment.",
        "git http.c", fix="wait_and_retry", commands_only=True,
        text=_output(r"^(fatal|error): .*The requested URL returned error: 5\d\d\b", r"^error: RPC failed; HTTP 5\d\d\b"),
    ),
    Rule(
        "git-http-429", _C.RATE_LIMIT, _R.YES, "The git server asked us to slow down.", "git http.c",
        fix="wait_and_retry", commands_only=True, text=_output(r"^fatal: .*The requested URL returned error: 429\b"),
    ),
    Rule(
        "git-network", _C.NETWORK, _R.YES, "The connection to the git server broke off.", "git http.c, libcurl",
        fix="check_connection", commands_only=True, text=_output(
            r"^fatal: unable to access '.*': (Could not resolve host|Failed to connect to|Connection |Recv failure"
            r"|Empty reply from server|.*Operation timed out|GnuTLS recv error|OpenSSL SSL_|transfer closed"
            r"|Send failure|Operation too slow)",
            r"^(fatal|error): (the remote end hung up unexpectedly|early EOF|RPC failed; curl (5|6|7|16|18|28|35|52|55|56|92)\b)",
            r"^fatal: fetch-pack: invalid index-pack output", r"^error: \d+ bytes of body are still expected",
            r"^error: .*transfer closed with \d+ bytes remaining",
        ),
    ),
    Rule(
        "git-missing", _C.NOT_FOUND, _R.NO, "The repository, branch or commit does not exist.", "git remote-curl.c",
        fix="update_url", commands_only=True, text=_output(
            r"^fatal: repository '.*' (not found|does not exist)", r"^remote: Repository not found",
            r"^fatal: Remote branch .* not found", r"^error: pathspec '.*' did not match",
            r"^fatal: reference is not a tree", r"^fatal: invalid reference: ", r"^fatal: .*The requested URL returned error: 4(04|10)\b",
        ),
    ),
    Rule(
        "git-auth", _C.PERMISSION, _R.AFTER_FIX, "The git server wants you to log in.", "git credential.c",
        fix="add_token", commands_only=True, text=_output(
            r"^fatal: could not read (Username|Password) for", r"^fatal: Authentication failed for",
            r"^fatal: .*The requested URL returned error: 40[13]\b",
        ),
    ),
    Rule(
        "pip-no-space", _C.RESOURCE, _R.AFTER_FIX, "The disk is full.", "pip", fix="free_disk_space",
        commands_only=True, text=_output(r"^(ERROR|OSError|fatal|error): .*No space left on device"),
        waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        "pip-quota", _C.RESOURCE, _R.AFTER_FIX, "What this user may store on the disk is used up (a quota).", "pip, git",
        fix="free_disk_space", commands_only=True, text=_output(r"^(ERROR|OSError|fatal|error): .*Disk quota exceeded"),
        waits=WaitingFor.DISK_SPACE,
    ),
    Rule(
        "pip-conflict", _C.DEPENDENCY, _R.NO, "The packages that are asked for do not fit together.",
        "pip resolver documentation", fix="pin_dependency", commands_only=True,
        text=_output(r"^ERROR: ResolutionImpossible", r"^ERROR: Cannot install .* because these package versions have conflicting"),
    ),
    Rule(
        "pip-network", _C.NETWORK, _R.YES, "The connection to the package index broke off.", "pip",
        fix="check_connection", commands_only=True, text=_output(
            r"^(pip\._vendor\.)?(urllib3|requests)\.exceptions\.(ProtocolError|ReadTimeoutError|IncompleteRead|ConnectionError"
            r"|ChunkedEncodingError|ConnectTimeout|ReadTimeout)",
            r"^ERROR: (HTTP error 5\d\d while|Could not install packages due to an OSError: HTTPS?ConnectionPool)",
            r"^WARNING: Retrying \(Retry\(total=0\b",
        ),
    ),
    Rule(
        "pip-missing", _C.DEPENDENCY, _R.NO, "A package that is asked for does not exist in that version.", "pip",
        fix="pin_dependency", commands_only=True,
        text=_output(r"^ERROR: No matching distribution found for", r"^ERROR: Could not find a version that satisfies"),
    ),
    # -- programming errors, last ---------------------------------------------------------------------
    Rule(
        "invalid-value", _C.VALIDATION, _R.NO, "Something that was given is not valid.", "Python documentation",
        fix="fix_workflow", types=_types("builtins.ValueError", "builtins.TypeError", "builtins.LookupError"),
    ),
    Rule(
        "programming", _C.INTERNAL, _R.NO, "The program has an error of its own.", "Python documentation",
        types=_types("builtins.NameError", "builtins.AttributeError", "builtins.ImportError", "builtins.AssertionError",
                     "builtins.NotImplementedError"),
    ),
)  # fmt: skip


def first_match(rules: Iterable[Rule], facts: Facts) -> Rule | None:
    """The first of `rules` that matches."""
    return next((rule for rule in rules if rule.matches(facts)), None)
