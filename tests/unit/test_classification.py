"""What is made of an error: category, retry, wait, fix."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import subprocess
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from urllib3.connection import HTTPConnection

from launcher_recovery import errors as ours
from launcher_recovery.classification import NO_FIX, ErrorCategory, ErrorClassifier, Retry, Rule
from launcher_recovery.classification.facts import chain_of, parse_retry_after, read
from launcher_recovery.errors import CommandError, StoredError
from launcher_recovery.records import RecoveryData, WaitingFor
from launcher_recovery.room import FileFree, FolderThere, QuotaThere, RoomThere

NOW = 1_800_000_000.0


def http(status: int, **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response.url = status, "https://hub.example/m.bin"
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return requests.HTTPError(f"{status} for it", response=response)


def command(output: str) -> CommandError:
    return CommandError(["git", "clone", "x"], 128, output)


class PlainHeaders(Exception):
    """As clients of one's own have it: a status and a dict."""

    status_code = 503

    def __init__(self, headers: Any) -> None:
        super().__init__("503")
        self.headers = headers


class Exited(Exception):
    """One whose `code` is none of HTTP."""

    code = 1


CASES: list[tuple[BaseException, str, str]] = [
    (ours.LoginRequiredError("page"), "login-required", "after_fix"),
    (ours.CaptivePortalError("page"), "captive-portal", "yes"),
    (ours.BrowserCheckError("page"), "browser-check", "yes"),
    (ours.PointerFileError("pointer"), "pointer-file", "no"),
    (ours.ErrorDocumentError("json", 401), "document-login", "after_fix"),
    (ours.ErrorDocumentError("json", 403), "document-login", "after_fix"),
    (ours.ErrorDocumentError("json", 429), "document-429", "yes"),
    (ours.ErrorDocumentError("json", 503), "document-5xx", "yes"),
    (ours.ErrorDocumentError("json", 404), "error-document", "no"),
    (ours.ErrorDocumentError("json"), "error-document", "no"),
    (ours.UnexpectedContentError("header"), "unexpected-content", "no"),
    (ours.IntegrityError("sha"), "checksum", "once"),
    (ours.AddressExpiredError("signed"), "address-expired", "no"),
    (ours.PartInUseError("/models/a.part"), "part-in-use", "yes"),
    (ours.OperationCancelled("x"), "cancelled", "no"),
    (asyncio.CancelledError(), "interrupted", "no"),
    (ours.CircuitBreakerOpenError("x", 5), "breaker-open", "yes"),
    (ours.RefusedError("x"), "refused", "no"),
    (ours.NoHandlerError("x"), "refused", "no"),
    (ours.RecoveryTimeoutError("x"), "timeout", "yes"),
    *[(http(status), rule, retry) for status, rule, retry in [
        (429, "http-429", "yes"), (401, "http-401", "after_fix"), (403, "http-403", "after_fix"),
        (407, "http-407", "after_fix"), (404, "http-gone", "after_fix"), (410, "http-410", "after_fix"),
        (408, "http-timeout", "yes"), (416, "http-416", "once"), (501, "http-501", "after_fix"),
        (504, "http-504", "yes"),
        (511, "http-511", "yes"),
        (522, "http-522", "yes"), (524, "http-524", "yes"), (500, "http-5xx", "yes"), (503, "http-5xx", "yes"),
        (400, "http-4xx", "after_fix"), (451, "http-451", "after_fix"),
        (418, "http-4xx", "after_fix"),
    ]],
    (urllib.error.HTTPError("https://h/", 503, "x", Message(), None), "http-5xx", "yes"),
    (OSError(errno.ENOSPC, "full"), "disk-full", "after_fix"),
    (OSError(errno.EDQUOT, "quota"), "quota", "after_fix"),
    (ours.NoSpaceError("/models", 5, 2), "disk-full", "after_fix"),
    (ours.NoSpaceError("/models", errno=errno.EDQUOT), "quota", "after_fix"),
    (ours.FolderGoneError("/models"), "folder-gone", "after_fix"),
    (PermissionError(errno.EACCES, "x"), "file-rights", "after_fix"),
    (OSError(errno.EROFS, "x"), "read-only-disk", "after_fix"),
    (OSError(errno.EIO, "x"), "disk-fails", "after_fix"),
    (OSError(errno.ENODEV, "x"), "disk-fails", "after_fix"),
    (OSError(errno.ENAMETOOLONG, "x"), "name-too-long", "after_fix"),
    (OSError(errno.EFBIG, "x"), "file-too-large", "after_fix"),
    (OSError(errno.EMFILE, "x"), "too-many-files", "yes"),
    (requests.exceptions.InvalidURL("x"), "bad-url", "after_fix"),
    (requests.exceptions.TooManyRedirects("x"), "bad-url", "after_fix"),
    (ssl.SSLCertVerificationError(1, "x"), "tls-certificate", "after_fix"),
    (requests.exceptions.SSLError(ssl.SSLError(1, "eof")), "connection", "yes"),
    (requests.exceptions.ReadTimeout("x"), "timeout", "yes"),
    (requests.exceptions.ConnectTimeout("x"), "timeout", "yes"),
    (TimeoutError("x"), "timeout", "yes"),
    (asyncio.TimeoutError(), "timeout", "yes"),
    (subprocess.TimeoutExpired("git", 5), "timeout", "yes"),
    (requests.exceptions.ConnectionError("x"), "connection", "yes"),
    (urllib3.exceptions.NewConnectionError(HTTPConnection("h"), "x"), "not-connected", "yes"),
    (urllib3.exceptions.NameResolutionError("h", HTTPConnection("h"), socket.gaierror()), "not-connected", "yes"),
    (requests.exceptions.ChunkedEncodingError("x"), "connection", "yes"),
    (ConnectionResetError(errno.ECONNRESET, "x"), "connection", "yes"),
    (socket.gaierror(1, "x"), "connection", "yes"),
    (OSError(errno.ENETUNREACH, "x"), "connection-errno", "yes"),
    (MemoryError(), "memory", "after_fix"),
    (PermissionError("x"), "permission", "after_fix"),
    (FileNotFoundError("x"), "missing-file", "after_fix"),
    (command("error: RPC failed; HTTP 502 curl 22"), "git-http-5xx", "yes"),
    (command("fatal: unable to access 'https://h/': The requested URL returned error: 429"), "git-http-429", "yes"),
    (command("fatal: unable to access 'https://h/': Could not resolve host: h"), "git-network", "yes"),
    (command("Cloning\nfatal: early EOF\n"), "git-network", "yes"),
    (command("remote: Repository not found.\nfatal: repository 'https://h/' not found"), "git-missing", "after_fix"),
    (command("fatal: could not read Username for 'https://h': terminal prompts disabled"), "git-auth", "after_fix"),
    (command("ERROR: Could not install: [Errno 28] No space left on device"), "pip-no-space", "after_fix"),
    (command("fatal: write error: Disk quota exceeded"), "pip-quota", "after_fix"),
    (command("ERROR: ResolutionImpossible: for help"), "pip-conflict", "after_fix"),
    (command("WARNING: Retrying (Retry(total=0, connect=None)"), "pip-retries", "yes"),
    (command("ERROR: No matching distribution found for x==9"), "pip-missing", "after_fix"),
    (ValueError("x"), "invalid-value", "after_fix"),
    (KeyError("x"), "programming", "no"),
    (AssertionError("x"), "programming", "no"),
    (ImportError("x"), "no-package", "after_fix"),
    (RuntimeError("fatal: early EOF"), "unknown", "once"),
    (command("it broke"), "unknown", "once"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "rule", "retry"), CASES, ids=lambda value: str(value)[:40])
