"""Errors read back from the store, as `except` clauses for built-in exceptions see them."""

from __future__ import annotations

import builtins
import copy
import pickle

import pytest

from launcher_recovery.errors import StoredError, raisable

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
