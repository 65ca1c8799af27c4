"""The exceptions of the package, all under `RecoveryError`."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Mapping, Sequence
from errno import EDQUOT, ENOENT, ENOSPC, EWOULDBLOCK
from typing import Any

from launcher_recovery.room import amount

# So much of an output is looked at for its last line.
_LAST_CHARS = 4096
_MOST_NAMED = 5


class RecoveryError(Exception):
    """Base class of every exception that launcher-recovery raises itself."""


class RecoveryConfigError(RecoveryError, ValueError):
    """A setting has a bad value; the message names it, its value and what was expected."""


class RecoveryStateError(RecoveryError):
    """A state change was refused: not a legal transition, or another caller was faster.

    `state` is the state that the operation is in instead (None when it does not exist).
    """

    def __init__(self, message: str, *, state: str | None = None) -> None:
        super().__init__(message)
        self.state = state


class RecoveryTimeoutError(RecoveryError, TimeoutError):
    """An attempt took longer than its `timeout`, or the operation longer than its `deadline`."""


class RecoveryExhaustedError(RecoveryError):
    """All attempts failed; raised instead of the original error only with `raise_original=False`, caused by it."""


class CircuitBreakerOpenError(RecoveryError):
    """The circuit breaker is open; `timeout_remaining` is in seconds until the next probe."""

    def __init__(self, message: str, timeout_remaining: float) -> None:
        super().__init__(message, timeout_remaining)
        self.message = message
        self.timeout_remaining = timeout_remaining

    def __str__(self) -> str:
        return self.message


class OperationInterrupted(RecoveryError):
    """Raised inside a handler by `Operation.check()` because the operation no longer belongs to it."""


class OperationPaused(OperationInterrupted):
    """Somebody paused the operation; the handler should unwind, it is called again on resume."""


class OperationCancelled(OperationInterrupted):
    """Somebody cancelled the operation."""


class NoHandlerError(RecoveryError):
    """No plugin of the launcher handled a hook call."""


class StoreError(RecoveryError):
    """The store of recovery state cannot be used; the message says why and what to do."""


class IntegrityError(RecoveryError):
    """Finished bytes are not the bytes that were asked for (wrong size or checksum)."""


class UnexpectedContentError(IntegrityError):
    """The server answered with something that is not the file."""


class LoginRequiredError(UnexpectedContentError):
    """A page came that probably wants a login, or a licence to be accepted, before it gives the file."""


class CaptivePortalError(UnexpectedContentError):
    """A page of another place came in between, such as the login page of a hotel's network."""


class BrowserCheckError(UnexpectedContentError):
    """A page came that lets only browsers pass, such as a challenge of Cloudflare."""


class PointerFileError(UnexpectedContentError):
    """A Git LFS pointer came: the few lines that stand for the file in a repository."""


class ErrorDocumentError(UnexpectedContentError):
    """An error message came in place of the file; `status_code` is the HTTP status that it amounts to, if any."""

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class PartInUseError(RecoveryError, BlockingIOError):
    """Another program writes to a partial.

    Args:
        path: the partial.
    """

    def __init__(self, path: str) -> None:
        BlockingIOError.__init__(self, EWOULDBLOCK, "another program is writing to it", path)
        self.args = (path,)  # which it can be made of again
        self.path = path

    def __str__(self) -> str:
        return f"another program is writing to {self.path}; it is tried again when that has ended"