def test_rules(error: BaseException, rule: str, retry: str) -> None:
    """Each error is recognised by the rule for it, also as the cause of another and when read from the store."""
    found = ErrorClassifier().classify(error)
    assert (found.rule, found.retry.value) == (rule, retry)
    assert "{" not in found.explanation
    if isinstance(error, Exception):
        assert ErrorClassifier().classify_error(error) is found.category
        assert ErrorClassifier().should_retry(error) is (retry in ("yes", "once"))


def test_cause_counts() -> None:
    """The first rule that matches anything in the chain of causes decides."""
    outer = RuntimeError("outer")
    outer.__cause__ = OSError(errno.ENOSPC, "full")
    assert ErrorClassifier().classify(outer).rule == "disk-full"
    outer = RuntimeError("outer")
    outer.__context__ = ConnectionError("while handling this one")
    assert ErrorClassifier().classify(outer).rule == "connection"
    outer.__suppress_context__ = True
    assert ErrorClassifier().classify(outer).rule == "unknown"


@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        (PlainHeaders({"Retry-After": 30}), "http-5xx"),
        (urllib.error.HTTPError("https://h/", 503, "x", Message(), None), "http-5xx"),
        (ours.ErrorDocumentError("gated", 401), "document-login"),
        (http(503), "http-5xx"),
    ],
)
@pytest.mark.parametrize("link", ["__cause__", "__context__", "args"])
def test_a_status_counts_wherever_it_is_in_the_chain(inner: Exception, rule: str, link: str) -> None:
    outer = Exited("outer")
    setattr(outer, link, (inner,) if link == "args" else inner)
    found = ErrorClassifier().classify(outer)
    assert found.rule == rule
    assert found.wait_s == (30 if isinstance(inner, PlainHeaders) else None)


