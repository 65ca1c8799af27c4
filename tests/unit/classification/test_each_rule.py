"""Each rule decides over the error that it is there for, worded as the source of the program has it."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest

from launcher_recovery.classification import RULES, ErrorClassifier
from launcher_recovery.errors import AddressUnknownError, CommandError, ProjectIncompleteError, RecoveryConfigError
from launcher_recovery.programs.running import CommandSilentError
from tests.unit.classification.rebuilding import rebuilt
from tests.unit.classification.score import everything, verdict_on
from tests.unit.test_classification import CASES as BASIC

NOW = 1_700_000_000.0


def exc(name: str, text: str = "", *bases: str, **attributes: Any) -> BaseException:
    """An exception of a class of that name, over Exception or what is given."""
    error = rebuilt({"error": {"type": name, "bases": bases or ["builtins.Exception"], "text": text}})
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def builtin(kind: type[BaseException], text: str) -> BaseException:
    return kind(text)


def answer(status: int, body: str = "", url: str = "https://hub.example/m", **headers: str) -> BaseException:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    response = SimpleNamespace(status_code=status, headers=given, content=body.encode(), url=url)
    return exc("requests.exceptions.HTTPError", str(status), "builtins.OSError", response=response)


def out(output: str, code: int | None = 1, *argv: str) -> CommandError:
    return CommandError(argv or ("program",), code, output)


def lite(text: str, code: str | None = None) -> BaseException:
    error = exc("sqlite3.OperationalError", text, "sqlite3.DatabaseError")
    if code is not None:
        error.sqlite_errorname = code  # type: ignore[attr-defined]
    return error


def post(sqlstate: str | None = None, text: str = "") -> BaseException:
    return exc("psycopg.OperationalError", text, "psycopg.DatabaseError", sqlstate=sqlstate)


def windows(code: int, number: int = errno.EINVAL) -> OSError:
    error = OSError(number, "x")
    error.winerror = code  # type: ignore[attr-defined,unused-ignore]
    return error


def retrying(words: str) -> CommandError:
    """pip's last try of an index, and what it says then."""
    line = "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None))"
    end = "ERROR: Could not find a version that satisfies the requirement x (from versions: none)"
    return out(
        f"{line} after connection broken by '{words}': /simple/x/\n{end}\nERROR: No matching distribution found for x"
    )


def passed_over(why: str) -> CommandError:
    """What pip 26 says in the end, with why it passed over an index as `launcher_recovery.nodes.pip_log` adds it."""
    end = "ERROR: Could not find a version that satisfies the requirement x (from versions: none)"
    return out(
        f"{end}\nERROR: No matching distribution found for x\nERROR: Could not fetch URL http://h/simple/x/: {why}"
    )


_TLS = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
_HF, _RQ, _RD, _CE = "huggingface_hub.errors.", "requests.exceptions.", "redis.exceptions.", "celery.exceptions."
_PIP_OS = "ERROR: Could not install packages due to an OSError: "
_ARIA = ("aria2c", "https://hub.example/m")
_CURL = ("curl", "-s", "https://hub.example/m")
_WGET = ("wget", "-q", "https://hub.example/m")
_LFS = "Error downloading object: m.bin (1234567): Smudge error: Error downloading m.bin: batch response: "
_GIT = "fatal: unable to access 'https://github.com/a/b/': "

