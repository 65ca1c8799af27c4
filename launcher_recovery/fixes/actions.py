"""The few things that fixes do, each with its undo; as data they can be shown, kept, and undone by another process.

Each `undo` can be called again, and after a `do` that was cut off at any place: what is half done is then undone too.
"""

from __future__ import annotations

import abc
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from launcher_recovery.fixes.fix import FixConflictError, FixRefusedError, Say
from launcher_recovery.fixes.tools import Tools
from launcher_recovery.fixes.trees import Print, delete_tree, print_of
from launcher_recovery.records import FINAL, UNFINISHED, RecoveryData, RecoveryState
from launcher_recovery.room import amount

SETTINGS = "fix_settings"
"""Among the metadata of an operation: what fixes have set for its attempts to come; see `effects`."""

STOPPED = (FINAL | UNFINISHED) - {RecoveryState.IN_PROGRESS}
"""The states in which an operation can be changed: one that runs would write over it."""


@dataclass(frozen=True)
class Hands:
    """Who does an action: for which operation, under which id, and with which parameters, secrets among them."""

    tools: Tools
    operation_id: str
    by: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    functions: Mapping[str, Function] = field(default_factory=dict)

    def record(self) -> RecoveryData:
        """The operation as it is kept."""
        found = self.tools.lifecycle.current(self.operation_id)
        if found is None:
            raise FixConflictError(Say("cannot.gone"))
        return found


@dataclass(frozen=True)
class Function:
    """What a `Call` calls. Both get who does it and the arguments of the call; `undo` None: it cannot be undone.

    After a crash `undo` is called as well, whether `do` was called or not.
    """

    do: Callable[[Hands, Mapping[str, Any]], None]
    undo: Callable[[Hands, Mapping[str, Any]], None] | None = None


class Action(abc.ABC):
    """One thing that is done; a frozen dataclass of JSON values."""

    can_undo: ClassVar[bool] = True

    @abc.abstractmethod
    def do(self, hands: Hands) -> None:
        """Do it, provided that all is as it was when this was planned."""

    @abc.abstractmethod
    def undo(self, hands: Hands) -> None:
        """Make it as it was before, whatever of it was done."""

    @abc.abstractmethod
    def say(self) -> Say:
        """What it does, as a sentence."""

    def is_undoable(self, functions: Mapping[str, Function]) -> bool:
        """Whether `undo` brings back all."""
        return self.can_undo


@dataclass(frozen=True)
class Move(Action):
    """Moves a file or folder out of the way, within its file system, with a note beside it."""

    source: str
    target: str
    seen: Print
    why: str

    def do(self, hands: Hands) -> None:
        if os.path.lexists(self.target) or print_of(Path(self.source)) != self.seen:
            raise FixConflictError(Say("cannot.changed", {"path": self.source}))
        target = Path(self.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        note = {"moved_from": self.source, "why": self.why, "operation": hands.operation_id, "fix": hands.by}
        self._note.write_text(json.dumps(note, indent=1), encoding="utf-8")
        os.rename(self.source, target)

    def undo(self, hands: Hands) -> None:
        if os.path.lexists(self.target):
            if os.path.lexists(self.source):
                raise FixConflictError(Say("cannot.taken", {"path": self.source, "kept": self.target}))
            os.rename(self.target, self.source)
        with suppress(OSError):
            self._note.unlink()
        with suppress(OSError):
            self._note.parent.rmdir()  # only if nothing else is in it

    def say(self) -> Say:
        return Say("do.move", {"path": self.source, "target": self.target, "size": amount(self.seen.size)})

    @property
    def _note(self) -> Path:
        return Path(f"{self.target}.note.json")


@dataclass(frozen=True)
class Remove(Action):
    """Deletes a file or folder, if it is still what was seen when this was planned."""

    can_undo: ClassVar[bool] = False

    path: str
    seen: Print
    transfer: str | None = None
    """The destination of the download whose partial it is: it is deleted only while that one is over."""

    def do(self, hands: Hands) -> None:
        aside = self._aside(hands)
        try:
            os.rename(self.path, aside)  # from here on nobody changes it
        except FileNotFoundError:
            raise FixConflictError(Say("cannot.changed", {"path": self.path})) from None
        if print_of(aside) != self.seen or self._is_wanted(hands):
            self.undo(hands)
            raise FixConflictError(Say("cannot.changed", {"path": self.path}))
        delete_tree(aside)
        if self.transfer is not None:
            hands.tools.lifecycle.store.forget_transfer(self.transfer)

    def undo(self, hands: Hands) -> None:
        aside = self._aside(hands)
        if not os.path.lexists(aside):
            return
        if print_of(aside) == self.seen and not os.path.lexists(self.path):
            os.rename(aside, self.path)
        elif print_of(aside).is_part_of(self.seen):
            delete_tree(aside)  # a deletion that was cut off: what is left of it is of no use
        elif not os.path.lexists(self.path):
            os.rename(aside, self.path)

    def say(self) -> Say:
        return Say("do.remove", {"path": self.path, "size": amount(self.seen.size)})

    def _aside(self, hands: Hands) -> Path:
        path = Path(self.path)
        return path.with_name(f".{path.name}.{hands.by[-12:]}.deleting")

    def _is_wanted(self, hands: Hands) -> bool:
        if self.transfer is None:
            return False
        lifecycle = hands.tools.lifecycle
        latest = lifecycle.store.latest_with_key(lifecycle.kept_key(f"download:{self.transfer}"))
        return latest is not None and latest.state in UNFINISHED


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
        about = self.value.items() if isinstance(self.value, Mapping) else [(self.name, self.value)]
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
    "move": Move, "remove": Remove, "git_setting": GitSetting, "secret": KeepSecret, "set": Set, "call": Call,
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
