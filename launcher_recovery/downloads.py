"""Downloads for everybody: within an operation one attempt of it, elsewhere an operation of their own."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from launcher_recovery import checks
from launcher_recovery.config_values import WAYS
from launcher_recovery.errors import RecoveryConfigError, RecoveryStateError, RefusedError, StoreError
from launcher_recovery.fixes.effects import amended, ca_bundle_of, proxy_of
from launcher_recovery.integration import RecoveryIntegrator, get_recovery_integrator
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.owners import keep_alive
from launcher_recovery.records import PRIORITY, RecoveryData, RecoveryState, priority_of
from launcher_recovery.signals import RecoveryUpdate
from launcher_recovery.transfer.arguments import checksums_of, wanted_of
from launcher_recovery.transfer.attempt import attempt
from launcher_recovery.transfer.connections.limits import BANDWIDTH
from launcher_recovery.transfer.http.session import usable_bundle, usable_proxy, way
from launcher_recovery.transfer.integrity.verifying import Verified, verify_file
from launcher_recovery.transfer.sources import metalink as metalinks
from launcher_recovery.transfer.sources.hubs import Authorization, asked_at, given_first, headers_for, nobody
from launcher_recovery.transfer.sources.source import Source
from launcher_recovery.transfer.wanted import Wanted

if TYPE_CHECKING:
    from launcher_recovery.kinds import OperationKind

# RFC 9110 §5.1 and §5.5; beyond ASCII as far as requests can send it.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
# How often what another process does to a download that was joined is looked at.
_LOOK_S = 0.2

logger = logging.getLogger("launcher_recovery")

__all__ = ["download", "verify"]


def download(
    url: str | Sequence[str],
    destination: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    checksum: str | Sequence[str] | None = None,
    size: int | None = None,
    sources: str | Sequence[str] = (),
    metalink: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
    connections: int | None = None,
    limit_rate: float | None = None,
    priority: int = 0,
    staging: str | os.PathLike[str] | None = None,
    reuse: str | None = None,
    resume: bool = False,
    session: requests.Session | None = None,
    proxy: str | None = None,
    ca_bundle: str | os.PathLike[str] | None = None,
    on_update: Callable[[Mapping[str, Any]], object] | None = None,
) -> Path:
    """Download a file, going on from what earlier calls, attempts and processes left.

    Nothing appears at the destination but the whole file, verified as far as checksums and size are known. Within an
    operation it is one attempt of that: whoever retries the operation goes on here. Elsewhere it is an operation of its
    own, retried under the launcher's policy and kept in the store of this process's integrator; when another process
    downloads to the same destination already, this call joins it.

    An address at huggingface.co is asked at `HF_ENDPOINT` if that is set. Hugging Face and Civitai get the token that
    the environment has for them, as their own tools do: over https only, and no other server. See `transfer.hubs`.

    Args:
        url: the address, or several of the same file, best first.
        destination: the file to write.
        sha256: SHA-256 of the file, in hexadecimal.
        checksum: further checksums, as `Checksum.parse` takes them, such as "blake3:…" or an AutoV2.
        size: bytes of the file.
        sources: a mirror, or several, best first. One is used when the address fails or is slow, after it has shown
            that it has the same file.
        metalink: path of a Metalink file that tells more of the above, and the hashes of pieces.
        headers: sent to the origin of the address that is asked, and nowhere else; not kept, so that another process
            cannot go on by itself where they are needed.
        connections: how many at most, to one host; default: as configured (4). There is more than one only while that
            is faster.
        limit_rate: bytes a second, of all downloads of this process, from now on; None: as it is.
        priority: higher goes first where downloads wait for one another. One that is under way already gets it as well,
            unless it is 0.
        staging: a folder for the partial, which counts if it is on the file system of the destination; None: as
            configured (beside the destination).
        reuse: let a file on the disk with the same content serve: "reflink", "hardlink", "copy", "auto", or "off";
            None: as configured ("off").
        resume: go on with a download that somebody has paused; otherwise the call waits until it is resumed.
        session: what connections are made with; default: a session for each.
        proxy: the address of a proxy, with name and password if it wants them; not kept. Default: as a guided fix has
            set it for the operation, else as the environment says. Addresses that NO_PROXY names are asked directly.
        ca_bundle: path of a file of certificates (PEM) by which servers are checked; not kept. Default: as `proxy`.
        on_update: called with the payload of `recovery_update`, and with `joined`: whether another process runs it,
            when the operation that this call is about has changed, five times a second at most, and at its end;
            outside of operations. What it raises is logged.

    Returns:
        The destination.

    Raises:
        RefusedError: an address, a checksum or the destination is not usable.
        RecoveryConfigError: another argument is not.
        Exception: what the last attempt failed with.
    """
    urls = _texts("url", url)
    arguments: dict[str, Any] = {
        "url": urls[0] if urls else "",
        "destination": os.path.abspath(os.fspath(destination)),
        "sha256": sha256,
        "size": size,
        "project_id": None,
        "checksum": checksum if checksum is None or isinstance(checksum, str) else _texts("checksum", checksum),
        "sources": [*urls[1:], *_texts("sources", sources)],
        "connections": None if connections is None else checks.whole("connections", connections, 1),
        "priority": checks.whole("priority", priority, -(10**6)),
        "staging": _staging(staging),
        "reuse": _reuse(reuse),
    }
    if metalink is not None:
        _add_metalink(arguments, Path(metalink))
    checks.flag("resume", resume)
    rate = None if limit_rate is None else checks.number("limit_rate", limit_rate, 1)
    _check_headers(headers or {})
    integrator = get_recovery_integrator()
    if rate is not None:
        BANDWIDTH.rate = rate
    kind = _kind(integrator)
    if not arguments["url"]:  # which only a launcher's import may leave open
        raise RefusedError("no web address is given: one is needed that begins with http:// or https://")
    kind.check(arguments, ())
    if session is not None and (proxy is not None or ca_bundle is not None):
        raise RecoveryConfigError(
            "proxy and ca_bundle are for sessions made here: set them on the session, or leave it out"
        )
    given_proxy, given_bundle = usable_proxy(proxy), usable_bundle(ca_bundle)
    says_who = session is not None and (session.auth is not None or "Authorization" in session.headers)
    authorization: Authorization = nobody if says_who else headers_for

    def wanted_in(operation: Operation | None, mirrors: Sequence[str] = ()) -> Wanted:
        """What is wanted, in the way that guided fixes have set for the operation where the call leaves it open."""
        given, to, by = arguments, given_proxy, given_bundle
        if operation is not None:
            data = operation.data
            given, to, by = amended(data, given), to or proxy_of(data), by or ca_bundle_of(data)
        return wanted_of(
            kind.completed(given, integrator.config),
            mirrors=mirrors,
            headers=headers,
            new_session=way(to, by) if session is None else lambda: session,
            authorization=authorization,
        )

    operation = current_operation()
    wanted = wanted_in(operation)
    if operation is not None:
        return attempt(operation, wanted)
    arguments["destination"] = str(wanted.destination)
    keep_alive(integrator.persistence)
    integrator.lifecycle.look_for_the_dead()
    draft = integrator.draft(kind, arguments)
    if priority:
        draft.metadata[PRIORITY] = priority
    rules = integrator.rules_for(kind, draft, kind.scope(arguments), kind.place_of(arguments))
    data, live = integrator.engine.enter(draft, rules, revive=True)
    if data.operation_id != draft.operation_id:
        _ask_of(integrator, data, priority=priority, resume=resume)

    def run() -> str:
        running = current_operation()
        assert running is not None
        mirrors = integrator.extensions.sources(arguments["url"], running.data)
        return str(attempt(running, wanted_in(running, mirrors)))

    with _watched(integrator, data.operation_id, on_update):
        integrator.engine.run(data, rules, run, live)
    return wanted.destination


def _ask_of(integrator: RecoveryIntegrator, data: RecoveryData, *, priority: int, resume: bool) -> None:
    """Ask of an operation that is there already what this call wants of it."""
    try:
        if priority and priority_of(data) != priority:
            integrator.set_priority(data.operation_id, priority)
        if resume and data.state is RecoveryState.PAUSED:
            integrator.resume(data.operation_id)
    except RecoveryStateError as error:
        logger.debug("%s ended meanwhile: %s", data.title, error)


def find(target: str | os.PathLike[str]) -> RecoveryData | None:
    """The latest download to that destination, or the operation that has that id; None: there is none.

    Args:
        target: path of the file that is downloaded, or the id of an operation of any kind.
    """
    integrator = get_recovery_integrator()
    store = integrator.persistence
    given = os.fspath(target)
    return store.get(given) or store.latest_with_key(_key(integrator, given))


def _key(integrator: RecoveryIntegrator, destination: str | os.PathLike[str]) -> str:
    """The key of downloads to `destination` as the store has it."""
    kind = _kind(integrator)
    return integrator.lifecycle.kept_key(kind.key({"destination": os.fspath(destination)}))


def verify(
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    checksum: str | Sequence[str] | None = None,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    repair: bool = False,
    proxy: str | None = None,
    ca_bundle: str | os.PathLike[str] | None = None,
    check: Callable[[], object] | None = None,
) -> Verified:
    """Look whether a file is as it should be: by checksums, and by the hashes that its pieces had.

    Args:
        path: the file.
        sha256, checksum: what it is to have; what was known when it was downloaded is looked at as well.
        url: where damaged pieces are fetched from; default: where the file was downloaded from, and its mirrors. What
            `download` says of Hugging Face and Civitai goes for it as well.
        headers: sent to the origin of that address, and nowhere else.
        proxy, ca_bundle: the way to it, as in `download`.
        repair: fetch the damaged pieces again, and no others. Where only a checksum of the whole is known, they are
            looked for: what is there is compared with what the address has, from the front, until it has the checksum.
        check: called between blocks; may raise, to end it.

    Raises:
        RefusedError: an argument is not usable, or there is no such file.
        RecoveryConfigError: the proxy or the certificates are not usable.
        Exception: the damaged pieces could not be fetched; those that could are repaired.
    """
    integrator = get_recovery_integrator()
    where = os.path.realpath(path)
    _check_headers(headers or {})
    urls = [url] if url is not None else _addresses(integrator, where) if repair else []
    asked = list(dict.fromkeys(map(asked_at, urls)))
    return verify_file(
        Path(where),
        integrator.persistence,
        checksums_of(sha256, checksum),
        # What is wrong is known not to be theirs: they are all equal, in the order of preference.
        sources=[
            Source(at, given_first((headers or {}) if number == 0 else {}, headers_for(at)), is_given=False)
            for number, at in enumerate(asked)
        ],
        repair=repair,
        check=check or (lambda: None),
        new_session=way(usable_proxy(proxy), usable_bundle(ca_bundle)),
    )


def _addresses(integrator: RecoveryIntegrator, destination: str) -> list[str]:
    """Where a file was downloaded from, its mirrors included; none when that is not known."""
    found = integrator.persistence.latest_with_key(_key(integrator, destination))
    if found is None or not isinstance(url := found.kwargs.get("url"), str):
        return []
    return [url, *(found.kwargs.get("sources") or ()), *integrator.extensions.sources(url, found)]


def _kind(integrator: RecoveryIntegrator) -> OperationKind:
    if not integrator.kinds:
        integrator.load()
    return integrator.kinds["download"]


def _texts(name: str, given: object) -> list[str]:
    """A text, or each of several."""
    texts: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise checks.refused(name, text, "a text, or several in a list")
    return texts


def _reuse(how: str | None) -> str | None:
    if how not in (None, *WAYS):
        raise checks.refused("reuse", how, f"{', '.join(WAYS)} or None")
    return how


def _staging(folder: object) -> str | None:
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)) or not isinstance(path := os.fspath(folder), str) or not path:
        raise checks.refused("staging", folder, "the path of a folder, or None")
    return os.path.abspath(path)


def _check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what cannot be sent; the library that sends it would show the value."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise RecoveryConfigError(
                "a name in headers is not usable (it is not shown): it must be a word such as X-Key"
            )
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise RecoveryConfigError(
                f"the value of {name} in headers is not usable (it is not shown): it must be text without line ends"
            )


def _add_metalink(arguments: dict[str, Any], path: Path) -> None:
    """Take what a Metalink file tells: of the file of the destination's name, else of its only one."""
    files = metalinks.from_file(path)
    name = Path(arguments["destination"]).name
    found = [file for file in files if file.name == name] or list(files)
    if len(found) != 1:
        names = ", ".join(file.name for file in files)
        raise RefusedError(f"{path} tells of several files ({names}): name the destination like the one that is wanted")
    file = found[0]
    urls = [url for url in (arguments["url"], *file.urls) if url]
    if not urls:
        raise RefusedError(f"{path} has no web address of {file.name}")
    given = arguments["checksum"]
    arguments.update(
        url=urls[0],
        sources=list(dict.fromkeys((*urls[1:], *arguments["sources"]))),
        size=arguments["size"] if arguments["size"] is not None else file.size,
        checksum=[*([given] if isinstance(given, str) else given or ()), *map(str, file.checksums)],
    )
    if file.pieces is not None:
        values = [checksum.value for checksum in file.pieces.checksums]
        algorithm = file.pieces.checksums[0].hashed_with
        arguments["pieces"] = {"algorithm": algorithm, "length": file.pieces.length, "values": values}


@contextmanager
def _watched(
    integrator: RecoveryIntegrator, operation_id: str, on_update: Callable[[Mapping[str, Any]], object] | None
) -> Iterator[None]:
    """While it is entered, `on_update` is called with what becomes of the operation, in whichever process it runs."""
    if on_update is None:
        yield
        return
    is_over = threading.Event()
    last: dict[str, Any] | None = None

    def look() -> None:
        nonlocal last
        try:
            data = integrator.persistence.get(operation_id)
        except StoreError:
            return
        if data is None:
            return
        is_joined = data.owner not in (None, integrator.lifecycle.owner_id)
        update = {**vars(RecoveryUpdate.of(data)), "joined": is_joined}
        if update == last:
            return
        last = update
        try:
            on_update(update)
        except Exception:
            logger.exception("on_update raised")

    def watch() -> None:
        while not is_over.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=watch, name="recovery-updates", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        look()
