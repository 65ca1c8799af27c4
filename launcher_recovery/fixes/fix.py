"""What a fix is: its parameters with their checks, what it would do, and what it says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher_recovery.errors import RecoveryStateError, RefusedError
from launcher_recovery.fixes.words import worded
from launcher_recovery.records import RecoveryData

if TYPE_CHECKING:
    from launcher_recovery.fixes.action import Action, Function
    from launcher_recovery.fixes.tools import Tools

# RFC 1123 §2.1, with a port; no scheme, user or path.
_HOST = re.compile(r"(?=.{1,253}(?::|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?")
_LONGEST = 4096


class Kind(str, Enum):
    """What a parameter is; a secret is never shown, kept in the database, or given back."""

    TEXT = "text"
    SECRET = "secret"
    PATH = "path"
    CHOICE = "choice"
    HOST = "host"
    BOOL = "bool"


@dataclass(frozen=True)
class Say:
    """A sentence as data: the id of a text, and what its placeholders stand for."""

    id: str
    about: Mapping[str, Any] = field(default_factory=dict)


class FixRefusedError(RefusedError):
    """A fix, or one of its parameters, cannot be used; `say` is the sentence, `parameter` the name of it, if any."""

    def __init__(self, say: Say, parameter: str | None = None) -> None:
        super().__init__(worded(say))
        self.say = say
        self.parameter = parameter


class FixConflictError(RecoveryStateError):
    """A fix cannot be applied or undone now: another is, it is not as it was shown any more, the operation runs."""

    def __init__(self, say: Say, *, state: str | None = None) -> None:
        super().__init__(worded(say), state=state)
        self.say = say


@dataclass(frozen=True)
class Case:
    """What a fix is to be applied to.

    Args:
        data: the operation as it is kept.
        tools: what there is to work with.
        given: the parameters, checked; without the secrets.
        secrets: those.
    """

    data: RecoveryData
    tools: Tools
    given: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def path(self, *names: str) -> Path | None:
        """The first of these arguments of the operation that is an absolute path."""
        for name in names:
            found = self.data.kwargs.get(name)
            if isinstance(found, str) and os.path.isabs(found):
                return Path(found)
        return None

    @property
    def error_text(self) -> str:
        """The message of the last error; of a program the end of what it printed, as far as that is kept."""
        return "" if self.data.error is None else str(self.data.error)


@dataclass(frozen=True)
class Parameter:
    """One thing to be known before a fix can be applied; its label is the text "<fix>.<name>".

    Args:
        default: from the case to what it is when nothing is given; None there or here: there is no default.
        choices: from the case to what may be chosen.
        check: from the value and the case to what is wrong with it, as one sentence; None: nothing.
        fits: whether it is asked for at all.
    """

    name: str
    kind: Kind = Kind.TEXT
    required: bool = True
    default: Callable[[Case], Any] | None = None
    choices: Callable[[Case], Sequence[str]] | None = None
    check: Callable[[Any, Case], Say | None] = lambda value, case: None
    fits: Callable[[Case], bool] = lambda case: True

    def default_of(self, case: Case) -> Any:
        """What it is when nothing is given; None: nothing."""
        if self.kind is Kind.SECRET or self.default is None:
            return None
        return self.default(case)

    def value(self, given: Any, case: Case) -> Any:
        """The value to use for what was given; None when nothing was, and nothing is needed.

        Raises:
            FixRefusedError: it is of no use.
        """
        if isinstance(given, str) and self.kind is not Kind.SECRET:
            given = given.strip()
        if given is None or given == "":
            given = self.default_of(case)
        if given is None or given == "":
            if self.required:
                raise FixRefusedError(Say("wrong.missing", {"name": self.name}), self.name)
            return None
        wrong = self._wrong(given, case) or self.check(given, case)
        if wrong is not None:
            raise FixRefusedError(wrong, self.name)
        return given

    def _wrong(self, given: Any, case: Case) -> Say | None:
        about = {"name": self.name}
        if self.kind is Kind.BOOL:
            return None if isinstance(given, bool) else Say("wrong.bool", about)
        if not isinstance(given, str) or len(given) > _LONGEST or not given.isprintable():
            return Say("wrong.text", about)
        if self.kind is Kind.PATH and not os.path.isabs(given):
            return Say("wrong.path", about)
        if self.kind is Kind.HOST and not _HOST.fullmatch(given.lower()):
            return Say("wrong.host", about)
        if self.kind is Kind.CHOICE and self.choices is not None:
            known = list(self.choices(case))
            if given not in known:
                return Say("wrong.choice", {**about, "known": ", ".join(known)})
        return None


@dataclass(frozen=True)
class Plan:
    """What a fix would do: the actions in their order, and what is to be said besides."""

    actions: tuple[Action, ...] = ()
    says: tuple[Say, ...] = ()


@dataclass(frozen=True)
class Fix:
    """A guided repair.

    Args:
        id: what verdicts name.
        parameters: what has to be known.
        plan: from the case to what would be done, without doing it; raises FixRefusedError. None: a person does it,
            and the text says how.
        facts: from the case to what the placeholders of its text stand for.
        fits: whether it makes sense for an operation.
        texts: by language ("en", "zh"), the texts "title", "text", one for each parameter, and those its plan says, and
            "by_hand": what a person does where nothing offers to apply it; for fixes of extensions. What is missing
            there is taken in English.
        functions: what its `Call`s call, by name.
        of_results: whether it is about the result of what ended well, and offered for that.
    """

    id: str
    parameters: tuple[Parameter, ...] = ()
    plan: Callable[[Case], Plan] | None = None
    facts: Callable[[Case], Mapping[str, Any]] = lambda case: {}
    fits: Callable[[Case], bool] = lambda case: True
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    of_results: bool = False

    def case_of(self, data: RecoveryData, tools: Tools, given: Mapping[str, Any]) -> Case:
        """The case with what is given for the parameters, checked.

        Raises:
            FixRefusedError: something is missing, of no use, or not known.
        """
        bare = Case(data, tools)
        parameters = [parameter for parameter in self.parameters if parameter.fits(bare)]
        names = {parameter.name for parameter in parameters}
        for name in given:
            if name not in names:
                raise FixRefusedError(Say("wrong.unknown", {"name": str(name)[:64]}), str(name)[:64])
        values: dict[str, Any] = {}
        secrets: dict[str, str] = {}
        for parameter in parameters:
            value = parameter.value(given.get(parameter.name), Case(data, tools, values) if values else bare)
            if value is not None:
                (secrets if parameter.kind is Kind.SECRET else values)[parameter.name] = value
        return Case(data, tools, values, secrets)
