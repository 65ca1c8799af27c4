"""Node installs under every fault: what the person sees, and what is there in the end.

Each row really runs: git and pip against a server that fails, disks that are full, processes that are killed.
`python -m tests.node_table` runs them all and prints the table as Markdown; the tests hold each row to what is here.
"""

from __future__ import annotations

import logging
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.fixes import Fixes
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.nodes import interpreter, publishing, repository, working_tree
from launcher_recovery.persistence import SQLitePersistence
from launcher_recovery.persistence.base import Store
from launcher_recovery.records import RecoveryData, RecoveryState
from tests import disks
from tests.node_process import HOLDS
from tests.node_stage import Stage, children
from tests.nodes import (
    Far,
    Fault,
    Source,
    alone_with_pip,
    far_away,
    make_environment,
    noise,
    run_git,
    staging,
    versions,
    wheel,
)
from tests.support import Host, wait_for

PATIENCE_S = 90.0
_FOR_EVER = 60
WHOLE, NONE = "whole", "not there"


@dataclass(frozen=True)
class Seen:
    """What a person sees of an install, and what is there in the end.

    Args:
        state, attempts, category, explanation, fix: as they are kept; `fix` is the one that is offered first.
        meanwhile: what was said of attempts that failed before the last one.
        node: `WHOLE`, `NONE`, or "half".
        is_kept: whether what was fetched is kept for the next time.
        environment: packages, by name.
    """

    state: str
    attempts: int = 1
    category: str | None = None
    explanation: str | None = None
    fix: str | None = None
    meanwhile: tuple[str, ...] = ()
    node: str = NONE
    is_kept: bool = True
    environment: Mapping[str, str] = field(default_factory=lambda: {"numpy": "2.0"})


