"""Why pip passed an index over is told where that is what it failed with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes.pip_log import PipLog

NO_MATCH = "ERROR: No matching distribution found for plain\n"
AT = "2026-11-30T16:27:43,812 "
REFUSED = "Could not fetch URL http://h/simple/plain/: 403 Client Error: Forbidden for url: http://h/simple/plain/"


def explained(output: str, *lines: str) -> str:
    """What pip printed in the end, after it has kept these lines to its log."""
    with PipLog() as log:
        (option,) = log.words
        path = Path(option.removeprefix("--log="))
        if lines:
            path.write_text("".join(f"{AT}{line}\n" for line in lines))
        error = log.explained(CommandError(["pip"], 1, output))
    assert not path.parent.exists()
    return error.output


def test_the_reasons_are_last_and_each_is_told_once() -> None:
    timeout = "Could not fetch URL http://i/simple/plain/: timed out"
    told = explained(NO_MATCH, f"{REFUSED} - skipping", "Looking", f"  {timeout} - skipping", f"{REFUSED} - skipping")
    assert told == f"{NO_MATCH}ERROR: {REFUSED}\nERROR: {timeout}\n"


@pytest.mark.parametrize(
    "line",
    [
        "Could not fetch URL http://h/simple/plain/: 404 Client Error: Not Found for url: http://h/ - skipping",
        "Other line",
    ],
)
def test_an_index_that_has_no_such_package_is_no_reason(line: str) -> None:
    assert explained(NO_MATCH, line) == NO_MATCH


def test_what_failed_for_another_reason_stays_as_it_is() -> None:
    """A dead extra index does no harm where another one has the package."""
    output = "ERROR: Failed building wheel for plain\n"
    assert explained(output, f"{REFUSED} - skipping") == output


def test_a_pip_that_did_not_come_so_far_has_no_log() -> None:
    assert explained(NO_MATCH) == NO_MATCH


def test_no_more_than_a_few_and_none_without_end() -> None:
    lines = [f"Could not fetch URL http://h/{number}/: {'x' * 5000} - skipping" for number in range(9)]
    reasons = explained(NO_MATCH, *lines).removeprefix(NO_MATCH).splitlines()
    assert [reason[:37] for reason in reasons] == [
        f"ERROR: Could not fetch URL http://h/{number}" for number in range(3)
    ]
    assert max(map(len, reasons)) == len("ERROR: ") + 1000


def test_the_log_is_where_only_this_user_looks() -> None:
    with PipLog() as log:
        folder = Path(log.words[0].removeprefix("--log=")).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == os.getuid()
