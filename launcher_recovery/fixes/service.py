"""Fixes for the operations of one launcher: which fit, what they would do, doing and undoing it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher_recovery.errors import RecoveryStateError
from launcher_recovery.fixes.catalogue import BUILTIN, FOR_KIND, RELATED
from launcher_recovery.fixes.fix import Case, Fix, FixConflictError, FixRefusedError, Plan, Say
from launcher_recovery.fixes.journal import Journal
from launcher_recovery.fixes.offers import (
    AUDIT,
    Advice,
    Applied,
    Offer,
    Preview,
    advice_of,
    applied_of,
    offer_of,
    preview_of,
    refusal_of,
    token_of,
)
from launcher_recovery.fixes.past import Past, entry_of, now_of
from launcher_recovery.fixes.tools import Environments, Tools
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.records import RecoveryData, RecoveryState

logger = logging.getLogger("launcher_recovery")


class Fixes:
    """Guided repairs.

    Args:
        lifecycle: where operations change.
        folder: of the launcher's own data: secrets that people give, and which fix is under way.
        suggest: from an operation to the fixes that extensions have for it.
        about: further fields of `Tools`.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        folder: Path,
        *,
        suggest: Callable[[RecoveryData], Iterable[Fix]] = lambda data: (),
        **about: Any,
    ) -> None:
        self.tools = Tools(lifecycle, folder, **about)
        self._suggest = suggest
        self._journal = Journal(folder)
        self._past = Past(lambda: self.tools, self._journal, self._fix_of)

    def use(self, environments: Environments) -> None:
        """Have environments restored by this from now on."""
        self.tools = replace(self.tools, environments=environments)

    def for_operation(self, operation_id: str, language: str = "en") -> list[Offer]:
        """The fixes that fit the last verdict on an operation, best first.

        Args:
            language: "en" or "zh".

        Raises:
            RecoveryStateError: there is no such operation.
        """
        data = self._known(operation_id)
        case = Case(data, self.tools)
        found: list[Offer] = []
        for fix in self._fitting_now(data, case):
            try:
                found.append(offer_of(fix, case, language))
            except Exception:  # of an extension's, most likely; the others are offered all the same
                logger.exception("the fix %s cannot be offered", fix.id)
        return found

    def may_fit(self, data: RecoveryData) -> list[str]:
        """The ids of the fixes that may fit the last verdict on an operation, best first; cheap, since it is not looked
        whether they do."""
        if data.state is RecoveryState.SUCCESS or data.category is None:
            return []
        return [fix.id for fix in self._fitting(data) if fix.id != "report_bug" or data.fix == fix.id]

    def advice(self, operation_id: str, language: str = "en") -> list[Advice]:
        """What a person can do by hand about the last verdict on an operation, best first, and about its warnings.

        Args:
            language: "en" or "zh".

        Raises:
            RecoveryStateError: there is no such operation.
        """
        data = self._known(operation_id)
        case = Case(data, self.tools)
        warned = [self._fix(fix_id, data) for fix_id in _fixes_of_warnings(data)]
        found: dict[str, Advice] = {}
        for fix in (*self._fitting_now(data, case), *warned):
            # To report it is always possible, and no advice unless the verdict says so.
            if fix is None or fix.id in found or (fix.id == "report_bug" != data.fix):
                continue
            try:
                found[fix.id] = advice_of(fix, case, language)
            except Exception:  # of an extension's, most likely
                logger.exception("the fix %s has no advice", fix.id)
        return list(found.values())

    def preview(
        self, operation_id: str, fix_id: str, given: Mapping[str, Any] | None = None, language: str = "en"
    ) -> Preview:
        """What a fix would do with these parameters; nothing is done.

        Raises:
            FixRefusedError: it does not fit, a parameter is of no use, or there is nothing to do.
            RecoveryStateError: there is no such operation.
        """
        fix, case, plan = self._planned(operation_id, fix_id, given)
        return preview_of(fix, case, plan, language)

    def apply(
        self, operation_id: str, fix_id: str, given: Mapping[str, Any] | None, token: str, language: str = "en"
    ) -> Applied:
        """Do what was previewed, with the same parameters; afterwards the operation may be retried.

        What fails in the middle is undone. What is cut off by a crash is undone by `recover`.

        Args:
            token: that of the preview.

        Raises:
            FixConflictError: another fix is applied, the operation runs, or what was previewed is not what is there.
            FixRefusedError: as `preview`.
            Exception: what an action failed with; it is undone.
        """
        with self._journal.alone():
            self._past.recover()
            fix, case, plan = self._planned(operation_id, fix_id, given)
            self._stopped(case.data)
            if token_of(case, fix, plan) != token:
                raise FixConflictError(Say("cannot.stale"))
            entry = entry_of(fix, case, plan)
            self._journal.write({**entry, "state": "applying"})
            hands = self._past.hands(entry, {**case.given, **case.secrets})
            try:
                for action in plan.actions:
                    action.do(hands)
            except Exception as error:
                self._past.end({**entry, "state": "applying"}, refusal_of(error))
                raise
            self._journal.write({**entry, "state": "applied"})
            self._past.settle(entry["id"])
            logger.info("the fix %s was applied to %s", fix.id, case.data.title)
        return applied_of(entry, fix, language)

    def undo(self, operation_id: str, applied_id: str, language: str = "en") -> Applied:
        """Make it as it was before a fix; undoing twice is fine.

        Raises:
            FixConflictError: another fix is applied, the operation runs, or something else has taken the place.
            FixRefusedError: it cannot be undone, or there is no such application.
        """
        with self._journal.alone():
            self._past.recover()
            data = self._known(operation_id)
            entry = data.metadata.get(f"{AUDIT}{applied_id}")
            if not isinstance(entry, dict):
                raise FixRefusedError(Say("wrong.not_applied"))
            fix = self._fix(entry["fix"], data)
            if entry["state"] != "undone":
                if not entry["can_undo"] or entry["state"] != "applied":
                    raise FixRefusedError(Say("wrong.no_undo"))
                self._stopped(data)
                self._journal.write({**entry, "state": "undoing"})
                try:
                    self._past.undo_actions(entry)
                except Exception:
                    self._journal.forget(entry["id"])
                    raise
                entry = {**entry, "state": "undone", "undone_at": now_of(self.tools)}
                self._journal.write(entry)
                self._past.settle(entry["id"])
        return applied_of(entry, fix, language)

    def history(self, operation_id: str, language: str = "en") -> list[Applied]:
        """What fixes have done for an operation, oldest first.

        Raises:
            RecoveryStateError: there is no such operation.
        """
        data = self._known(operation_id)
        entries = {name: entry for name, entry in data.metadata.items() if name.startswith(AUDIT)}
        # What could not be entered yet, because the operation ran.
        for entry in self._journal.entries():
            if entry["operation_id"] == operation_id and entry["state"] in ("applied", "undone", "failed"):
                entries[f"{AUDIT}{entry['id']}"] = entry
        return [applied_of(entry, self._fix(entry["fix"], data), language) for _, entry in sorted(entries.items())]

    def recover(self) -> None:
        """Undo what a crash has cut off, enter what could not be entered, and forget secrets that nobody needs.

        To be called when the launcher starts, and from time to time.
        """
        try:
            with self._journal.alone():
                self._past.recover()
                self._past.forget_secrets()
        except FixConflictError:
            pass  # another process is at it, and does the same first

    # -- one fix ------------------------------------------------------------------------------------

    def _known(self, operation_id: str) -> RecoveryData:
        data = self.tools.lifecycle.current(operation_id)
        if data is None:
            raise RecoveryStateError(f"there is no operation {operation_id}")
        return data

    def _stopped(self, data: RecoveryData) -> None:
        if data.state is RecoveryState.IN_PROGRESS:
            raise FixConflictError(Say("cannot.running"), state=data.state.value)

    def _fitting(self, data: RecoveryData) -> list[Fix]:
        """Those that may fit, best first: that of the verdict, of extensions, related ones, and those for its kind."""
        first = data.fix or ""
        suggested = {fix.id: fix for fix in self._suggest(data)}
        known = {**suggested, **BUILTIN}
        ids = (first, *suggested, *RELATED.get(first, ()), *FOR_KIND.get(data.kind, ()), "report_bug")
        return [known[name] for name in dict.fromkeys(ids) if name in known]

    def _fitting_now(self, data: RecoveryData, case: Case) -> Iterator[Fix]:
        """Those that do fit; of what ended well those that are about its result."""
        for fix in self._fitting(data):
            if data.state is RecoveryState.SUCCESS and not fix.of_results:
                continue
            try:
                fits = fix.id == data.fix or fix.fits(case)
            except Exception:
                logger.exception("the fix %s cannot be offered", fix.id)
                continue
            if fits:
                yield fix

    def _fix(self, fix_id: str, data: RecoveryData) -> Fix | None:
        return BUILTIN.get(fix_id) or {fix.id: fix for fix in self._suggest(data)}.get(fix_id)

    def _fix_of(self, fix_id: str, operation_id: str) -> Fix | None:
        data = self.tools.lifecycle.current(operation_id)
        return BUILTIN.get(fix_id) if data is None else self._fix(fix_id, data)

    def _planned(self, operation_id: str, fix_id: str, given: Mapping[str, Any] | None) -> tuple[Fix, Case, Plan]:
        data = self._known(operation_id)
        fix = self._fix(fix_id, data)
        if fix is None or not (fix_id == data.fix or fix.fits(Case(data, self.tools))):
            raise FixRefusedError(Say("wrong.no_fix", {"fix": fix_id[:64]}))
        if fix.plan is None:
            raise FixRefusedError(Say("wrong.by_hand"))
        case = fix.case_of(data, self.tools, given or {})
        return fix, case, fix.plan(case)


def _fixes_of_warnings(data: RecoveryData) -> list[str]:
    """The fixes that an operation's warnings name."""
    warnings = data.metadata.get("warnings")
    if not isinstance(warnings, list):
        return []
    named = [warning.get("fix") for warning in warnings if isinstance(warning, dict)]
    return [fix_id for fix_id in named if isinstance(fix_id, str)]
