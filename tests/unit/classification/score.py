"""How many of the errors that real programs gave are judged rightly: `python -m tests.unit.classification.score`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from launcher_recovery.classification import ErrorClassifier, Verdict
from tests.unit.classification.rebuilding import entries, rebuilt

FILES = ("errors.jsonl", "more_errors.jsonl", "reported_errors.jsonl")
# Times in the entries are of this moment unless they say so.
NOW = 1_700_000_000.0


def everything() -> list[dict[str, Any]]:
    """The errors of all files."""
    return [entry for name in FILES for entry in entries(name)]


def verdict_on(entry: Mapping[str, Any]) -> Verdict:
    """What the rules say of an entry, at the time that it is of."""
    return ErrorClassifier(now=lambda: entry.get("now", NOW)).classify(rebuilt(entry))


def wrong_in(entry: Mapping[str, Any], found: Verdict) -> list[str]:
    """What of a verdict is none of the answers that count as right."""
    answers = {"category": found.category.value, "retry": found.retry.value, "fix": found.fix, "wait": found.wait_s}
    return [name for name, answer in answers.items() if answer not in entry[name]]


def table(given: Iterable[Mapping[str, Any]]) -> str:
    """Right of total by category, as Markdown."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for entry in given:
        is_right = not wrong_in(entry, verdict_on(entry))
        for name in (entry["category"][0], "all"):
            counts[name][0] += is_right
            counts[name][1] += 1
    order = sorted(counts, key=lambda name: (name == "all", name))
    rows = [f"| {name} | {counts[name][0]} | {counts[name][1]} |" for name in order]
    return "\n".join(["| category | right | of |", "|---|---:|---:|", *rows])


if __name__ == "__main__":
    print(table(everything()))
