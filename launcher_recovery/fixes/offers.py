"""What people get to see of fixes: what is offered, what one would do, and what was done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher_recovery.fixes.actions import to_json
from launcher_recovery.fixes.fix import Case, Fix, FixRefusedError, Parameter, Plan, Say
from launcher_recovery.fixes.words import LANGUAGES, worded

AUDIT = "fix:"
"""How the names among an operation's metadata begin under which it is kept what fixes did."""


@dataclass(frozen=True)
class Asked:
    """A parameter as it is asked for; `default` None: none, `choices` None: anything."""

    name: str
    kind: str
    label: str
    required: bool
    default: Any = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Offer:
    """A fix that fits an operation; where `can_apply` is False a person does what its explanation says."""

    id: str
    title: str
    explanation: str
    parameters: tuple[Asked, ...]
    can_apply: bool


@dataclass(frozen=True)
class Advice:
    """What a person can do about an operation by hand: the fix in a few words, and in sentences."""

    fix: str
    title: str
    text: str


@dataclass(frozen=True)
class Preview:
    """What a fix would do: in words and as data; `token` is given to `apply`, so that just that is done."""

    fix: str
    token: str
    says: tuple[str, ...]
    actions: tuple[Mapping[str, Any], ...]
    can_undo: bool


@dataclass(frozen=True)
class Applied:
    """What a fix did, as it is kept with the operation.

    Args:
        id: of this application.
        state: "applied", "undone", or "failed": nothing of it is there, or what is, is told.
        says: in words.
        at: when, ISO 8601 UTC.
        parameters: without secrets.
        can_undo: whether `undo` brings back all, and has not yet.
        how: how it is undone, in words; empty when it is not.
    """

    id: str
    fix: str
    state: str
    says: tuple[str, ...]
    at: str
    parameters: Mapping[str, Any]
    can_undo: bool
    how: str = ""


def offer_of(fix: Fix, case: Case, language: str) -> Offer:
    """The fix as it is offered for a case."""

    def text(name: str) -> str:
        return worded(Say(f"{fix.id}.{name}", fix.facts(case)), language, fix.texts, name)

    return Offer(
        id=fix.id,
        title=text("title"),
        explanation=text("text"),
        parameters=tuple(
            _asked(parameter, case, text(parameter.name)) for parameter in fix.parameters if parameter.fits(case)
        ),
        can_apply=fix.plan is not None,
    )


def advice_of(fix: Fix, case: Case, language: str) -> Advice:
    """What a person does by hand in place of the fix, or does anyway."""
    own = fix.texts.get("en", {})
    is_told = "by_hand" in own or f"{fix.id}.by_hand" in LANGUAGES["en"]
    name = "by_hand" if fix.plan is not None and is_told else "text"
    facts = fix.facts(case)
    title, text = (worded(Say(f"{fix.id}.{part}", facts), language, fix.texts, part) for part in ("title", name))
    return Advice(fix.id, title, text)


def _asked(parameter: Parameter, case: Case, label: str) -> Asked:
    choices = None if parameter.choices is None else tuple(parameter.choices(case))
    default = parameter.default_of(case)
    return Asked(parameter.name, parameter.kind.value, label, parameter.required, default, choices)


def preview_of(fix: Fix, case: Case, plan: Plan, language: str) -> Preview:
    """The plan as it is shown."""
    redactor = case.tools.lifecycle.redactor
    actions = tuple(redactor.value(to_json(action)) for action in plan.actions)
    says = [*plan.says, *(action.say() for action in plan.actions)]
    return Preview(
        fix=fix.id,
        token=token_of(case, fix, plan),
        says=tuple(redactor.text(worded(say, language, fix.texts)) for say in says),
        actions=actions,
        can_undo=bool(actions) and all(action.is_undoable(fix.functions) for action in plan.actions),
    )


def token_of(case: Case, fix: Fix, plan: Plan) -> str:
    """What stands for exactly this plan, for this operation after this attempt; of secrets nothing is in it."""
    given = case.tools.lifecycle.redactor.value(dict(case.given))
    actions = [to_json(action) for action in plan.actions]
    about = [case.data.operation_id, case.data.attempt, fix.id, given, sorted(case.secrets), actions]
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def applied_of(entry: Mapping[str, Any], fix: Fix | None, language: str) -> Applied:
    """An entry of the audit as it is shown."""
    texts: Mapping[str, Mapping[str, str]] = {} if fix is None else fix.texts
    can_undo = entry["state"] == "applied" and bool(entry["can_undo"])
    return Applied(
        id=entry["id"],
        fix=entry["fix"],
        state=entry["state"],
        says=tuple(worded(Say(say["id"], say["about"]), language, texts) for say in entry["says"]),
        at=entry["at"],
        parameters=entry["parameters"],
        can_undo=can_undo,
        how=worded(Say("how.undo"), language) if can_undo else "",
    )


def said(says: Sequence[Say]) -> list[dict[str, Any]]:
    """Sentences as JSON values."""
    return [{"id": say.id, "about": dict(say.about)} for say in says]


def refusal_of(error: Exception) -> Say:
    """Why something failed, as a sentence."""
    if isinstance(error, FixRefusedError):
        return error.say
    found = getattr(error, "say", None)
    return found if isinstance(found, Say) else Say("failed.why", {"why": f"{type(error).__name__}: {error}"})
