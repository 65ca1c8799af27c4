"""Errors as `except` clauses see them: those read back from the store, and those that are about a disk."""

from __future__ import annotations

import builtins
import copy
import errno
import pickle

import pytest

from launcher_recovery.errors import FolderGoneError, NoSpaceError, StoredError, raisable

BUILTIN = [item for item in vars(builtins).values() if isinstance(item, type) and issubclass(item, BaseException)]
BUILTIN.remove(BaseException)
# They want more than a message, mean something to generators, or are no errors.
ODD = {
    "UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError", "ExceptionGroup", "BaseExceptionGroup",
    "StopIteration", "StopAsyncIteration", "GeneratorExit", "KeyboardInterrupt", "SystemExit",
}  # fmt: skip


@pytest.mark.parametrize("kind", BUILTIN, ids=lambda kind: kind.__name__)
def test_error_is_of_the_built_in_class_of_its_name(kind: type[BaseException]) -> None:
    """Every built-in exception that can be made of a message is caught by its own `except`; none harms the rest."""
    error = raisable(StoredError(kind.__name__, "gone", "File x"))
    assert isinstance(error, StoredError)
    assert isinstance(error, kind) is (kind.__name__ not in ODD)
    assert (str(error), error.args) == (f"{kind.__name__}: gone", (kind.__name__, "gone", "File x"))
    assert (error.type_name, error.message, error.traceback) == error.args
    error.__notes__ = ["tried"]
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (again.args, again.__notes__) == (error.args, ["tried"])
    assert getattr(error, "errno", None) is None


def test_what_is_nearest() -> None:
    """Of a class that wants more than a message it is the nearest above it that does not."""
    error = raisable(StoredError("UnicodeDecodeError", "bad byte"))
    assert isinstance(error, UnicodeError)
    assert not isinstance(error, UnicodeDecodeError)


@pytest.mark.parametrize("name", ["OwnError", "print", "list", "BadZipFile", "", "Exception"])
def test_other_names_are_left_alone(name: str) -> None:
    """A name that is no built-in exception makes no class, and what was made raisable stays as it is."""
    error = StoredError(name, "gone")
    assert type(raisable(error)) is StoredError
    made = raisable(StoredError("OSError", "gone"))
    assert raisable(made) is made


@pytest.mark.parametrize(
    ("error", "number", "text"),
    [
        (NoSpaceError("/m", 5_000_000, 800_000), errno.ENOSPC, "not enough room on the disk: 4.2 MB are missing in /m"),
        (NoSpaceError("/m", 5, 5), errno.ENOSPC, "there is not enough room on the disk: /m"),
        (NoSpaceError("/m"), errno.ENOSPC, "there is not enough room on the disk: /m"),
        (NoSpaceError("/m", errno=errno.EDQUOT), errno.EDQUOT, "a quota is used up: /m"),
        (FolderGoneError("/m"), errno.ENOENT, "the folder is not there any more: /m"),
    ],
)
def test_errors_about_a_disk_are_os_errors(error: NoSpaceError | FolderGoneError, number: int, text: str) -> None:
    """They have the number, the folder as file name and a sentence, and stay so in a copy or another process."""
    error.__notes__ = ["tried"]
    for one in (error, copy.copy(error), pickle.loads(pickle.dumps(error)), type(error)(*error.args)):
        assert isinstance(one, OSError)
        assert (one.errno, one.folder, one.filename) == (number, "/m", "/m")
        assert str(one).endswith(text)
        assert vars(one).get("needed") == vars(error).get("needed")
    assert copy.copy(error).__notes__ == ["tried"]


def test_what_looks_at_the_disk_stays_in_its_process() -> None:
    """A function is not part of a copy."""
    error = NoSpaceError("/m", 5, 2, look=lambda: (5, 3))
    assert pickle.loads(pickle.dumps(error)).look is None
    assert error.look is not None
