"""Errors that real programs gave, and the verdict that each must get."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.classification import RULES
from tests.unit.classification.rebuilding import entries
from tests.unit.classification.score import everything, table, verdict_on, wrong_in

# Of the second file a few are worded as the source of the program has it, of the third a few ends; each says so.
GIVEN = entries("errors.jsonl")
ALL = everything()


def cases() -> list[Any]:
    return [pytest.param(entry, id=entry["id"]) for entry in ALL]


@pytest.mark.parametrize("entry", cases())
def test_verdict(entry: dict[str, Any]) -> None:
    """Category, retry, fix and wait are right; where an error allows several answers, one of them."""
    found = verdict_on(entry)
    told = found.explain()
    assert wrong_in(entry, found) == [], told
    assert f"rule {found.rule}" in told
    assert found.rule == "unknown" or found.evidence
    assert "{" not in found.explanation


@pytest.mark.parametrize("entry", [entry for entry in GIVEN if "trap" in entry], ids=lambda entry: str(entry["id"]))
def test_trap(entry: dict[str, Any]) -> None:
    """What keywords would say, taken from the words of the error itself, has not decided: a rule with facts has."""
    rule = verdict_on(entry).rule
    deciding = next((item for item in RULES if item.id == rule), None)
    if deciding is not None and deciding.output is not None:
        assert "^" in deciding.output


def test_permanent_errors_are_not_retried() -> None:
    """Nothing that a retry cannot help is tried again by itself, and nothing that passes is given up."""
    for entry in ALL:
        again = verdict_on(entry).retry.value in ("yes", "once")
        if not {"yes", "once"}.intersection(entry["retry"]):
            assert not again, entry["id"]
        if not {"no", "after_fix"}.intersection(entry["retry"]):
            assert again, entry["id"]


def test_the_table_counts_what_is_wrong() -> None:
    """A verdict with another fix than those that are right counts as wrong, in its category and in the whole."""
    right, other = GIVEN[0], {**GIVEN[1], "fix": ["no such fix"], "category": ["internal", *GIVEN[1]["category"]]}
    rows = table([right, other]).splitlines()
    assert rows[2:] == ["| internal | 0 | 1 |", f"| {right['category'][0]} | 1 | 1 |", "| all | 1 | 2 |"]
