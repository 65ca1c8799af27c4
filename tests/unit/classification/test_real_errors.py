"""Errors that real programs gave, and the verdict that each must get."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.classification import RULES, ErrorClassifier
from tests.unit.classification.rebuilding import entries, rebuilt

# Of the second file a few are worded as the source of the program has it; each says so. Times in them are of this moment.
NOW = 1_700_000_000.0
GIVEN = entries("errors.jsonl")
MORE = entries("more_errors.jsonl")


def cases() -> list[Any]:
    return [pytest.param(entry, id=entry["id"]) for entry in (*GIVEN, *MORE)]


@pytest.mark.parametrize("entry", cases())
def test_verdict(entry: dict[str, Any]) -> None:
    """Category, retry, fix and wait are right; where an error allows several answers, one of them."""
    error = rebuilt(entry)
    found = ErrorClassifier(now=lambda: entry.get("now", NOW)).classify(error)
    told = found.explain()
    assert found.category.value in entry["category"], told
    assert found.retry.value in entry["retry"], told
    assert found.fix in entry["fix"], told
    assert found.wait_s in entry["wait"], told
    assert f"rule {found.rule}" in told
    assert found.rule == "unknown" or found.evidence
    assert "{" not in found.explanation


@pytest.mark.parametrize("entry", [entry for entry in GIVEN if "trap" in entry], ids=lambda entry: str(entry["id"]))
def test_trap(entry: dict[str, Any]) -> None:
    """What keywords would say, taken from the words of the error itself, has not decided: a rule with facts has."""
    rule = ErrorClassifier(now=lambda: entry.get("now", NOW)).classify(rebuilt(entry)).rule
    deciding = next((item for item in RULES if item.id == rule), None)
    if deciding is not None and deciding.output is not None:
        assert "^" in deciding.output


def test_permanent_errors_are_not_retried() -> None:
    """Nothing that a retry cannot help is tried again by itself, and nothing that passes is given up."""
    for entry in (*GIVEN, *MORE):
        again = ErrorClassifier(now=lambda: NOW).classify(rebuilt(entry)).retry.value in ("yes", "once")
        if not {"yes", "once"}.intersection(entry["retry"]):
            assert not again, entry["id"]
        if not {"no", "after_fix"}.intersection(entry["retry"]):
            assert again, entry["id"]
