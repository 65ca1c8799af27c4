"""Actions on settings and secrets, calls; and how actions become JSON values and come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from launcher_recovery.fixes.action import Action, Function, Hands
from launcher_recovery.fixes.effects import SETTINGS
from launcher_recovery.fixes.file_actions import Link, Move, Remove
from launcher_recovery.fixes.fix import FixConflictError, FixRefusedError, Say
from launcher_recovery.fixes.tools import Tools
from launcher_recovery.fixes.trees import Print


@dataclass(frozen=True)
class GitSetting(Action):
    """Adds one value to the settings of git of this user."""

    name: str
    value: str

    def do(self, hands: Hands) -> None:
        done = hands.tools.git("config", "--global", "--add", self.name, self.value)
        if done.returncode != 0:
            raise FixRefusedError(Say("cannot.git", {"output": done.stderr.strip()[-300:]}))

    def undo(self, hands: Hands) -> None:
        if self.value in git_values(hands.tools, self.name):
            done = hands.tools.git("config", "--global", "--fixed-value", "--unset", self.name, self.value)
            if done.returncode != 0:
                raise FixRefusedError(Say("cannot.git", {"output": done.stderr.strip()[-300:]}))

    def say(self) -> Say:
        return Say("do.git_setting", {"name": self.name, "value": self.value})


def git_values(tools: Tools, name: str) -> list[str]:
    """The values of a setting in the global settings of git."""
    done = tools.git("config", "--global", "--null", "--get-all", name)
    return done.stdout.split("\0")[:-1] if done.returncode == 0 else []


@dataclass(frozen=True)
class KeepSecret(Action):
    """Keeps a secret that was given for one place, in the file of secrets.

    Args:
        place: see `Vault`.
        parameter: the name of the secret.
        shown: the place for people, such as a host.
        before: what is kept before the secret, such as the name that belongs to a password.
    """

    place: str
    parameter: str
    shown: str
    before: str = ""

    def do(self, hands: Hands) -> None:
        hands.tools.vault.add(self.place, self.before + hands.values[self.parameter], hands.by)

    def undo(self, hands: Hands) -> None:
        hands.tools.vault.remove(hands.by)

    def say(self) -> Say:
        return Say("do.secret", {"place": self.shown})


@dataclass(frozen=True)
class Set(Action):
    """Sets something for the attempts of the operation to come; `before` is what was set there, None: nothing."""

    name: str
    value: Any
    before: Any = None
    makes_resumable: bool = False

    def do(self, hands: Hands) -> None:
        self._set(hands, self.before, self.value)

    def undo(self, hands: Hands) -> None:
        self._set(hands, self.value, self.before)

    def say(self) -> Say:
        about: Iterable[tuple[str, Any]] = [(self.name, self.value)]
        if isinstance(self.value, Mapping):
            about = self.value.items()
        elif isinstance(self.value, (list, tuple)):  # changes, of which the latest is new
            about = [(one["from"], one) for one in self.value[-1:]]
        return Say("do.set", {"setting": "; ".join(f"{name} = {_shown(value)}" for name, value in about)})

    def _set(self, hands: Hands, expected: Any, value: Any) -> None:
        data = hands.record()
        redact = hands.tools.lifecycle.redactor.value  # as what is there was kept
        settings = dict(data.metadata.get(SETTINGS) or {})
        now = settings.get(self.name)
        if now == redact(value) and now != redact(expected):
            return  # done or undone before
        if now != redact(expected):
            raise FixConflictError(Say("cannot.set_since", {"setting": self.name}))
        settings[self.name] = value
        if value is None:
            del settings[self.name]
        resumable = value == self.value if self.makes_resumable else None
        hands.tools.lifecycle.amend(hands.operation_id, {SETTINGS: settings}, resumable=resumable)


@dataclass(frozen=True)
class Rewrite(Set):
    """Sets what is changed in the workflow of the operation; `places` says how many places that are."""

    places: int = 0

    def say(self) -> Say:
        return Say("do.rewrite", {"count": self.places})


def _shown(value: Any) -> str:
    return str(value.get("to") or "…") if isinstance(value, Mapping) else str(value)


@dataclass(frozen=True)
class Call(Action):
    """Calls a function of its fix by name."""

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sentence: str = "do.call"

    def do(self, hands: Hands) -> None:
        hands.functions[self.function].do(hands, self.arguments)

    def undo(self, hands: Hands) -> None:
        undo = hands.functions[self.function].undo
        if undo is not None:
            undo(hands, self.arguments)

    def is_undoable(self, functions: Mapping[str, Function]) -> bool:
        return self.function in functions and functions[self.function].undo is not None

    def say(self) -> Say:
        return Say(self.sentence, {"function": self.function, **self.arguments})


_KINDS: dict[str, type[Action]] = {
    "move": Move, "link": Link, "remove": Remove, "git_setting": GitSetting, "secret": KeepSecret, "set": Set,
    "rewrite": Rewrite, "call": Call,
}  # fmt: skip
_NAMES = {kind: name for name, kind in _KINDS.items()}


def to_json(action: Action) -> dict[str, Any]:
    """The action as JSON values."""
    assert type(action) in _NAMES, f"{type(action)} is not an action of this package"
    return {"action": _NAMES[type(action)], **asdict(action)}  # type: ignore[call-overload]


def from_json(given: Mapping[str, Any]) -> Action:
    """The action that `to_json` gave these for."""
    kind = _KINDS[given["action"]]
    values = {item.name: given[item.name] for item in fields(kind) if item.name in given}  # type: ignore[arg-type]
    if "seen" in values:
        values["seen"] = Print(**values["seen"])
    return kind(**values)
