"""What others import from `launcher_recovery.workflows` is there and explained, and loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from launcher_recovery import workflows


def test_names_are_sorted_and_each_has_a_home() -> None:
    assert workflows.__all__ == sorted(workflows.__all__, key=lambda name: (name[0].islower(), name))
    assert set(workflows._HOME_OF) == set(workflows.__all__)
    assert set(workflows.__all__) <= set(dir(workflows))


@pytest.mark.parametrize("name", workflows.__all__)
def test_each_name_is_explained(name: str) -> None:
    assert len((getattr(workflows, name).__doc__ or "").split()) > 2


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'check_workflows'"):
        _ = workflows.check_workflows


def test_the_check_is_loaded_only_when_it_is_used() -> None:
    code = "import sys, launcher_recovery.hookspecs; assert 'launcher_recovery.workflows.checking' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_check_needs_nothing_else() -> None:
    code = (
        "import sys; from launcher_recovery.workflows import Tables, apply_fixes, check_workflow; apply_fixes\n"
        "assert not {'requests', 'flask', 'peewee', 'blinker', 'pluggy', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
