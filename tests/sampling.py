"""Which rows of long tables run always: a sample that is the same in every run; the others run with -m slow."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

import pytest

_FEWEST = 2
_STORES = ("[memory", "[sqlite", "[resilient", "[postgres")

# Tests that start many programs or wait long, and of which others are the short version.
_LONG = {
    "tests/browser/test_dashboard.py": (
        "test_a_fix_that_is_refused_says_why",
        "test_an_address_leads_to_an_operation_that_is_far_down",
        "test_figures_are_drawn_and_told_as_a_table",
        "test_health_and_the_self_test",
        "test_circuit_breakers_are_shown_with_their_rest",
        "test_what_happens_meanwhile_is_told_until_it_is_dismissed",
        "test_the_browser_notifies_only_who_asked_for_it",
    ),
    "tests/integration/test_cli.py": (
        "test_quiet_says_nothing",
        "test_a_pause_from_elsewhere_ends_the_command_and_the_same_command_goes_on",
        "test_the_priority_of_a_download_is_set_from_another_terminal",
        "test_a_metalink_file_and_mirrors_give_the_file_when_its_server_does_not",
        "test_on_a_terminal_there_is_a_bar",
        "test_a_damaged_file_is_found_and_repaired",
    ),
    "tests/integration/test_projects.py": ("test_a_launcher_json_of_another_launcher_is_imported_whole",),
    "tests/integration/test_survival.py": (
        "test_a_wait_that_a_kill_interrupted_ends_when_it_was_due_and_can_be_cut_short",
        "test_what_was_paused_before_a_kill_stays_paused_until_it_is_resumed",
        "test_an_import_that_is_cancelled_as_a_whole_takes_its_download_along",
        "test_a_launcher_that_was_asked_to_end_goes_on_after_the_next_start",
        "test_without_the_plugin_the_same_fault_loses_the_download",
    ),
    "tests/integration/test_woven.py": ("test_both_processes_are_woven_and_every_join_point_is_live",),
    "tests/torture/test_kill.py": ("test_three_kills_at_random_moments",),
    "tests/torture/test_transfer_together.py": (
        "test_another_one_goes_on_when_the_one_that_downloads_is_killed",
        "test_processes_that_know_nothing_of_each_other_do_no_harm",
    ),
    "tests/unit/fixes/test_effects.py": (
        "test_submodules_and_large_files_have_the_token_of_their_own_host",
        "test_what_pip_keeps_is_fetched_again_only_once_it_was_purged",
        "test_pip_prefers_what_is_ready_made",
        "test_addresses_that_are_to_be_asked_directly_are",
    ),
    "tests/unit/nodes/test_requirements.py": (
        "test_requirements_of_another_commit_are_installed_again",
        "test_what_could_not_be_put_back_is_told",
    ),
    "tests/unit/nodes/test_restoring.py": (
        "test_what_others_added_since_stays",
        "test_an_import_is_restored_as_a_whole",
        "test_at_a_terminal",
    ),
}


def mark_rows(items: Iterable[pytest.Item]) -> None:
    """Mark as slow what is long, and what is not in the sample.

    Tests with `@pytest.mark.sampled(rows)` keep so many; of the torture's tables a fifth is kept, two rows at least,
    and all of a table of stores.
    """
    tables: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        name = item.nodeid.partition("[")[0]
        file, _, function = name.partition("::")
        if function in _LONG.get(file, ()):
            item.add_marker(pytest.mark.slow)
        elif hasattr(item, "callspec"):
            tables[name].append(item)
    for name, rows in tables.items():
        most = _rows_of(rows[0], len(rows))
        if most is None or most >= len(rows):
            continue
        kept = set(random.Random(name).sample(range(len(rows)), most))
        for number, item in enumerate(rows):
            if number not in kept:
                item.add_marker(pytest.mark.slow)


def _rows_of(item: pytest.Item, rows: int) -> int | None:
    """How many rows of a table are kept; None: all."""
    marker = item.get_closest_marker("sampled")
    if marker is not None:
        return int(marker.args[0])
    is_of_stores = any(store in item.nodeid for store in _STORES)
    return max(_FEWEST, rows // 5) if "tests/torture/" in item.nodeid and not is_of_stores else None