CASES: list[tuple[BaseException, str]] = [
    (RecoveryConfigError("x"), "bad-setting"), (AddressUnknownError("m.pt"), "address-unknown"),
    (ProjectIncompleteError([], []), "project-incomplete"),
    (CommandSilentError(["git", "fetch"], 143, "", 300.0), "git-silent"),
    (CommandSilentError(["/x/python", "-s", "install.py"], 143, "", 7200.0), "program-silent"),
    # -- hubs and answers
    (exc(_HF + "GatedRepoError", "x"), "hub-gated-error"),
    (exc(_HF + "DisabledRepoError", "x"), "hub-disabled"),
    (answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Invalid username or password."), "hub-no-repository"),
    (answer(403, X_Error_Message="Access to this resource is disabled."), "hub-disabled-answer"),
    (exc(_HF + "OfflineModeIsEnabled", "x", "builtins.ConnectionError"), "hub-offline"),
    (exc(_HF + "RepositoryNotFoundError", "x", status_code=404), "hub-repository-error"),
    (exc(_HF + "LocalTokenNotFoundError", "x"), "hub-no-token"),
    (exc(_HF + "SafetensorsParsingError", "x"), "hub-damaged"),
    (builtin(RuntimeError, "Data processing error: CAS service error : ReqwestMiddleware Error: x"), "hub-transfer"),
    (builtin(OSError, "You are trying to access a gated repo.\nMake sure to have access to it"), "transformers-gated"),
    (builtin(OSError, "a/b does not appear to have a file named config.json."), "transformers-missing"),
    (exc(_HF + "LocalEntryNotFoundError", "x", "builtins.FileNotFoundError"), "hub-unreachable"),
    (exc(_HF + "EntryNotFoundError", "x"), "hub-missing"),
    (builtin(OSError, "We couldn't connect to 'https://huggingface.co' to load the files"), "transformers-unreachable"),
    (answer(503, "<Error><Code>SlowDown</Code></Error>"), "store-slow-down"),
    (answer(503, "<html><title>Just a moment...</title>"), "browser-challenge-page"),
    (answer(403, "error code: 1020"), "firewall"),
    (answer(403, url="https://s3.example/m?X-Amz-Date=20231114T000000Z&X-Amz-Expires=60&X-Amz-Signature=x"), "address-time-over"),
    (answer(403, url="https://g.example/m?X-Goog-Date=20231114T000000Z&X-Goog-Expires=60&X-Goog-Signature=x"), "address-time-over"),
    (answer(403, url="https://x.blob.example/m?se=2023-11-14T00:00:00Z&sig=x"), "address-time-over"),
    (answer(403, url="https://cdn.example/m?Expires=1699999999&Signature=x"), "address-time-over"),
    (answer(403, url="https://cdn.example/m?Expires=1700000001&Signature=x"), "http-403"),
    (answer(403, url="https://s3.example/m?X-Amz-Date=wrong&X-Amz-Expires=60"), "http-403"),
    (answer(403, "Access to model a/b is restricted and you are not in the authorized list."), "licence-page"),
    (answer(412), "http-412"), (answer(421), "http-421"), (answer(423), "http-423"), (answer(505), "http-505"),
    (answer(509), "http-509"), (answer(598), "http-598"),
    # -- the system
    (windows(112), "windows-disk-full"), (windows(1392), "windows-disk-damaged"), (windows(183), "windows-exists"),
    (builtin(RuntimeError, "[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0"), "disk-full-told"),
    (builtin(RuntimeError, "Data processing error: I/O error: No space left on device (os error 28)"), "disk-full"),
    (exc("safetensors_rust.SafetensorError", 'Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "x" })'), "disk-full"),
    (exc("safetensors_rust.SafetensorError", "I/O error: Permission denied (os error 13)"), "file-rights"),
    (OSError(errno.ENOMEM, "x"), "memory-errno"), (OSError(errno.EBUSY, "x"), "in-use"),
    (out(f"error: cannot reach it: {os.strerror(errno.ETIMEDOUT)}"), "timeout-errno"),
    # -- databases
    (lite("x", "SQLITE_NOMEM"), "sqlite-memory"), (lite("x", "SQLITE_IOERR_WRITE"), "sqlite-disk-fails"),
    (lite("database is locked"), "sqlite-busy-told"), (lite("attempt to write a readonly database"), "sqlite-readonly-told"),
    (lite("database or disk is full"), "sqlite-full-told"), (lite("database disk image is malformed"), "sqlite-damaged-told"),
    (lite("unable to open database file"), "sqlite-closed-told"), (lite("disk I/O error"), "sqlite-disk-fails-told"),
    (lite("interrupted"), "sqlite-interrupted"),
    (post("40P01"), "postgres-busy"), (post("57014"), "postgres-cancelled"), (post("53100"), "postgres-full"),
    (post("53200"), "postgres-memory"), (post("3D000"), "postgres-missing"), (post("XX001"), "postgres-damaged"),
    (post(None, 'FATAL:  password authentication failed for user "x"'), "postgres-login-told"),
    (post(None, "FATAL:  sorry, too many clients already"), "postgres-crowded-told"),
    (post(None, "connection timeout expired"), "postgres-timeout-told"),
    (exc(_RD + "AuthenticationError", "x", _RD + "ConnectionError"), "redis-login"),
    (exc(_RD + "ResponseError", "OOM command not allowed when used memory > 'maxmemory'."), "redis-full"),
    (exc(_RD + "ResponseError", "MISCONF Redis is configured to save RDB snapshots, but"), "redis-disk"),
    (exc(_RD + "MaxConnectionsError", "x", _RD + "ConnectionError"), "redis-crowded"),
    (exc(_RD + "TimeoutError", "Timeout reading from socket"), "redis-timeout"),
    (exc(_RD + "ResponseError", "unknown command 'X'"), "redis-wrong"),
    # -- tasks
    (exc(_CE + "ImproperlyConfigured", "x"), "task-settings"),
    (exc("amqp.exceptions.AccessRefused", "x"), "broker-refuses"),
    (exc("kombu.exceptions.OperationalError", "NOAUTH Authentication required."), "broker-login-told"),
    (exc("kombu.exceptions.EncodeError", "x"), "task-arguments"),
    # -- clients
    (builtin(OSError, "Tunnel connection failed: 503 Service Unavailable"), "proxy-fails"),
    (builtin(OSError, "Tunnel connection failed: 403 Forbidden"), "proxy-refuses"),
    (exc(_RQ + "ProxyError", "(Caused by ProxyError('Unable to connect to proxy', ConnectTimeoutError(x)))"), "proxy-timeout"),
    (exc(_RQ + "InvalidSchema", "Missing dependencies for SOCKS support."), "proxy-kind"),
    (exc(_RQ + "SSLError", _TLS + "something new"), "tls-certificate-told"),
    (exc("ssl.SSLError", "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure (_ssl.c:1006)"), "tls-refused"),
    (exc("urllib3.exceptions.NewConnectionError", "Failed: [WinError 10013] An attempt"), "blocked-told"),
    (exc("filelock._error.Timeout", "x", "builtins.TimeoutError"), "lock-timeout"),
    (exc(_RQ + "ConnectionError", "HTTPSConnectionPool(host='h', port=443): Read timed out."), "timeout-told"),
    # -- models and Python
    (exc("safetensors_rust.SafetensorError", "File does not contain tensor x"), "model-missing-part"),
    (exc("tarfile.OutsideDestinationError", "x"), "archive-hostile"),
    (builtin(OSError, "image file is truncated (5 bytes not processed)"), "picture-damaged-told"),
    (FileNotFoundError(errno.ENOENT, "x", "git-lfs"), "no-git-lfs"),
    (exc("pkg_resources.VersionConflict", "x"), "versions-apart"),
    (exc("packaging.requirements.InvalidRequirement", "x", "builtins.ValueError"), "requirement"),
    (exc("tomllib.TOMLDecodeError", "x", "builtins.ValueError"), "settings-file"),
    (FileExistsError("x"), "exists-already"), (EOFError(), "cut-off"),
    (RuntimeError("Event loop is closed"), "programming-told"),
    (exc("launcher.Failed", "x", __cause__=KeyboardInterrupt()), "interrupted-within"),
    # -- programs: how they end
    (out("", -24), "signal-time"), (out("", -25), "signal-size"), (out("", 0xC0000017), "windows-memory-status"),
    (out("", 127), "no-program-status"), (out("", 126), "program-rights-status"),
    (out("Killed", None), "killed-told"), (out("Fatal Python error: Segmentation fault", None), "crash-told"),
    (out("bash: ./x: cannot execute binary file: Exec format error"), "program-kind"),
    (out("KeyboardInterrupt"), "interrupted-said"),
    (out("/usr/bin/python3.10: No module named pip"), "no-module-said"),
    (out("/usr/bin/python3.10: No module named venv"), "no-venv-said"),
    (out("sh: 1: gcc: not found"), "build-tools"), (out("sh: 1: ffmpeg: not found"), "no-program-said"),
    # -- git
    (out("fatal: Out of memory, malloc failed (tried to allocate 9 bytes)"), "git-memory"),
    (out("fatal: cannot fork: Resource temporarily unavailable"), "git-forks"),
    (out("error: unable to create file a: File name too long"), "git-name-too-long"),
    (out("error: invalid path 'a:b'"), "git-bad-path"),
    (out("fatal: bad config value for 'x' in /home/x/.gitconfig"), "git-bad-setting"),
    (out("error: unknown option `filter=blob:none'\nusage: git clone"), "git-old"),
    (out("error: cannot run ssh: No such file or directory\nfatal: unable to fork"), "git-no-ssh"),
    (out(_LFS + "rate limit exceeded"), "lfs-rate"), (out(_LFS + "Authentication required: x"), "lfs-login"),
    (out(f"{_LFS}x\nexpected OID {'a' * 64}, got {'b' * 64} after 5 bytes written"), "lfs-damaged"),
    (out(_LFS + "net/http: TLS handshake timeout"), "lfs-timeout"),
    (out(_GIT + "Received HTTP code 503 from proxy after CONNECT"), "git-proxy-fails"),
    (out(_GIT + "SSL certificate problem: certificate has expired"), "git-tls-clock"),
    (out("remote: Repository unavailable due to DMCA takedown.\nfatal: unable to access 'https://x/': The requested URL returned error: 451"),
     "git-taken-down"),
    (out("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."), "git-host-key-changed"),
    (out("Received disconnect from 127.0.0.1 port 22:2: Too many authentication failures"), "git-key"),
    (out("fatal: couldn't find remote ref refs/heads/v9"), "git-no-commit"),
    (out("ERROR: ResolutionImpossible: x\na asks for x<2 and b asks for x>=2."), "pip-conflict-told"),
    (out("ERROR: ResolutionImpossible: x"), "pip-conflict"),
    (out("error: pathspec 'v9' did not match any file(s) known to git"), "git-no-ref"),
    # -- pip and uv
    (out(_PIP_OS + "[WinError 10013] An attempt was made to access a socket in a way forbidden"), "pip-blocked"),
    (out(_PIP_OS + "HTTPSConnectionPool(x): (Caused by ProxyError('x', OSError('Tunnel connection failed: 407 x')))"), "pip-proxy-login"),
    (retrying("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 x'))"), "pip-proxy-login-index"),
    (out(_PIP_OS + f"HTTPSConnectionPool(x): (Caused by SSLError('{_TLS}certificate has expired'))"), "pip-clock"),
    (retrying(f"SSLError(SSLCertVerificationError(1, '{_TLS}certificate is not yet valid'))"), "pip-clock-index"),
    (retrying(f"SSLError(SSLCertVerificationError(1, '{_TLS}self-signed certificate'))"), "pip-tls-index"),
    (out(_PIP_OS + "HTTPSConnectionPool(x): (Caused by ProxyError('Unable to connect to proxy', x))"), "pip-proxy"),
    (passed_over("proxy connection error: ('Cannot connect to proxy.', OSError(x))"), "pip-proxy"),
    (passed_over("h didn't respond within 15.0 seconds"), "pip-timeout"),
    (passed_over("h didn't respond within 15.0 seconds (while establishing a connection)"), "pip-timeout"),
    (passed_over("connection error: [Errno 111] Connection refused"), "pip-network"),
    (passed_over("connection error: the connection was closed without a reply from the server."), "pip-network"),
    (retrying("ProxyError('Unable to connect to proxy', ConnectTimeoutError(x))"), "pip-proxy-timeout"),
    (retrying("ProxyError('Unable to connect to proxy', NewConnectionError('Connection refused'))"), "pip-proxy-index"),
    (out("ERROR: HTTP error 429 while getting https://x"), "pip-slow-down"),
    (retrying("ResponseError('too many 429 error responses')"), "pip-slow-down-index"),
    (retrying("ResponseError('too many 503 error responses')"), "pip-index-fails-index"),
    (out("WARNING: 401 Error, Credentials not correct for https://x/simple/x/\nERROR: Could not find a version that "
         "satisfies the requirement x (from versions: none)"), "pip-login-index"),
    (out("error: Could not acquire lock for `.venv`"), "uv-lock"),
    (out("WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'x': /simple/x/"), "pip-retries"),
    (out("ERROR: pip's dependency resolver does not currently take into account all the packages"), "pip-broken-set"),
    (out("  ERROR: Failed building wheel for x"), "build-failed"),
    # -- programs that download
    (out("ERROR: The certificate of 'h' has expired."), "fetch-clock"),
    (out("curl: (56) Received HTTP code 407 from proxy after CONNECT"), "fetch-proxy-login"),
    (out("out/m.bin: Permission denied"), "fetch-rights"),
    (out("Exception: [x] errorCode=32 Checksum error detected."), "fetch-checksum"),
    (out("", 97, *_CURL), "curl-proxy"), (out("", 60, *_CURL), "curl-tls"), (out("", 23, *_CURL), "curl-write"),
    (out("curl: (23) Failure writing output to destination"), "curl-write-said"), (out("", 27, *_CURL), "curl-memory"),
    (out("", 33, *_CURL), "curl-range"), (out("", 3, *_CURL), "curl-url"), (out("", 78, *_CURL), "curl-missing"),
    (out("", 67, *_CURL), "curl-login"), (out("", 5, *_WGET), "wget-tls"), (out("", 6, *_WGET), "wget-login"),
    (out("", 2, *_WGET), "wget-arguments"), (out("", 2, *_ARIA), "aria-timeout"), (out("", 3, *_ARIA), "aria-missing"),
    (out("", 19, *_ARIA), "aria-network"), (out("", 9, *_ARIA), "aria-disk-full"), (out("", 24, *_ARIA), "aria-login"),
    (out("", 7, *_ARIA), "aria-stopped"), (out("", 32, *_ARIA), "aria-checksum"),
    # -- ComfyUI
    (FileNotFoundError("Model in folder 'loras' with filename 'x' not found"), "comfy-no-model-error"),
    (Exception("Node type 'X' not found"), "comfy-no-node-error"),
    (out("Cannot import /c/custom_nodes/x module for custom nodes: 'NoneType' is not iterable", None), "comfy-import-other"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "rule"), CASES, ids=[f"{rule}-{number}" for number, (_, rule) in enumerate(CASES)])
def test_rule(error: BaseException, rule: str) -> None:
    """The rule decides, and says by what."""
    found = ErrorClassifier(now=lambda: NOW).classify(error)
    assert found.rule == rule, found.explain()


def test_every_rule_is_tried() -> None:
    """Every rule decides over one of the errors here or of those that real programs gave."""
    tried = {rule for _, rule in CASES} | {rule for _, rule, _ in BASIC}
    tried |= {verdict_on(entry).rule for entry in everything()}
    assert {rule.id for rule in RULES} - tried == set()


def test_rules_are_complete() -> None:
    """Rules have unique names, a source, a full sentence, a condition, and a fix where a retry needs one."""
    names = [rule.id for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule.source
        assert rule.explanation.endswith(".")
        conditions = (
            rule.types,
            rule.errnos,
            rule.winerrors,
            rule.codes,
            rule.statuses,
            rule.exits,
            rule.output,
            rule.headers,
        )
        assert any(conditions), rule.id
        # What is missing can be anything.
        assert rule.retry.value != "after_fix" or rule.fix != "none" or rule.category.value == "not_found", rule.id
        for pattern in (rule.output, rule.message, rule.body):
            assert pattern is None or not pattern.endswith("|"), rule.id