def test_the_outermost_status_goes_first() -> None:
    """Whoever raised that one knew of the other."""
    outer = ours.ErrorDocumentError("quota exceeded", 429)
    outer.__cause__ = http(503)
    assert ErrorClassifier().classify(outer).rule == "document-429"


def test_chain_ends() -> None:
    """A chain that goes round in circles, or on and on, ends; arguments and reasons belong to it."""
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert list(chain_of(first)) == [first, second]
    reason = Exception(ValueError("inner"))
    setattr(reason, "reason", KeyError("k"))
    assert [type(item) for item in chain_of(reason)] == [Exception, ValueError, KeyError]
    deep = RuntimeError("0")
    for number in range(40):
        outer = RuntimeError(str(number))
        outer.__cause__ = deep
        deep = outer
    assert len(list(chain_of(deep))) == 16


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), ("", None), ("120", 120), (" 0 ", 0), ("-5", None), ("soon", None), ("²", None),
        ("9" * 400, 366 * 86400), ("Fri, 15 Jan 2027 08:01:40 GMT", 100), ("Fri, 15 Jan 2020 08:00:00 GMT", 0),
        ("Fri, 15 Jan 9999 08:00:00 GMT", 366 * 86400),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, expected: float | None) -> None:
    """Retry-After is read as seconds or as a date; what cannot be read, or is absurd, does no harm."""
    assert parse_retry_after(value, NOW) == expected


def urllib_error(headers: Message) -> Exception:
    return urllib.error.HTTPError("https://h/", 429, "x", headers, None)


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_retry_after_in_any_case(name: str) -> None:
    """The header's name counts in any case, in a plain dict as well, of the answer or of the error itself."""
    classifier = ErrorClassifier(now=lambda: NOW)
    message = Message()
    message[name] = "30"
    answered = http(503)
    answered.response.headers = {"Content-Length": "0", name: "30"}  # type: ignore[assignment]
    for error in (answered, urllib_error(message), PlainHeaders({1: "x", name: 30})):
        assert classifier.classify(error).wait_s == 30


@pytest.mark.parametrize("headers", [None, "Retry-After: 30", {}, {"retry": "30"}])
def test_no_retry_after(headers: Any) -> None:
    """Without that header there is no wait; what are no headers at all does no harm."""
    assert ErrorClassifier().classify(PlainHeaders(headers)).wait_s is None


def test_retry_after_of_an_answer() -> None:
    """The wait that the server asked for, or until the breaker's probe, is in the verdict."""
    classifier = ErrorClassifier(now=lambda: NOW)
    assert classifier.classify(http(503, Retry_After="17")).wait_s == 17
    assert classifier.classify(http(503)).wait_s is None
    assert classifier.classify(ours.CircuitBreakerOpenError("x", 42)).wait_s == 42


