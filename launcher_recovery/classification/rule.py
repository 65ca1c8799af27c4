"""One rule: what an error looks like, what it means, whether a retry helps, and where that is known from."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from launcher_recovery.classification.facts import Facts, Link
from launcher_recovery.classification.verdict import NO_FIX, ErrorCategory, Retry
from launcher_recovery.records import WaitingFor

_LONGEST_QUOTE = 160


@dataclass(frozen=True)
class Rule:
    """One entry. Every condition that is given must hold.

    Those about an exception (`types`, `errnos`, `winerrors`, `codes`, `files`, `message`) must hold for one and the
    same of those in the chain, those about an HTTP answer for the outermost one, those about a program for what it
    printed.

    Args:
        id: stable name, shown by `explain`.
        category, retry, fix: the verdict; `fix` is the id of a guided fix, shown when retries have run out.
        explanation: one sentence for people; `{host}`, `{status}`, and `{told}`, which is what the group of that name
            in `output` found, are filled in.
        source: where this meaning is documented.
        types: qualified names of exception classes, any of which the exception is of.
        outermost: it has to be the exception itself, and none that it was caused by.
        errnos, winerrors: its number, one of these.
        codes: its code by name or number, as databases have them (`SQLITE_BUSY`, SQLSTATE), one of these.
        files: the name without folders of the file that it is about, one of these.
        message: pattern found in its text.
        statuses: HTTP status, from (inclusive) to (inclusive).
        headers: patterns by the name of a header in small letters; each is found in the header of that name.
        body: pattern found in the first KiB of the answer.
        url: pattern found in the address that answered.
        expired: the address is signed, and its time was over.
        programs: the program that was run, one of these.
        exits: its exit status, one of these (-n: signal n ended it, which is also read from 128 + n).
        output: pattern found in the end of what it printed.
        beside: pattern that has to be found there as well.
        unless: pattern that must not be found there.
        waits: what an operation may wait for instead of failing, where its folder is known; the explanation is then
            that of `launcher_recovery.room`, which has the numbers.

    Patterns are regular expressions without regard to case; `^` and `$` stand for the ends of a line. They are
    compiled when they are needed for the first time.
    """

    id: str
    category: ErrorCategory
    retry: Retry
    explanation: str
    source: str
    fix: str = NO_FIX
    types: Collection[str] = frozenset()
    outermost: bool = False
    errnos: Collection[int] = frozenset()
    winerrors: Collection[int] = frozenset()
    codes: Collection[str] = frozenset()
    files: Collection[str] = frozenset()
    message: str | None = None
    statuses: tuple[int, int] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    url: str | None = None
    expired: bool = False
    programs: Collection[str] = frozenset()
    exits: Collection[int] = frozenset()
    output: str | None = None
    beside: str | None = None
    unless: str | None = None
    waits: WaitingFor | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether every given condition holds for `facts`."""
        return self.evidence(facts) is not None

    def told(self, facts: Facts) -> str:
        """What the group "told" of `output` found; empty where there is none."""
        match = None if self.output is None else _search(self.output, facts.output)
        return "" if match is None else match.groupdict().get("told") or ""

    def evidence(self, facts: Facts) -> tuple[str, ...] | None:
        """Which facts fulfil the conditions, in words; None when one does not hold."""
        found: list[str] = []
        for part in (self._of_answer, self._of_program, self._of_exception):
            more = part(facts)
            if more is None:
                return None
            found.extend(more)
        return tuple(found)

    def _of_answer(self, facts: Facts) -> list[str] | None:
        found: list[str] = []
        if self.statuses is not None:
            if facts.status is None or not self.statuses[0] <= facts.status <= self.statuses[1]:
                return None
            found.append(f"status {facts.status}")
        for name, pattern in self.headers.items():
            if not _search(pattern, facts.headers.get(name)):
                return None
            found.append(f"header {name}: {facts.headers[name][:_LONGEST_QUOTE]}")
        for what, wanted, text in (("body", self.body, facts.body), ("address", self.url, facts.url)):
            if wanted is not None:
                match = _search(wanted, text)
                if match is None:
                    return None
                found.append(f"{what} {_quoted(match)}")
        if self.expired:
            if not facts.expired:
                return None
            found.append("the time of the signed address was over")
        return found

    def _of_program(self, facts: Facts) -> list[str] | None:
        found: list[str] = []
        if self.programs:
            if facts.program not in self.programs:
                return None
            found.append(f"program {facts.program}")
        if self.exits:
            if facts.exit is None or facts.exit not in self.exits:
                return None
            found.append(f"exit status {facts.exit}")
        if self.unless is not None and _search(self.unless, facts.output):
            return None
        for wanted in (self.output, self.beside):
            if wanted is not None:
                match = _search(wanted, facts.output)
                if match is None:
                    return None
                found.append(f"output {_quoted(match)}")
        return found

    def _of_exception(self, facts: Facts) -> list[str] | None:
        if not (self.types or self.errnos or self.winerrors or self.codes or self.files or self.message):
            return []
        for link in facts.links[:1] if self.outermost else facts.links:
            found = self._of_link(link)
            if found is not None:
                return found
        return None

    def _of_link(self, link: Link) -> list[str] | None:
        found: list[str] = []
        if self.types:
            name = next((name for name in link.types if name in self.types), None)
            if name is None:
                return None
            found.append(f"type {name}")
        for what, wanted, have in (
            ("errno", self.errnos, link.errno),
            ("winerror", self.winerrors, link.winerror),
            ("file", self.files, link.file),
        ):
            if wanted:
                if have not in wanted:
                    return None
                found.append(f"{what} {have}")
        if self.codes:
            code = next((code for code in link.codes if code in self.codes), None)
            if code is None:
                return None
            found.append(f"code {code}")
        if self.message is not None:
            match = _search(self.message, link.message)
            if match is None:
                return None
            found.append(f"message {_quoted(match)}")
        return found


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE | re.IGNORECASE)


def _search(pattern: str, text: str | None) -> re.Match[str] | None:
    return _compiled(pattern).search(text) if text else None


def _quoted(match: re.Match[str]) -> str:
    return repr(match.group()[:_LONGEST_QUOTE])


def first_match(rules: Iterable[Rule], facts: Facts) -> Rule | None:
    """The first of `rules` that matches."""
    return next((rule for rule in rules if rule.matches(facts)), None)


def any_of(*patterns: str) -> str:
    """One pattern for all of these."""
    return "|".join(f"(?:{pattern})" for pattern in patterns)


# What frames a line of one program in the output of another: the time in a log, pip's boxes and indents, the marks of
# ComfyUI-Manager, what GitPython puts before it.
_TIME = r"\[?\d{4}-\d\d-\d\d[T ][\d:.,]{8,15}\]?"
_FRAME = rf"^(?:{_TIME})?[ \t│|\u00d7╰─>!\[\]#*-]{{0,24}}(?:stderr: ')?"


def lines(*patterns: str) -> str:
    """One pattern for lines that begin with any of these, also where another program has framed them."""
    return f"{_FRAME}(?:{any_of(*patterns)})"
