"""The names that users import: sorted, there, and explained."""

from __future__ import annotations

import importlib

import pytest

import launcher_recovery


def test_names_are_sorted_and_unique() -> None:
    """`__all__` is sorted as ruff sorts it (constants, classes, functions), without doubles, and is in `dir`."""
    names = launcher_recovery.__all__
    assert len(set(names)) == len(names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert set(names) <= set(dir(launcher_recovery))


def test_homes_are_exactly_the_public_names() -> None:
    """Every public name has a home, and every name with a home is public."""
    assert set(launcher_recovery._HOME_OF) == set(launcher_recovery.__all__)


@pytest.mark.parametrize("name", launcher_recovery.__all__)
def test_name_is_importable_and_explained(name: str) -> None:
    """Each name can be imported from the top, is the one of its home, and has a docstring of its own."""
    value = getattr(launcher_recovery, name)
    home = importlib.import_module(f"launcher_recovery.{launcher_recovery._HOME_OF[name]}")
    assert value is getattr(home, name)
    if name not in ("DEFAULT_CONFIG", "hookimpl"):  # instances; their classes are explained
        assert value.__doc__
        assert len(value.__doc__.split()) > 2
    if isinstance(value, type):
        assert "__doc__" in vars(value)


def test_other_names_are_refused() -> None:
    """What does not exist is said so, by name."""
    with pytest.raises(AttributeError, match="module 'launcher_recovery' has no attribute 'recoverabel'"):
        _ = launcher_recovery.recoverabel


def test_version() -> None:
    """The version is there without loading anything."""
    assert launcher_recovery.__version__.count(".") == 2