@pytest.mark.parametrize(
    ("error", "host"),
    [
        (http(500), "hub.example"),
        (command("fatal: unable to access 'https://u:p@git.example/x': Could not resolve host"), "git.example"),
        (ConnectionError("HTTPSConnectionPool(host='pypi.example', port=443)"), "pypi.example"),
        (ConnectionError("gone"), None),
    ],
)
def test_host(error: Exception, host: str | None) -> None:
    """The host is named in the explanation when it is known."""
    found = ErrorClassifier().classify(error)
    assert found.scope == host
    assert (host or "other side") in found.explanation or "git server" in found.explanation


def full(*names: Any, number: int = errno.ENOSPC) -> OSError:
    """The error of a full disk, about these files."""
    if len(names) == 2:
        return OSError(number, "full", names[0], None, names[1])
    return OSError(number, "full", *names)


@pytest.mark.parametrize(
    ("error", "folder"),
    [
        (ours.NoSpaceError("/models"), "/models"),
        (full("/models/a.part"), "/models"),
        (full(b"/models/a.part"), "/models"),
        (full(Path("/models/a.part")), "/models"),
        (full("/cache/a", "/models/a"), "/models"),
        (full("a.part"), os.getcwd()),
        (full(), "/sd/checkpoints"),
        (full(7), "/sd/checkpoints"),
    ],
)
def test_folder_of_a_full_disk(error: OSError, folder: str) -> None:
    """A full disk is that of the file that was written; where the error has no name, that of the destination."""
    operation = RecoveryData("id", "f", kwargs={"destination": "/sd/checkpoints/a.safetensors"})
    found = ErrorClassifier().classify(error, operation=operation)
    assert (found.waiting_for, found.explanation) == (WaitingFor.DISK_SPACE, f"The disk with {folder} is full.")
    assert isinstance(found.until, RoomThere)
    outer = RuntimeError("it did not work")
    outer.__cause__ = error
    assert ErrorClassifier().classify(outer, operation=operation) == found


@pytest.mark.parametrize(
    ("output", "folder", "kind"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device: '/venv/lib/x.py'", "/venv/lib", RoomThere),
        ("fatal: write error: No space left on device", "/projects", RoomThere),
        ("ERROR: [Errno 122] Disk quota exceeded: '/venv/lib/x.py'", "/venv/lib", QuotaThere),
        ("fatal: write error: Disk quota exceeded", "/projects", QuotaThere),
    ],
)
def test_folder_of_a_program_that_filled_the_disk(output: str, folder: str, kind: type) -> None:
    """A program says it in its output, or it is the folder that the operation writes to."""
    for kwargs in ({"destination": "/projects/node"}, {"project_folder": "/projects/one"}):
        found = ErrorClassifier().classify(command(output), operation=RecoveryData("id", "f", kwargs=kwargs))
        assert isinstance(found.until, kind)
        assert folder in found.explanation


@pytest.mark.parametrize("kwargs", [{}, {"destination": "a.bin"}, {"destination": 5}, {"url": "/models/a"}])
def test_full_disk_that_is_not_known(kwargs: dict[str, Any]) -> None:
    """Without a folder there is nothing to look at, and so nothing to wait for."""
    for operation in (RecoveryData("id", "f", kwargs=kwargs), None):
        found = ErrorClassifier().classify(full(), operation=operation)
        assert (found.waiting_for, found.until, found.explanation) == (None, None, "The disk is full.")


def test_what_is_missing_is_said_with_numbers() -> None:
    """The numbers that the error knows are in the explanation, and the wait is for all that is needed."""
    found = ErrorClassifier().classify(ours.NoSpaceError("/", 10**18, 10**18 - 3_200_000_000))
    assert found.explanation == "There is not enough room on the disk: 3.2 GB are missing in /."
    assert found.until is not None
    assert "000 TB are missing in /. It goes on by itself" in str(found.until())
    looked = ErrorClassifier().classify(ours.NoSpaceError("/", 5, 2, look=lambda: (5, 5)))
    assert looked.until is not None
    assert looked.until() is None


