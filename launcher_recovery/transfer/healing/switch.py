"""Makes responses that foreign code gets from requests, within an operation, survive dropped connections and crashes.

So that a handler which knows nothing of recovery can be resumed:

    with requests.get(url, stream=True) as response:
        for chunk in response.iter_content(8192):
            file.write(chunk)

The response is the server's, with another body (`healed_body`): when the connection breaks, it asks for the rest. What
arrived is kept on the disk (`kept_bodies`); from there the response of a later attempt begins, also of one in another
process after a crash. In each attempt the handler sees a plain 200 with all of the bytes.

Only a GET without a Range of its own, made in the thread (or context) of an operation, is healed; and only if the
server gives a validator which proves that the rest belongs to what is there: a strong ETag or, without a
Content-Encoding, a date that is as good. All other responses are those of requests, byte by byte. What cannot be healed
raises what it would have raised without healing, and the operation decides on another attempt.

A server that has asked somebody in this process to be left alone, by Retry-After, is: a short while is waited for
before it is asked, and for a longer one the handler gets the error on which its operation waits. What a server asks of
a handler holds for downloads as well.

Such a request goes through the proxy, and checks the server by the certificates, that a guided fix has set for the
operation.

The progress that is shown is left to the handler. But an attempt in which the kept part of a body grew has moved,
whatever its handler reports (`Operation.has_moved`): its failure begins the count of failed attempts anew.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from launcher_recovery.fixes.effects import ca_bundle_of, proxy_of
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.records import OBSERVED, RecoveryState
from launcher_recovery.signals import Event, recovery_completed
from launcher_recovery.strategies import ExponentialBackoffStrategy, Strategy
from launcher_recovery.transfer.healing.own import is_ours, ours

if TYPE_CHECKING:
    from launcher_recovery.transfer.healing.kept_bodies import KeptBodies

__all__ = ["Healing", "default_folder", "install", "ours", "uninstall"]


class Healing:
    """How responses are healed, for as long as it is installed.

    Args:
        folder: where bodies are kept; default: `bodies` in the user's cache folder.
        backoff: gives the waits between requests for the rest that bring nothing; default: that of the launcher.
    """

    def __init__(self, folder: Path | None = None, backoff: Strategy | None = None) -> None:
        self.folder = folder or default_folder()
        self.backoff = backoff or ExponentialBackoffStrategy(jitter=True)
        self._kept: KeptBodies | None = None
        self._lock = threading.Lock()

    @property
    def kept(self) -> KeptBodies:
        """The bodies that are kept. What heals is loaded with the first response: most processes get none."""
        from launcher_recovery.transfer.healing.kept_bodies import KeptBodies

        with self._lock:
            if self._kept is None:
                self._kept = KeptBodies(self.folder)
            return self._kept

    def clean(self, older_than: datetime) -> None:
        """Delete kept bodies that were not written to since `older_than`."""
        if self.folder.is_dir():
            self.kept.clean(older_than)

    def on_completed(self, sender: object, event: Event) -> None:
        """Delete what is kept for an operation that went well or was cancelled; a failed one may be begun again."""
        is_over = event.payload["final_state"] in (RecoveryState.SUCCESS, RecoveryState.CANCELLED)
        if is_over and self.folder.is_dir():
            self.kept.drop(event.payload["operation_id"])


def default_folder() -> Path:
    """Where bodies are kept unless something else is said."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("launcher-recovery", appauthor=False)) / "bodies"


# -- in and out of requests ---------------------------------------------------------------------------

_installed: tuple[Healing, ...] = ()
_lock = threading.Lock()


def install(folder: Path | None = None, backoff: Strategy | None = None) -> Healing:
    """Heal from now on the responses of this process; see `Healing` for the arguments.

    As often as one likes: the last one that is still installed counts. `uninstall` takes what it returns.
    """
    global _installed
    healing = Healing(folder, backoff)
    with _lock:
        if not _installed and _sending() is None:
            setattr(requests.Session, "send", _Sending(requests.Session.send).function)
        _installed = (*_installed, healing)
    recovery_completed.connect(healing.on_completed)
    return healing


def uninstall(healing: Healing) -> None:
    """Undo `install`; with the last one, requests is as it was. A second time does nothing."""
    global _installed
    recovery_completed.disconnect(healing.on_completed)
    with _lock:
        _installed = tuple(one for one in _installed if one is not healing)
        sending = _sending()
        # Where somebody else has wrapped it since, it stays below theirs, and does nothing.
        if not _installed and sending is not None:
            setattr(requests.Session, "send", sending.original)


def _sending() -> _Sending | None:
    """What stands in for `requests.Session.send`, if it is that which is called first."""
    now: Any = requests.Session.send
    found = getattr(now, "healed", None)
    # Whoever wraps it may have taken its attributes along.
    return found if isinstance(found, _Sending) and found.function is now else None


class _Sending:
    """Stands in for `requests.Session.send`, to which all calls of requests come down.

    There a response is complete: redirects were followed, hooks called, cookies taken; and its body not read yet.
    """

    def __init__(self, original: Callable[..., requests.Response]) -> None:
        self.original = original

        @functools.wraps(original)
        def send(session: requests.Session, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            installed = _installed
            operation = _operation_of(request) if installed else None
            if operation is None:
                return original(session, request, **kwargs)
            from launcher_recovery.transfer.healing.healed_request import HealedRequest
            from launcher_recovery.transfer.http.session import in_a_way

            kept, backoff = installed[-1].kept, installed[-1].backoff
            proxy, bundle = proxy_of(operation.data), ca_bundle_of(operation.data)
            fixed = in_a_way(kwargs, str(request.url), proxy, bundle)
            with ours():  # redirects, and what hooks send
                return HealedRequest(original, session, request, fixed, operation, kept, backoff).send()

        setattr(send, "healed", self)
        self.function: Callable[..., requests.Response] = send


def _operation_of(request: requests.PreparedRequest) -> Operation | None:
    """The operation for which the response of a request is to be healed."""
    # Looked at first: a call that is no operation yet becomes one when that is asked for.
    if is_ours() or getattr(request, "method", None) != "GET" or request.body is not None:
        return None
    if "Range" in request.headers or "If-Range" in request.headers:
        return None
    if not str(request.url).lower().startswith(("http://", "https://")):
        return None
    operation = current_operation()
    return None if operation is None or OBSERVED in operation.metadata else operation
