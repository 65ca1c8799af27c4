"""Puts the environment back that an install changed which is given up: its node is not there, and needs nothing."""

from __future__ import annotations

import logging
from typing import Any

from launcher_recovery.errors import CommandError, RecoveryError, text_of
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.nodes import environment
from launcher_recovery.nodes.installing import installing_into
from launcher_recovery.nodes.interpreter import Interpreter
from launcher_recovery.nodes.recording import TOUCHED
from launcher_recovery.nodes.requirements import CHANGES, MOST_CHANGES, not_put_back
from launcher_recovery.nodes.restoring import put_back
from launcher_recovery.records import RecoveryData

logger = logging.getLogger("launcher_recovery")


def undo_changes(data: RecoveryData, lifecycle: Lifecycle) -> None:
    """Undo what an install did to its environment, if that was anything; what others did there meanwhile stays.

    A retry has pip bring it again. What cannot be undone is logged, and told with the operation.

    Args:
        data: of an install that failed for good. Nothing is done while something else is installed into its
            environment.
        lifecycle: keeps it.
    """
    changed = {change["name"] for change in data.metadata.get(CHANGES) or ()}
    step = lifecycle.kept_step(data.operation_id, "environment")
    if not data.metadata.get(TOUCHED) or not changed or step is None:
        return
    python = step.result["python"]
    if installing_into(lifecycle.store, python) is not None:
        logger.info("the environment is not put back while another node is installed there")
        return
    fields: dict[str, Any] = {TOUCHED: False, CHANGES: []}
    try:
        _put_back(Interpreter(None, python, lambda message: None, data), step.result["packages"], changed)
    except (CommandError, OSError) as error:
        logger.warning("the environment could not be put back: %s", text_of(error))
        fields = {"warnings": [*(data.metadata.get("warnings") or ()), not_put_back(data.title)]}
    try:
        lifecycle.amend(data.operation_id, fields)
    except RecoveryError as error:  # a person was faster, and retries it already
        logger.info("that the environment was put back is not noted: %s", error)


def _put_back(interpreter: Interpreter, before: list[str], changed: set[str]) -> None:
    now = environment.lines_of(interpreter.look())
    is_known = len(changed) < MOST_CHANGES
    wanted = [line for line in before if not is_known or environment.name_of(line) in changed]
    wanted += [line for line in now if is_known and environment.name_of(line) not in changed]
    put_back(interpreter, wanted, frozenset(changed) if is_known else None, lambda line: None)