def test_quota_and_disk_that_is_gone(tmp_path: Path) -> None:
    """A quota is waited for by trying, a folder by looking for it."""
    quota = ErrorClassifier().classify(full(str(tmp_path / "a.part"), number=errno.EDQUOT))
    assert isinstance(quota.until, QuotaThere)
    assert quota.explanation == f"What this user may store in {tmp_path} is used up (a quota)."
    gone = ErrorClassifier().classify(ours.FolderGoneError(str(tmp_path / "usb")))
    assert (gone.waiting_for, gone.fix, gone.category.value) == (WaitingFor.DISK, "reconnect_disk", "resource")
    assert (
        gone.explanation
        == f"The folder {tmp_path / 'usb'} is not there any more: its disk was unplugged, or it was deleted."
    )
    assert isinstance(gone.until, FolderThere)


def test_a_file_that_another_program_writes_to(tmp_path: Path) -> None:
    """Its end is waited for, however long that takes."""
    path = str(tmp_path / "a.part")
    found = ErrorClassifier().classify(ours.PartInUseError(path))
    assert (found.waiting_for, found.fix) == (WaitingFor.PROGRAM, "close_other_program")
    assert found.explanation == f"Another program is writing to {path}."
    assert isinstance(found.until, FileFree)


def test_a_category_of_ones_own_waits_for_nothing() -> None:
    """A classifier that calls a full disk something else is obeyed."""

    class Mine(ErrorClassifier):
        def classify_error(self, error: Exception) -> ErrorCategory:
            return ErrorCategory.INTERNAL

    found = Mine().classify(full("/models/a.part"))
    assert (found.category, found.until, found.explanation) == (ErrorCategory.INTERNAL, None, "The disk is full.")


def test_facts() -> None:
    """The facts of an error from the store have its type's name; codes that are no HTTP status are none."""
    assert "KeyError" in read(StoredError("KeyError", "x"), NOW).types
    strange: Any = RuntimeError()
    strange.code = "E123"
    assert read(strange, NOW).status is None
    assert str(command("a\nlast line\n")) == "git clone x ended with exit status 128: last line"
    assert str(CommandError(["x"], -9, "")) == "x ended with exit status -9"


@pytest.mark.parametrize(
    ("category", "retry"),
    [("network", "yes"), ("resource", "yes"), ("unknown", "yes"), ("integrity", "once"), ("permission", "no")],
)
def test_classifier_that_overrides_only_the_category(category: str, retry: str) -> None:
    """Its category is obeyed, with the default policy of that category."""

    class Mine(ErrorClassifier):
        def classify_error(self, error: Exception) -> ErrorCategory:
            return ErrorCategory(category)

    found = Mine().classify(ValueError("x"))
    assert (found.category.value, found.retry.value) == (category, retry)
    assert Mine().classify(KeyboardInterrupt()).category is ErrorCategory.CANCELLED


def test_nothing_to_offer() -> None:
    """Where there is nothing that a person could do, the verdict has the id for that, and an operation no fix."""
    assert ErrorClassifier().classify(asyncio.CancelledError()).fix == NO_FIX
    assert ErrorClassifier().classify(asyncio.CancelledError()).offered_fix is None
    assert ErrorClassifier().classify(MemoryError()).offered_fix == "free_memory"


def test_own_rules_go_first() -> None:
    """Rules that are given go before the built-in ones."""
    rule = Rule("mine", ErrorCategory.NETWORK, Retry.YES, "Mine.", "me", types=frozenset({"builtins.ValueError"}))
    assert ErrorClassifier([rule]).classify(ValueError()).rule == "mine"


def test_broad_categories() -> None:
    """Every category refines one of the six original ones."""
    six = {"network", "timeout", "validation", "permission", "resource", "unknown"}
    assert {category.broad.value for category in ErrorCategory} == six
    assert ErrorCategory.RATE_LIMIT.broad is ErrorCategory.RESOURCE
    assert ErrorCategory.NETWORK.broad is ErrorCategory.NETWORK
