"""Errors of launcher-recovery itself."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R
from launcher_recovery.records import WaitingFor


def _ours(*names: str) -> frozenset[str]:
    return frozenset("launcher_recovery.errors." + name for name in names)


_SILENT = frozenset({"launcher_recovery.programs.running.CommandSilentError"})

RULES: tuple[Rule, ...] = (
    Rule(
        "git-silent", C.TIMEOUT, R.YES, "The git server did not answer in time.", "launcher_recovery.programs.running",
        fix="check_connection", types=_SILENT, programs={"git"},
    ),
    Rule(
        "program-silent", C.TIMEOUT, R.YES, "A program said nothing for so long that it was ended.",
        "launcher_recovery.programs.running", fix="check_connection", types=_SILENT,
    ),
    Rule(
        "login-required", C.PERMISSION, R.AFTER_FIX, "{host} probably wants you to log in, or to accept a licence, "
        "before it gives the file: add an access token for it.", "launcher_recovery.transfer.content.recognising",
        fix="add_token", types=_ours("LoginRequiredError"),
    ),
    Rule(
        "captive-portal", C.NETWORK, R.YES, "A page of another place came between you and {host}, such as the login "
        "page of a network: open any page in the browser and log in there.", "RFC 8952",
        fix="check_connection", types=_ours("CaptivePortalError"),
    ),
    Rule(
        "browser-check", C.RATE_LIMIT, R.YES, "{host} lets only browsers pass at the moment.",
        "Cloudflare, Detect a Challenge Page response", fix="wait_and_retry", types=_ours("BrowserCheckError"),
    ),
    Rule(
        "pointer-file", C.VALIDATION, R.NO, "The address on {host} leads to the Git LFS pointer of the file, not to "
        "the file; use its download address.", "git-lfs docs/spec.md",
        fix="update_url", types=_ours("PointerFileError"),
    ),
    Rule(
        "document-login", C.PERMISSION, R.AFTER_FIX, "{host} does not let us have this: it may need an access token, "
        "or its licence accepted.", "RFC 9110 §15.5", fix="add_token", types=_ours("ErrorDocumentError"),
        statuses=(401, 403),
    ),
    Rule(
        "document-429", C.RATE_LIMIT, R.YES, "{host} asked us to slow down.", "RFC 6585 §4",
        fix="wait_and_retry", types=_ours("ErrorDocumentError"), statuses=(429, 429),
    ),
    Rule(
        "document-5xx", C.NETWORK, R.YES, "{host} has a problem of its own at the moment.", "RFC 9110 §15.6",
        fix="wait_and_retry", types=_ours("ErrorDocumentError"), statuses=(500, 599),
    ),
    Rule(
        "error-document", C.VALIDATION, R.NO, "{host} answered with an error message instead of the file.",
        "launcher_recovery.transfer.content.recognising", fix="update_url", types=_ours("ErrorDocumentError"),
    ),
    Rule(
        "unexpected-content", C.VALIDATION, R.NO, "{host} has something else than the file at this address.",
        "launcher_recovery.transfer.content.recognising", fix="update_url", types=_ours("UnexpectedContentError"),
    ),
    Rule(
        "address-expired", C.PERMISSION, R.NO, "The address is no longer valid: it was made for a while only. Get a "
        "new one from where you have it, and start the download again; what has arrived is kept.",
        "launcher_recovery.transfer", fix="update_url", types=_ours("AddressExpiredError"),
    ),
    Rule(
        "address-unknown", C.NOT_FOUND, R.NO, "Nobody knows where this file is to be had: give an address of it, or put "
        "it in its place yourself. Then try again.",
        "launcher_recovery.defaults.http", fix="update_url", types=_ours("AddressUnknownError"),
    ),
    Rule(
        "part-in-use", C.RESOURCE, R.YES, "Another program is writing to the same file; it is tried again when that "
        "has ended.", "launcher_recovery.transfer", fix="close_other_program",
        types=_ours("PartInUseError"), waits=WaitingFor.PROGRAM,
    ),
    Rule(
        "checksum", C.INTEGRITY, R.ONCE, "The file that arrived is damaged.",
        "launcher_recovery.transfer", fix="redownload", types=_ours("IntegrityError"),
    ),
    Rule(
        "cancelled", C.CANCELLED, R.NO, "It was cancelled.", "launcher_recovery.errors",
        types=_ours("OperationCancelled"),
    ),
    Rule(
        "breaker-open", C.NETWORK, R.YES, "{host} has failed repeatedly and is left alone for a while.",
        "launcher_recovery.breaker", fix="wait_and_retry", types=_ours("CircuitBreakerOpenError"),
    ),
    Rule(
        "folder-gone", C.RESOURCE, R.AFTER_FIX, "The folder is not there any more: its disk was unplugged, or it was "
        "deleted.", "launcher_recovery.transfer", fix="reconnect_disk", types=_ours("FolderGoneError"),
        waits=WaitingFor.DISK,
    ),
    Rule(
        "project-incomplete", C.DEPENDENCY, R.NO, "Something that the project needs could not be had. What is there is "
        "kept, and a retry goes on with what is missing.", "launcher_recovery.projects",
        types=_ours("ProjectIncompleteError"), outermost=True,
    ),
    Rule(
        "bad-setting", C.VALIDATION, R.AFTER_FIX, "A setting has a value that cannot be used.",
        "launcher_recovery.errors", fix="fix_settings", types=_ours("RecoveryConfigError"),
    ),
    Rule(
        "refused", C.VALIDATION, R.NO, "The request was refused because it is not safe or not possible.",
        "launcher_recovery.errors", types=_ours("RefusedError", "NoHandlerError"),
    ),
)  # fmt: skip
