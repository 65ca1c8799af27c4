"""What fixes did: entered with the operation, and after a crash undone, or gone on with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from launcher_recovery.clock import time_ordered_id, to_datetime, to_iso
from launcher_recovery.errors import RecoveryError, RecoveryStateError
from launcher_recovery.fixes.action import Hands
from launcher_recovery.fixes.actions import from_json, to_json
from launcher_recovery.fixes.fix import Case, Fix, FixConflictError, FixRefusedError, Plan, Say
from launcher_recovery.fixes.journal import Journal
from launcher_recovery.fixes.offers import AUDIT, refusal_of, said
from launcher_recovery.fixes.tools import Tools
from launcher_recovery.records import RecoveryState

logger = logging.getLogger("launcher_recovery")


def entry_of(fix: Fix, case: Case, plan: Plan) -> dict[str, Any]:
    """What is kept of it; without secrets."""
    redactor = case.tools.lifecycle.redactor
    entry = {
        "id": time_ordered_id(case.tools.lifecycle.clock.time()),
        "operation_id": case.data.operation_id,
        "fix": fix.id,
        "state": "applied",
        "at": now_of(case.tools),
        "parameters": {**case.given, **dict.fromkeys(case.secrets, "***")},
        "says": said([*plan.says, *(action.say() for action in plan.actions)]),
        "actions": [to_json(action) for action in plan.actions],
        "can_undo": bool(plan.actions) and all(action.is_undoable(fix.functions) for action in plan.actions),
    }
    kept: dict[str, Any] = redactor.value(entry)
    return kept


def now_of(tools: Tools) -> str:
    """The time, ISO 8601 UTC."""
    return str(to_iso(to_datetime(tools.lifecycle.clock.time())))


class Past:
    """The entries of fixes, under way and done.

    Args:
        tools: gives what there is to work with.
        journal: those under way.
        fix: from the id of a fix and that of an operation to the fix, None when it is not known any more.
    """

    def __init__(self, tools: Callable[[], Tools], journal: Journal, fix: Callable[[str, str], Fix | None]) -> None:
        self._tools = tools
        self._journal = journal
        self._fix = fix

    def hands(self, entry: Mapping[str, Any], values: Mapping[str, Any]) -> Hands:
        """Who does or undoes the actions of an entry."""
        fix = self._fix(entry["fix"], entry["operation_id"])
        functions = {} if fix is None else fix.functions
        return Hands(self._tools(), entry["operation_id"], entry["id"], values, functions)

    def undo_actions(self, entry: Mapping[str, Any]) -> None:
        """Undo what an entry did, the last first."""
        hands = self.hands(entry, {})
        for given in reversed(entry["actions"]):
            from_json(given).undo(hands)

    def forget_secrets(self) -> None:
        """Forget what was given for one operation that does not need it any more: a signed address, a login."""
        tools = self._tools()
        for place in tools.vault.places():
            what, _, rest = place.partition(":")
            if what in ("argument", "proxy"):
                data = tools.lifecycle.current(rest.partition(":")[0])
                if data is None or data.state is RecoveryState.SUCCESS:
                    tools.vault.forget(place)

    def recover(self) -> None:
        """Look after all that is in the journal."""
        for entry in self._journal.entries():
            try:
                self.end(entry)
            except Exception:
                logger.exception("what is left of the fix %s cannot be looked after at the moment", entry.get("fix"))

    def end(self, entry: dict[str, Any], why: Say | None = None) -> None:
        """Undo what was begun, go on with what was being undone, and enter what is done."""
        data = self._tools().lifecycle.current(entry["operation_id"])
        if data is not None and data.state is RecoveryState.IN_PROGRESS:
            return  # it would write over what is set for it; it is looked after the next time
        if entry["state"] == "applying":
            logger.warning("the fix %s did not work out: what it had done is undone", entry["fix"])
            self._journal.write(self._failed(entry, why or Say("failed.cut_off")))
        elif entry["state"] == "undoing":
            try:
                self.undo_actions(entry)
            except (FixConflictError, FixRefusedError):
                self._journal.forget(entry["id"])  # it stays applied, and is undone when a person asks for it again
                return
            self._journal.write({**entry, "state": "undone", "undone_at": now_of(self._tools())})
        self.settle(entry["id"])

    def settle(self, id: str) -> None:
        """Enter what is done with the operation; as long as that runs, it stays in the journal."""
        entry = next((found for found in self._journal.entries() if found["id"] == id), None)
        if entry is None:
            return
        try:
            self._tools().lifecycle.amend(entry["operation_id"], {f"{AUDIT}{id}": entry})
        except RecoveryStateError as error:
            if error.state is not None:
                return
        except RecoveryError:
            logger.exception("what the fix %s did could not be entered yet", entry["fix"])
            return
        self._journal.forget(id)

    def _failed(self, entry: Mapping[str, Any], why: Say) -> dict[str, Any]:
        """The entry of what was undone again, or could not be."""
        says = [why]
        try:
            self.undo_actions(entry)
        except Exception as error:
            says.append(refusal_of(error))
        if not entry["can_undo"]:
            says.append(Say("failed.may_be_done"))
        told = self._tools().lifecycle.redactor.value(said(says))
        return {**entry, "state": "failed", "can_undo": False, "says": [*entry["says"], *told]}
