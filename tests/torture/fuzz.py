"""Servers that err at random, each the same in every run with its seed; and what may be downloaded from them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from tests.origin import Authority, Behaviour, End, File, Origin
from tests.origin import behaviours as act

SIZES = (0, 1, 1000, 70_000, 300_000, 1_000_001, 2_500_000)
LONG_S = 600.0
_ERRORS = ("500 Internal Server Error", "502 Bad Gateway", "504 Gateway Timeout")
_REFUSALS = ("401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone", "451 Unavailable For Legal Reasons")
_ODD = ("204 No Content", "207 Multi-Status", "299 Odd", "304 Not Modified")

Maker = Callable[[random.Random, File], Behaviour]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Args:
        make: gives one, for a file.
        is_provable: whether a client that knows no checksum can find it out; else it is met only with one.
        passes: whether it says nothing against another try, which then works.
    """

    make: Maker
    is_provable: bool = True
    passes: bool = False


def _somewhere(rng: random.Random, file: File) -> int:
    return rng.randrange(file.size + 1)


def _by_range(behaviour: Behaviour) -> Behaviour:
    return act.when(lambda request: request.range is not None, behaviour)


def _retry_after(rng: random.Random, file: File) -> Behaviour:
    status = rng.choice(("429 Too Many Requests", "503 Service Unavailable"))
    date = formatdate(time.time() + 60, usegmt=True)
    return act.refuse(status, retry_after=rng.choice((1, 120, date, "Thu, 01 Jan 2026 00:00:00 GMT", "soon", None)))


def _content_range(rng: random.Random, file: File) -> Behaviour:
    return act.content_range(
        rng.choice((
            lambda *_: None,
            lambda *_: "bytes in the middle",
            lambda start, last, total: f"bytes {start}-{last}",
            lambda start, last, total: f"bytes {start + 1}-{last}/{total}",
            lambda start, last, total: f"bytes {start}-{max(start, last - 1)}/{total}",
            lambda start, last, total: f"bytes {start}-{last}/{total + 1000}",
            lambda start, last, total: f"bytes {start}-{last}/{total * 2}",
            lambda start, last, total: f"bytes {last}-{start}/{total}",
            lambda start, last, total: f"bytes {start}-{last}/*",
        ))
    )  # fmt: skip


def _unsatisfiable(rng: random.Random, file: File) -> Behaviour:
    told = rng.choice(
        (None, "bytes */*", f"bytes */{file.size}", f"bytes */{file.size + 5}", lambda start: f"bytes */{start}")
    )
    # That a file is empty cannot be disproved.
    return act.when(lambda request: not (request.range or "").startswith("bytes=0-"), act.unsatisfiable(told))