class NoSpaceError(RecoveryError, OSError):
    """There is not enough room on a disk, or a quota is used up; what has been written stays.

    Args:
        folder: a folder on that disk.
        needed: bytes for which there has to be room in all, for others before this one as well; None: unknown.
        free: bytes that were free; None: unknown.
        errno: ENOSPC, or EDQUOT for a quota.
        look: gives `needed` and `free` as they are now, so that who waits is told the latest, and not kept waiting for
            the room of others that are done; None: `needed` stays as it is.
    """

    def __init__(
        self,
        folder: str,
        needed: int | None = None,
        free: int | None = None,
        errno: int = ENOSPC,
        *,
        look: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        words = "a quota is used up" if errno == EDQUOT else "there is not enough room on the disk"
        OSError.__init__(self, errno, words, folder)
        self.args = (folder, needed, free, errno)  # which it can be made of again
        self.folder, self.needed, self.free, self.look = folder, needed, free, look

    def __str__(self) -> str:
        if self.needed is None or self.free is None or self.needed <= self.free:
            return f"{self.strerror}: {self.folder}"
        return f"{self.strerror}: {amount(self.needed - self.free)} are missing in {self.folder}"

    def __reduce__(self) -> tuple[Any, ...]:
        # `look` belongs to this process.
        return type(self), self.args, {name: value for name, value in vars(self).items() if name != "look"}


class FolderGoneError(RecoveryError, OSError):
    """The folder in which bytes were kept is not there any more, as when its disk was unplugged.

    It is not made again: it would come to lie on another disk, and all bytes be fetched once more. `folder` is its
    path.
    """

    def __init__(self, folder: str) -> None:
        OSError.__init__(self, ENOENT, "the folder is not there any more", folder)
        self.args = (folder,)
        self.folder = folder

    def __str__(self) -> str:
        return f"{self.strerror}: {self.folder}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, vars(self)


class AddressExpiredError(RecoveryError):
    """The address holds a signature that is not valid any more; somebody has to get a new one."""


class AddressUnknownError(RecoveryError):
    """Nobody knows where a file can be had; somebody has to say, or to put it in its place. `name` is the file's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"nobody knows where {self.name} is to be had"


class RefusedError(RecoveryError, ValueError):
    """An argument was refused for safety: a destination outside the allowed folders, a bad URL."""


class ProjectIncompleteError(RecoveryError):
    """A project was not set up whole; what is done of it is kept.

    Args:
        missing: what is not there, as {"what", "name", "label", "reason"}: the label is for people, "the model a.pt".
        done: the names of the parts that are there.
    """

    def __init__(self, missing: Sequence[Mapping[str, str]], done: Sequence[str]) -> None:
        super().__init__(list(missing), list(done))
        self.missing = tuple(missing)
        self.done = tuple(done)

    def __str__(self) -> str:
        count, total = len(self.missing), len(self.missing) + len(self.done)
        named = [f"{part['label']} ({part['reason']})" for part in self.missing[:_MOST_NAMED]]
        more = f" and {count - len(named)} more" if count > len(named) else ""
        of = f"{count} of {total} part{'' if total == 1 else 's'} {'is' if count == 1 else 'are'} missing"
        return f"Not ready: {of}: {', '.join(named)}{more}"


class CommandError(RecoveryError):
    """A child process failed.

    `argv` is its command line, `returncode` its exit status (128 + n when signal n ended it; None when that is not
    known), `output` the end of what it printed on both streams.
    """

    def __init__(self, argv: Sequence[str], returncode: int | None, output: str) -> None:
        super().__init__(argv, returncode, output)
        self.argv = (argv,) if isinstance(argv, str) else tuple(argv)
        self.returncode = returncode
        self.output = output

    def __str__(self) -> str:
        lines = self.output[-_LAST_CHARS:].strip().splitlines()
        tail = f": {lines[-1].strip()}" if lines else ""
        return f"{' '.join(self.argv[:3])} ended with exit status {self.returncode}{tail}"


class StoredError(RecoveryError):
    """An error read back from the store: type name, message and trimmed traceback of the original.

    Raised to a call whose operation failed in another process (or before a restart); when the name is that of a
    built-in exception, `except` clauses for that one catch it as well. See `raisable`.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


def raisable(error: StoredError) -> StoredError:
    """The error as one that is also of the built-in exception class of its name, such as `ConnectionError`.

    Where that class cannot be made from a message alone, it is of the nearest class above it that can, such as
    `UnicodeError` for `UnicodeDecodeError`; it has no errno. An error of any other name is given back as it is: what
    is no built-in cannot be known for sure by its name, and is not imported.
    """
    named = getattr(builtins, error.type_name, None)
    if type(error) is not StoredError or not isinstance(named, type) or not issubclass(named, Exception):
        return error
    kind = _stored_class(error.type_name)
    made = kind(error.type_name, error.message, error.traceback)
    made.__dict__.update(error.__dict__)
    return made


@functools.cache
def _stored_class(type_name: str) -> type[StoredError]:
    named: type[Exception] = getattr(builtins, type_name)
    if issubclass(named, (StopIteration, StopAsyncIteration)):
        return StoredError  # one that leaves a generator is made a RuntimeError
    for base in named.__mro__[: named.__mro__.index(Exception)]:
        try:
            kind = _stored_subclass(base)
            kind(type_name, "", "")
        except TypeError:  # its layout does not go with ours, or it wants more than a message
            continue
        return kind
    return StoredError


def _stored_subclass(base: type[Exception]) -> type[StoredError]:
    def init(self: StoredError, type_name: str, message: str, traceback: str = "") -> None:
        base.__init__(self, message)  # OSError would take our three for errno, text and file name
        self.args = (type_name, message, traceback)
        self.type_name, self.message, self.traceback = type_name, message, traceback

    def reduce(self: StoredError) -> tuple[Any, ...]:
        return _stored_again, (self.args, self.__dict__)

    members = {"__init__": init, "__reduce__": reduce, "__module__": __name__, "__doc__": StoredError.__doc__}
    return type(f"Stored{base.__name__}", (StoredError, base), members)


def _stored_again(args: tuple[str, str, str], state: dict[str, Any]) -> StoredError:
    made = raisable(StoredError(*args))
    made.__dict__.update(state)
    return made


def text_of(error: BaseException) -> str:
    """`str(error)`, or a few words instead when its class cannot say."""
    try:
        return str(error)
    except Exception:
        return f"{type(error).__qualname__} (its text cannot be read)"