class Bench:
    """A folder of nodes, a Python environment, a server, and an install that is looked at.

    Args:
        folder: where all of it is.
        patch: undone at the end.
    """

    def __init__(self, folder: Path, far: Far, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.far, self.patch = folder, far, patch
        self.nodes = folder / "custom_nodes"
        self.environment = folder / "environment"
        self.host: Host | None = None
        self.store: Store | None = None
        self.raised: Exception | None = None
        self.messages: list[str] = []
        self.offered: tuple[str, str] | None = None
        self._said: list[str] = []
        self._states: list[str | None] = []
        alone_with_pip(patch, folder)

    # -- what is installed --------------------------------------------------------------------------

    def node(self, *lines: str, script: str | None = None, submodule: bool = False, size: int = 20_000) -> str:
        """The address of a node that requires these packages, or none."""
        source = Source(self.folder / "source")
        content: dict[str, str | bytes] = {"one": noise(size)}
        if lines:
            content["requirements.txt"] = self.far.requirements(*lines)
        if script is not None:
            content["install.py"] = script
        source.commit(content)
        if submodule:
            inner = Source(self.folder / "inner")
            inner.commit({"inside": noise(20_000)})
            source.add_submodule(self.far.serve(inner, "inner.git"), "inner")
        return self.far.serve(source)

    @contextmanager
    def launcher(self) -> Iterator[Host]:
        """A launcher with recovery, which does not wait between attempts."""
        if not self.environment.exists():
            make_environment(self.environment, wheel("numpy", "2.0"))
        self.host = Host(self.nodes, max_retries=2)
        self.store = self.host.store
        self.host.integrator.tail.subscribe(self._hear)
        self.host.attach()
        try:
            yield self.host
        finally:
            self.host.detach()

    def _hear(self, event: Any) -> None:
        payload = event.payload
        if payload.get("state") == "recovering" and payload.get("explanation") not in (None, *self._said[-1:]):
            self._said.append(payload["explanation"])
        self._states.append(payload.get("state"))
        message = (payload.get("progress") or {}).get("message")
        if message:
            self.messages.append(message)

    def install(self, url: str, ref: str | None = None) -> Seen:
        """One call of the launcher's hook, whatever it raises."""
        assert self.host is not None
        try:
            self.host.install("node", url, ref=ref, python=str(self.environment / "bin" / "python"))
        except Exception as error:
            self.raised = error
        return self.seen()

    @contextmanager
    def installing(self, url: str) -> Iterator[None]:
        """The same in a thread, which has ended afterwards."""
        thread = threading.Thread(target=self.install, args=(url,))
        thread.start()
        try:
            yield
        finally:
            thread.join(PATIENCE_S)
        assert not thread.is_alive()

    # -- what is seen -------------------------------------------------------------------------------

    def record(self) -> RecoveryData:
        assert self.store is not None
        (found,) = self.store.find(kind="install_node")
        return found

    def wait_until(self, state: RecoveryState) -> RecoveryData:
        assert self.store is not None
        store = self.store
        wait_for(lambda: [data for data in store.find(kind="install_node") if data.state is state], PATIENCE_S)
        return self.record()

    def seen(self) -> Seen:
        """What there is to see of it, once it is over; the fix that is offered first is kept in `offered`."""
        data = self.record()
        assert self.store is not None
        if self.host is not None:
            wait_for(lambda: data.state.value in self._states, PATIENCE_S)  # all of it has been heard
        is_over = data.state in (RecoveryState.SUCCESS, RecoveryState.CANCELLED)  # no error is shown any more
        offers = Fixes(Lifecycle(self.store), self.folder / "fixes").for_operation(data.operation_id)
        self.offered = (offers[0].title, self._plain(offers[0].explanation) or "") if offers and data.fix else None
        said = self._said or [
            f"(attempt {one.number}: {one.outcome})" for one in self.store.attempts(data.operation_id)[:-1]
        ]
        return Seen(
            state=data.state.value,
            attempts=data.attempt,
            category=None if is_over else data.category,
            explanation=None if is_over else self._plain(data.explanation),
            fix=None if is_over else data.fix,
            meanwhile=tuple(self._plain(one) or "" for one in said),
            node=self._node(),
            is_kept=staging(self.nodes / "node").exists(),
            environment=versions(self.environment),
        )

    def _plain(self, text: str | None) -> str | None:
        if text is None:
            return None
        return re.sub(r"[\d.]+ k?B are free", "nothing is free", text.replace(str(self.folder), "…"))

    def _node(self) -> str:
        place = self.nodes / "node"
        if not place.exists():
            return NONE
        has_all = run_git(place, "status", "--porcelain", "--untracked-files=no") == ""
        return WHOLE if has_all and run_git(place, "fsck", "--strict", "--no-dangling") == "" else "half"


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """All that a row needs, ended afterwards."""
    with pytest.MonkeyPatch.context() as patch, far_away(folder / "far") as far:
        yield Bench(folder, far, patch)


# -- faults of servers --------------------------------------------------------------------------------


def git_fails(at: Bench, *faults: Fault, path: str = "/git-upload-pack", ref: str | None = None) -> Seen:
    """A node that requires nothing, and a server that fails."""
    url = at.node()
    at.far.fail(path, *faults)
    with at.launcher():
        return at.install(url, ref)


def git_hangs(at: Bench) -> Seen:
    """The limit is five minutes for people; a server that is silent that long is asked once more."""
    at.patch.setattr(repository, "SILENT_LIMIT_S", 4.2)
    seen = git_fails(at, Fault(hangs=True))
    assert any(message.startswith("waiting for an answer from 127.0.0.1 for ") for message in at.messages)
    return seen


def pip_fails(at: Bench, *faults: Fault, path: str = "/simple/plain", lines: Sequence[str] = ("plain",)) -> Seen:
    """A node that requires a package, and an index that fails."""
    at.far.offer(wheel("plain", "1.0", size=200_000))
    url = at.node(*lines)
    at.far.fail(path, *faults)
    with at.launcher():
        return at.install(url)


def wheels_cut(at: Bench) -> Seen:
    """Every one, of which a pip that resumes downloads by itself would have all of it some time."""
    at.patch.setattr(interpreter, "_PIP_RESUMES", 0)
    return pip_fails(at, *[_WHEEL_CUT] * _FOR_EVER, path="/files/")


def pip_hangs(at: Bench) -> Seen:
    """The limit is half a minute for people."""
    at.patch.setattr(interpreter, "PIP_TIMEOUT_S", 1)
    return pip_fails(at, Fault(hangs=True))


def requirements_apart(at: Bench) -> Seen:
    """What the node asks for, and what something asks for that it needs."""
    at.far.offer(wheel("plain", "1.0"), wheel("plain", "2.0"), wheel("first", "1.0", ("plain<2",)))
    url = at.node("first", "plain>=2")
    with at.launcher():
        return at.install(url)


def wrong_hash(at: Bench) -> Seen:
    """The index says another checksum than the file has."""
    name, content = wheel("plain", "1.0")
    at.far.offer((name, content))
    at.far.hashes[name] = "0" * 64
    url = at.node("plain")
    with at.launcher():
        return at.install(url)


def script_fails(at: Bench) -> Seen:
    """The node's own script."""
    url = at.node(script="import a_package_that_is_not_there")
    with at.launcher():
        return at.install(url)


# -- disks --------------------------------------------------------------------------------------------


def nodes_disk_is_full(at: Bench) -> Seen:
    """Until somebody frees room."""
    url = at.node(size=600_000)
    with disks.memory_disk(at.nodes, 500_000), at.launcher():
        with at.installing(url):
            at.wait_until(RecoveryState.RECOVERING)
            disks.resize(at.nodes, 8_000_000)
        return at.seen()


def nodes_disk_stays_full(at: Bench) -> Seen:
    """Until the person has had enough."""
    url = at.node(size=600_000)
    with disks.memory_disk(at.nodes, 500_000), at.launcher() as host:
        with at.installing(url):
            host.integrator.cancel(at.wait_until(RecoveryState.RECOVERING).operation_id)
        return at.seen()


def environment_disk_is_full(at: Bench) -> Seen:
    """While pip writes; until somebody frees room."""
    at.far.offer(wheel("plain", "1.0", size=3_000_000))
    url = at.node("plain")
    project = at.folder / "project"
    at.environment = project / "environment"
    with disks.memory_disk(project, 3_000_000), at.launcher():
        with at.installing(url):
            at.wait_until(RecoveryState.RECOVERING)
            disks.resize(project, 20_000_000)
        return at.seen()


def read_only(at: Bench, which: str) -> Seen:
    """The folder of the nodes, or that of the environment."""
    at.far.offer(wheel("plain", "1.0"))
    url = at.node("plain")
    with disks.memory_disk(at.folder / "disk", 20_000_000) as disk:
        if which == "nodes":
            at.nodes = disk / "custom_nodes"
            at.nodes.mkdir()
        else:
            at.environment = disk / "environment"
            make_environment(at.environment, wheel("numpy", "2.0"))
        disks.remount(disk, "ro")
        with at.launcher():
            return at.install(url)


# -- people -------------------------------------------------------------------------------------------

# In which request the server hangs when the person cancels, and after how many others of that path.
_REQUESTS = {
    "clone": ("/node.git/git-upload-pack", 2),
    "submodules": ("/inner.git/git-upload-pack", 1),
    "requirements": ("/files/", 0),
}
# What is held when the person cancels.
_HELD = {"checkout": (working_tree, "clean"), "publish": (publishing, "_sync")}
_WAITS = "import time\nopen('begun', 'w').close()\ntime.sleep(600)\n"


def cancelled(at: Bench, step: str) -> Seen:
    """In the middle of a step."""
    at.far.offer(wheel("plain", "1.0"))
    url = at.node("plain", script=_WAITS if step == "install.py" else None, submodule=True)
    reached, goes_on = threading.Event(), threading.Event()
    if step in _REQUESTS:
        path, earlier = _REQUESTS[step]
        at.far.fail(path, *[Fault()] * earlier, Fault(hangs=True))
    elif step in _HELD:
        module, name = _HELD[step]
        original = getattr(module, name)

        def held(what: Any) -> None:
            reached.set()
            goes_on.wait(PATIENCE_S)
            original(what)

        at.patch.setattr(module, name, held)
    with at.launcher() as host:
        with at.installing(url):
            if step in _HELD:
                reached.wait(PATIENCE_S)
            elif step in _REQUESTS:
                wait_for(lambda: not at.far.faults, PATIENCE_S)
            else:
                wait_for((staging(at.nodes / "node") / "begun").exists, PATIENCE_S)
            host.integrator.cancel(at.record().operation_id)
            goes_on.set()
        wait_for(lambda: not children(at.nodes), PATIENCE_S)
        return at.seen()


def killed(at: Bench, step: str) -> Seen:
    """In the middle of a step, by kill -9; then a new process goes on."""
    stage = Stage(at.folder / "stage", at.far)
    at.nodes, at.environment = stage.destination.parent, stage.folder / "environment"
    if step in _REQUESTS:
        path, earlier = _REQUESTS[step]
        at.far.fail(path, *[Fault()] * earlier, Fault(hangs=True))
    elif step == "install.py":
        stage.flag.unlink()
    with stage.process(step if step in HOLDS else None) as process:
        if step in _REQUESTS:
            wait_for(lambda: not at.far.faults, PATIENCE_S)
        else:
            wait_for((stage.held if step in HOLDS else stage.flag).exists, PATIENCE_S)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert at._node() == (WHOLE if step == "published" else NONE)
    wait_for(lambda: not children(at.nodes), PATIENCE_S)
    asked = at.far.count("/node.git/")
    stage.finish()
    assert step == "clone" or at.far.count("/node.git/") == asked, "what was fetched is not fetched again"
    at.store = SQLitePersistence(stage.store)
    try:
        return at.seen()
    finally:
        at.store.close()


# -- the table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A fault, what has to be seen of it, and whether it takes long."""

    run: Callable[[Bench], Seen]
    expected: Seen
    is_long: bool = False


_503, _404, _401 = Fault(status=503), Fault(status=404), Fault(status=401)
_WHEEL_CUT = Fault(cut_after=90_000)
_BARE, _WITH_PLAIN = {"numpy": "2.0"}, {"numpy": "2.0", "plain": "1.0"}
_GIT_FAILS = "The git server has a problem of its own at the moment."
_PIP_FAILS = "The package index has a problem of its own at the moment."
_DAMAGED = "What arrived of a package is not what its checksum says: it was cut off, damaged or replaced."
_BROKE_OFF = "The connection to the package index broke off."
_NO_REF = "The repository has no such branch, tag or commit."
_NO_PACKAGE = "A package that is asked for cannot be had in that version, or not for the Python of this project."
_FULL = "The disk with …/{} is full: nothing is free. It goes on by itself as soon as there is room."
_SITE_PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
# The environments of the rows have the pip of the tests.
_PIP_RESUMES = tuple(map(int, metadata.version("pip").split(".")[:2])) >= (25, 1)
_STEPS = ("clone", "checkout", "submodules", "requirements", "install.py", "publish")
_AFTER_REQUIREMENTS = ("install.py", "publish")


def _later(said: str, environment: Mapping[str, str] = _BARE) -> Seen:
    """It passed: the second attempt worked."""
    return Seen("success", 2, meanwhile=(said,), node=WHOLE, is_kept=False, environment=environment)


def _resumed(environment: Mapping[str, str] = _BARE) -> Seen:
    """It was done within the first attempt."""
    return Seen("success", 1, node=WHOLE, is_kept=False, environment=environment)


def _given_up(attempts: int, category: str, said: str, fix: str) -> Seen:
    return Seen("exhausted", attempts, category, said, fix, meanwhile=(said,))


def _failed(category: str, said: str, fix: str, is_kept: bool = True) -> Seen:
    return Seen("failed", 1, category, said, fix, is_kept=is_kept)


ROWS: dict[str, Row] = {
    "git: HTTP 503 once": Row(lambda at: git_fails(at, _503), _later(_GIT_FAILS)),
    "git: HTTP 503 for ever": Row(
        lambda at: git_fails(at, *[_503] * _FOR_EVER), _given_up(3, "network", _GIT_FAILS, "wait_and_retry")
    ),
    "git: HTTP 404": Row(
        lambda at: git_fails(at, *[_404] * _FOR_EVER, path="/git/"),
        _failed("not_found", "There is no such repository, or it is private.", "update_url"),
    ),
    "git: HTTP 401": Row(
        lambda at: git_fails(at, *[_401] * _FOR_EVER, path="/git/"),
        _failed(
            "permission",
            "The git server wants you to log in. It also says so where there is no such repository.",
            "add_token",
        ),
    ),
    "git: cut in mid-pack": Row(
        lambda at: git_fails(at, Fault(), Fault(), Fault(cut_after=9_000)),
        _later("The connection to the git server broke off."),
    ),
    "git: hangs": Row(git_hangs, _later("The git server did not answer in time."), is_long=True),
    "git: a branch that is not there": Row(
        lambda at: git_fails(at, ref="no-such-branch"), _failed("not_found", _NO_REF, "update_url")
    ),
    "git: a commit that is not there": Row(
        lambda at: git_fails(at, ref="1" * 40), _failed("not_found", _NO_REF, "update_url")
    ),
    "pip: index 503 once": Row(lambda at: pip_fails(at, _503), _later(_PIP_FAILS, _WITH_PLAIN)),
    "pip: index 503 for ever": Row(
        lambda at: pip_fails(at, *[_503] * _FOR_EVER),
        _given_up(4, "network", _PIP_FAILS, "wait_and_retry"),
        is_long=True,
    ),
    "pip: hangs": Row(pip_hangs, _later("The package index did not answer in time.", _WITH_PLAIN)),
    "pip: cut in the middle of a wheel": Row(
        lambda at: pip_fails(at, _WHEEL_CUT, path="/files/"),
        _resumed(_WITH_PLAIN) if _PIP_RESUMES else _later(_DAMAGED, _WITH_PLAIN),
    ),
    "pip: cut in the middle of a wheel, always": Row(
        wheels_cut,
        _given_up(4, "network", _BROKE_OFF, "check_connection")
        if _PIP_RESUMES
        else _given_up(3, "integrity", _DAMAGED, "redownload"),
        is_long=True,
    ),
    "pip: checksum differs": Row(wrong_hash, _given_up(3, "integrity", _DAMAGED, "redownload"), is_long=True),
    "pip: requirements that conflict": Row(
        requirements_apart,
        _failed(
            "dependency",
            "Packages do not fit together: node asks for plain>=2 and first 1.0 asks for plain<2.",
            "pin_dependency",
        ),
    ),
    "pip: no such version": Row(
        lambda at: pip_fails(at, lines=("plain==9",)), _failed("dependency", _NO_PACKAGE, "pin_dependency")
    ),
    "pip: a wheel is not there": Row(
        lambda at: pip_fails(at, *[_404] * _FOR_EVER, path="/files/"),
        _failed(
            "not_found", "A package is not there any more at the address that is named for it.", "fix_requirements"
        ),
    ),
    "install.py fails": Row(
        script_fails, _failed("dependency", "A Python package that is needed is not installed.", "install_dependency")
    ),
    "disk of the nodes full, then freed": Row(nodes_disk_is_full, _later(_FULL.format("custom_nodes"))),
    "disk of the nodes full, given up": Row(
        nodes_disk_stays_full, Seen("cancelled", meanwhile=(_FULL.format("custom_nodes"),))
    ),
    "disk of the environment full, then freed": Row(
        environment_disk_is_full,
        _later(_FULL.format(f"project/environment/{_SITE_PACKAGES}"), _WITH_PLAIN),
        is_long=True,
    ),
    "custom_nodes read-only": Row(
        partial(read_only, which="nodes"),
        _failed("permission", "The disk can be read, but not written to.", "fix_permissions", is_kept=False),
    ),
    "environment read-only": Row(
        partial(read_only, which="environment"),
        _failed("permission", "The folder of the packages cannot be written to.", "fix_permissions"),
    ),
    **{
        f"cancelled in {step}": Row(
            partial(cancelled, step=step),
            Seen("cancelled", environment=_WITH_PLAIN if step in _AFTER_REQUIREMENTS else _BARE),
            is_long=True,
        )
        for step in _STEPS
    },
    **{
        f"kill -9 in {step}": Row(
            partial(killed, step=step), _later("(attempt 1: interrupted)", _WITH_PLAIN), is_long=True
        )
        for step in (*_STEPS, "published")
    },
}


def observe(row: Row) -> tuple[Seen, tuple[str, str] | None]:
    """Run a row; what was seen, and title and text of the fix that is offered first."""
    with tempfile.TemporaryDirectory(prefix="launcher-recovery-") as folder, bench(Path(folder)) as at:
        return row.run(at), at.offered


def as_markdown(name: str, seen: Seen, offered: tuple[str, str] | None) -> str:
    """A row of the table."""
    said = [*(f"meanwhile: “{one}”" for one in seen.meanwhile)]
    said.append(f"**{seen.state}** (attempt {seen.attempts}" + (f", {seen.category})" if seen.category else ")"))
    said += [f"“{seen.explanation}”"] if seen.explanation else []
    said += [f"fix: *{offered[0]}*: {offered[1]}"] if offered and seen.explanation else []
    packages = ", ".join(f"{package} {version}" for package, version in sorted(seen.environment.items()))
    end = [f"node {seen.node}", *(["its folder is kept"] if seen.is_kept else []), f"packages: {packages}"]
    return f"| {name} | {'<br>'.join(said)} | {'; '.join(end)} |"


def main() -> None:
    """Print the whole table."""
    print("| fault | what the person sees | end state |\n|---|---|---|")
    for name, row in ROWS.items():
        try:
            print(as_markdown(name, *observe(row)), flush=True)
        except pytest.skip.Exception as error:
            print(f"| {name} | not tried: {error} | |", flush=True)


if __name__ == "__main__":
    logging.getLogger("launcher_recovery").setLevel(logging.CRITICAL)
    main()