KINDS: dict[str, Kind] = {
    "drop": Kind(lambda rng, file: act.drop(_somewhere(rng, file)), passes=True),
    "reset": Kind(lambda rng, file: act.drop(_somewhere(rng, file), reset=True), passes=True),
    "stall": Kind(lambda rng, file: act.stall(_somewhere(rng, file), LONG_S), passes=True),
    "hesitation": Kind(lambda rng, file: act.stall(_somewhere(rng, file), 0.1, resume=True), passes=True),
    "late answer": Kind(lambda rng, file: act.silence(LONG_S), passes=True),
    "no answer": Kind(lambda rng, file: act.no_answer(reset=rng.random() < 0.5), passes=True),
    "cut head": Kind(lambda rng, file: act.cut_head(rng.randrange(200), reset=rng.random() < 0.5), passes=True),
    "dribbled head": Kind(lambda rng, file: act.dribbled(0.5), passes=True),
    "busy": Kind(_retry_after, passes=True),
    "bad gateway": Kind(lambda rng, file: act.refuse(rng.choice(_ERRORS)), passes=True),
    "garbage": Kind(lambda rng, file: act.garbage(), passes=True),
    "endless headers": Kind(lambda rng, file: act.endless_headers, passes=True),
    "endless line": Kind(lambda rng, file: act.endless_line, passes=True),
    "endless interim answers": Kind(lambda rng, file: act.endless_interim(rng.choice((0.0, 0.2))), passes=True),
    "refusal": Kind(lambda rng, file: act.refuse(rng.choice(_REFUSALS))),
    "odd status": Kind(lambda rng, file: act.refuse(rng.choice(_ODD))),
    "login page": Kind(lambda rng, file: act.login_page),
    "disguised page": Kind(lambda rng, file: act.disguised_page),
    "JSON error": Kind(lambda rng, file: act.json_error),
    "range ignored": Kind(lambda rng, file: act.ignores_range),
    "wrong Content-Range": Kind(_content_range),
    "another part": Kind(lambda rng, file: act.another_part(rng.choice((-1, 1, 1000, 65_536)))),
    "another part, secretly": Kind(lambda rng, file: act.another_part(1, says_so=False), is_provable=False),
    "multipart": Kind(lambda rng, file: act.multipart),
    "unsatisfiable": Kind(_unsatisfiable),
    "shorter": Kind(lambda rng, file: _by_range(act.shorter(rng.choice((1, 1000))))),
    "shorter whole": Kind(lambda rng, file: act.shorter(rng.choice((1, 1000))), is_provable=False),
    "longer": Kind(lambda rng, file: _by_range(act.longer(rng.choice((1, 1000)), announced=rng.random() < 0.5))),
    "longer whole": Kind(lambda rng, file: act.longer(7), is_provable=False),
    "no length": Kind(lambda rng, file: act.content_length()),
    "length too long": Kind(lambda rng, file: act.content_length(file.size + 1000)),
    "length too short": Kind(lambda rng, file: act.content_length(file.size // 2), is_provable=False),
    "odd length": Kind(lambda rng, file: act.content_length(rng.choice(("-1", "many", "1e3", "")))),
    "two lengths": Kind(lambda rng, file: act.content_length(file.size, file.size + rng.choice((0, 1)))),
    "chunks": Kind(lambda rng, file: act.chunked(rng.choice((1000, 100_000)))),
    "broken chunks": Kind(lambda rng, file: act.chunked(30_000, rng.choice(("no end", "bad size", "cut")))),
    "gzip": Kind(lambda rng, file: act.gzipped),
    "flipped byte": Kind(lambda rng, file: act.flip(_somewhere(rng, file)), is_provable=False),
    "no ETag": Kind(lambda rng, file: act.said("ETag")),
    "another ETag": Kind(lambda rng, file: act.said("ETag", '"of another node"')),
    "changed": Kind(lambda rng, file: act.changed(version=1)),
    "changed, no If-Range": Kind(lambda rng, file: act.changed_carelessly(version=1)),
    "changed, secretly": Kind(lambda rng, file: act.changed(version=1, label=file.version), is_provable=False),
    "grown": Kind(lambda rng, file: act.changed(version=1, size=file.size + 5000)),
    "shrunk": Kind(lambda rng, file: act.changed(version=1, size=file.size // 2)),
    "redirect in a circle": Kind(lambda rng, file: act.loop),
    "redirect to nowhere": Kind(lambda rng, file: act.redirect("http://127.0.0.1:1/gone")),
    "redirect to nonsense": Kind(lambda rng, file: act.redirect(rng.choice(("ftp://127.0.0.1/x", "http://", "//", "http://[::")))),
    "redirects": Kind(lambda rng, file: act.chain(rng.choice((1, 3, 40)))),
}  # fmt: skip


@dataclass
class Scenario:
    """What one seed means.

    Args:
        file: what the given address has.
        acceptable: all that a download without a checksum may give.
        has_to_work: whether nothing but passing faults is met, so that there is no excuse.
        story: what is going to happen, in words.
    """

    seed: int
    file: File
    is_checked: bool
    is_sized: bool
    before: bytes | None
    acceptable: list[File]
    has_to_work: bool
    story: list[str] = field(default_factory=list)
    url: str = ""
    sources: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, object]:
        """Those of the download."""
        sha256 = {"sha256": self.file.sha256} if self.is_checked else {}
        size = {"size": self.file.size} if self.is_sized else {}
        return {**sha256, **size, "sources": self.sources}


def build(seed: int, authority: Authority, stack: ExitStack) -> Scenario:
    """Decide what a seed means, and start its servers, which end with the stack."""
    rng = random.Random(seed)
    dated = rng.random() < 0.8
    file = File(rng.choice(SIZES), etag=rng.choice(("strong", "strong", "weak", None)), dated=dated)
    file = replace(file, ranges=rng.random() < 0.9)
    is_checked = rng.random() < 0.5
    before = b"what was there before" if is_checked and rng.random() < 0.2 else None
    scenario = Scenario(seed, file, is_checked, rng.random() < 0.3, before, [file], has_to_work=True)
    scenario.story.append(f"{file}, {scenario.options}, before: {before!r}")
    origin = _start(rng, scenario, authority, stack)
    behaviours = _behaviours(rng, scenario, file, "the address")
    if rng.random() < 0.25:
        scenario.url = _behind_a_redirect(rng, scenario, origin, behaviours, _start(rng, scenario, authority, stack))
    else:
        scenario.url = origin.add(file, *behaviours)
    for number in range(rng.choice((0, 0, 1, 2))):
        _add_mirror(rng, scenario, _start(rng, scenario, authority, stack), f"mirror {number + 1}")
    return scenario


def _start(rng: random.Random, scenario: Scenario, authority: Authority, stack: ExitStack) -> Origin:
    """A server, one in eight over TLS; now and then the first connections to one of them fail."""
    tls = authority.context() if rng.random() < 0.125 else None
    greetings = {number: rng.choice((End.FIN, End.RST, b"\x15\x03\x03\x00\x02\x02\x28")) for number in (1, 3)}
    fails = rng.random() < 0.2 and not any("greets" in line for line in scenario.story)
    scenario.story.append(f"a server{' with TLS' if tls else ''}{f' that greets with {greetings}' if fails else ''}")
    return stack.enter_context(Origin(tls, (lambda number: greetings.get(number)) if fails else (lambda number: None)))


def _behaviours(rng: random.Random, scenario: Scenario, file: File, who: str) -> list[Behaviour]:
    """Up to five answers with faults; then honesty, or (one in five) the last fault for ever."""
    names = [name for name, kind in KINDS.items() if kind.is_provable or scenario.is_checked]
    if scenario.has_to_work and rng.random() < 0.3:
        names = [name for name in names if KINDS[name].passes]
    chosen = [rng.choice(names) if rng.random() < 0.7 else None for _ in range(rng.randint(0, 5))]
    script = [None if name is None else KINDS[name].make(rng, file) for name in chosen]
    lasts = bool(script) and script[-1] is not None and rng.random() < 0.2
    rate = rng.choice((None, None, 3e6, 10e6))
    scenario.story.append(f"{who}: {chosen}{', for ever' if lasts else ''}, rate {rate}")
    scenario.has_to_work &= not lasts and all(name is None or KINDS[name].passes for name in chosen)
    for name in filter(None, chosen):
        if name.startswith(("changed", "grown", "shrunk")):
            sizes = {"grown": file.size + 5000, "shrunk": file.size // 2}
            scenario.acceptable.append(replace(file, version=1, size=sizes.get(name, file.size)))
    last = script[-1] if lasts else None
    behaviours = [act.script(*script)]
    if last is not None:
        behaviours.append(act.since(len(script) + 1, last))
    return [*behaviours, *([] if rate is None else [act.slow(rate)])]


def _behind_a_redirect(
    rng: random.Random, scenario: Scenario, origin: Origin, behaviours: list[Behaviour], other: Origin
) -> str:
    """The file lies elsewhere, now and then under an address that is good for a while only."""
    there = rng.choice((origin, other))
    how = rng.choice(("plain", "relative", "for two requests", "for a second"))
    scenario.story.append(f"behind a redirect to {'itself' if there is origin else 'another server'}, {how}")
    if origin.tls is not None and there.tls is None and not scenario.is_checked:
        scenario.has_to_work = False  # such a redirect need not be followed
    if how in ("plain", "relative"):
        url = there.add(scenario.file, *behaviours, path="/stored")
        location = "/stored" if how == "relative" and there is origin else url
        return origin.add(
            scenario.file, act.redirect(location, rng.choice(("301 Moved", "302 Found", "307 Elsewhere")))
        )
    signatures = act.Signatures(uses=2) if how == "for two requests" else act.Signatures(seconds=1.0)
    url = there.add(scenario.file, *behaviours, signatures.required, path="/stored")
    return origin.add(scenario.file, act.redirect(signatures.sign(url)))


def _add_mirror(rng: random.Random, scenario: Scenario, mirror: Origin, who: str) -> None:
    """An honest one, one that lies, or one that is of no use."""
    kind = rng.choice(("honest", "honest", "faulty", "another file", "another size", "one wrong byte", "gone"))
    if kind == "one wrong byte" and not scenario.is_checked:
        kind = "another file"
    file = scenario.file
    wrong = frozenset({_somewhere(rng, file)})
    offers = {
        "another file": replace(file, name="another"),
        "another size": replace(file, name="another", size=file.size + 1),
        "one wrong byte": replace(file, wrong=wrong),
    }
    works = scenario.has_to_work
    behaviours = _behaviours(rng, scenario, file, who) if kind == "faulty" else []
    scenario.has_to_work = works and kind in ("honest", "gone", "faulty")
    scenario.story.append(f"{who}: {kind}")
    url = mirror.add(offers.get(kind, file), *behaviours)
    scenario.sources.append("http://127.0.0.1:1/gone" if kind == "gone" else url)
