"""Values as JSON text and back."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher_recovery.errors import StoredError
from launcher_recovery.persistence import codec
from launcher_recovery.persistence.codec import NotStorableError, dump_error, dumps, error_to_stored, loads

SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters()), st.binary(),
    st.datetimes(timezones=st.just(timezone.utc)),
)  # fmt: skip
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=5), st.just("$type"), st.just("value")), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES)
def test_round_trip(value: Any) -> None:
    """Whatever is accepted comes back equal and of the same type, and its text is one that a database takes."""
    text = dumps(value)
    text.encode()
    again = loads(text)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    "value", [Path("/a/b"), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))), math.inf]
)
def test_single_types(value: Any) -> None:
    """Paths, dates with and without zone, and infinity come back as they are."""
    assert loads(dumps(value)) == value


def test_text_is_compact() -> None:
    """Text stays readable in the database, without spaces between."""
    assert dumps({"a": [1, "ü🧩"]}) == '{"a":[1,"ü🧩"]}'
    assert dumps("\udce9") == r'"\udce9"'
    assert math.isnan(loads(dumps(math.nan)))
    assert loads(None) is None
    assert loads(dumps(PurePosixPath("/a"))) == Path("/a")

    class Colour(str, Enum):
        RED = "red"

    assert loads(dumps(Colour.RED)) == "red"


class Floaty(float):
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {2}]}, "value.a[1] is of type set, which is not kept in the store"),
        ((print,), "value[0] is of type builtin_function_or_method"),
        ({"x": {1: 2}}, "value.x is a dict with keys that are not text"),
        (Floaty(1), "value is of type Floaty"),
        (10**5000, "value cannot be written as JSON"),
    ],
    ids=["set", "function", "keys", "float", "digits"],
)
def test_other_types_are_refused(value: Any, message: str) -> None:
    """What is not in the set of types is refused, and the message says where it is."""
    with pytest.raises(NotStorableError) as caught:
        dumps(value)
    assert message in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_depth() -> None:
    """A hundred levels are kept, more are not, nor is what contains itself, however it is nested."""
    for wrap in (lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner}):
        value: Any = 1
        for _ in range(codec._MAX_DEPTH):
            value = wrap(value)
        assert loads(dumps(value)) == value
        with pytest.raises(NotStorableError, match="nested too deeply"):
            dumps(wrap(value))
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(NotStorableError, match="nested too deeply or contains itself"):
        dumps(endless)


def test_errors() -> None:
    """An error is kept as type name, message and the last frames of its traceback."""

    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError) as caught:
        fail(50)
    stored = codec.load_error(dump_error(caught.value))
    assert stored is not None
    assert (stored.type_name, stored.message, str(stored)) == ("ConnectionError", "gone", "ConnectionError: gone")
    assert stored.traceback.count('raise ConnectionError("gone")') == 1
    assert "Previous line repeated 8 more times" in stored.traceback  # of 12 frames, the last of which differs
    assert error_to_stored(stored) is stored
    assert str(StoredError("KeyError", "")) == "KeyError"
    assert (dump_error(None), codec.load_error(None)) == (None, None)
