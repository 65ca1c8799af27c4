"""What happens to an import under every fault: how it ends, how much was sent, how long it took, what the person sees.

    python -m tests.standin.table [--plugin | --prefix "WORDS"] [--set NAME=VALUE]... [--host FOLDER --python PYTHON]
                                  [--patience SECONDS] [--row TEXT]...

Each row is one import of a project with a model of 64 MiB by a host that has just been started, from servers on this
machine that fail. It prints Markdown. Without options the host is the stand-in as it is; with `--plugin` both of its
processes are started through `launcher-recovery run --`. `--host` names a checkout of the real one, and `--python` an
interpreter with what that needs, and with the plugin where it takes part.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.nodes import Fault
from tests.origin import Answer, Behaviour, End, File, Request
from tests.origin.behaviours import drop, flip, refuse, script, slow, stall, when
from tests.standin.processes import HOST, PATIENCE_S, WEB, WORKER, StandIn
from tests.standin.world import MODEL, MODEL_FOLDER, PACKAGE, World

MIB = 1 << 20
_FOR_EVER_S = 86_400.0
_KILLED_AT_RATE = 8 * MIB
"""Bytes a second of a download that is to be met in its middle."""

_COLUMNS = ("fault", "end state", "body bytes sent / needed", "seconds", "what the person sees", "models folder")


@dataclass(frozen=True)
class How:
    """How hosts are run.

    Args:
        size: bytes of the model.
        patience_s: seconds without any change after which a project is taken to be stuck.
        environment: variables beside those of the world.
        host, python, prefix, is_quick: see `StandIn`.
    """

    size: int = 64 * MIB
    patience_s: float = 45.0
    environment: Mapping[str, str] = field(default_factory=dict)
    host: Path = HOST
    python: str = sys.executable
    prefix: tuple[str, ...] = ()
    is_quick: bool = False


@dataclass(frozen=True)
class Seen:
    """What came of a fault.

    Args:
        state: in which the project is in the end, "" when there is none any more.
        message: the host's own status message, as it is shown; of a project that is gone the last one.
        is_stuck: nothing happened any more for as long as one was willing to wait.
        states: of the project one after the other, without repetitions.
        sent: bytes of the model's body.
        needed: bytes of the model.
        seconds: from the import to the end, without the waiting for what is stuck.
        models: files in the folder of models, each with "whole" or its size.
    """

    state: str
    message: str
    is_stuck: bool
    states: tuple[str, ...]
    sent: int
    needed: int
    seconds: float
    models: Mapping[str, str]


class Trial:
    """A host, the world that it imports from, and imports that are looked at until they end."""

    def __init__(self, world: World, host: StandIn, how: How) -> None:
        self.world, self.host, self.how = world, host, how

    def run(self, name: str = "Project", **of_file: object) -> Seen:
        """One import, to its end."""
        began = time.monotonic()
        project_id = self.host.import_project(name, self.world.launcher_json(**of_file))
        return self.watch(project_id, began)

    def watch(self, project_id: str, began: float, until: Callable[[], bool] | None = None) -> Seen:
        """What is seen of a project from now on, to its end; with `until`, to that."""
        moved_at = time.monotonic()
        moved = -1

        def moves() -> int:
            nonlocal moved, moved_at
            now = self.sent + len(self.world.far.asked)
            if now != moved:
                moved, moved_at = now, time.monotonic()
            return now

        states = []
        patience_s = self.how.patience_s if until is None else PATIENCE_S
        kept = self.host.follow(project_id, patience_s, moves, until or (lambda: False))
        for state in kept:
            name = state.get("state", "")
            if name not in states[-1:]:
                states.append(name)
        is_over = states[-1] in ("", "ready", "failed")
        return Seen(
            state=states[-1],
            message=next((state["status_message"] for state in reversed(kept) if state), ""),
            is_stuck=not is_over,
            states=tuple(states),
            sent=self.sent,
            needed=self.world.file.size,
            seconds=(time.monotonic() if is_over else moved_at) - began,
            models=self._models(),
        )

    @property
    def sent(self) -> int:
        return self.world.origin.sent()

    def is_half_there(self) -> bool:
        return self.sent >= self.world.file.size // 2

    def _models(self) -> dict[str, str]:
        folder = self.host.models / MODEL_FOLDER
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return {path.name: self._is_whole(path) for path in paths if path.is_file()}

    def _is_whole(self, path: Path) -> str:
        size, wanted = path.stat().st_size, self.world.file
        if size == wanted.size and path.read_bytes() == wanted.content():
            return "whole"
        return f"{100 * size / wanted.size:.0f} % of the size"


@contextlib.contextmanager
def trial(folder: Path, how: How) -> Iterator[Trial]:
    """All that a row needs, ended afterwards."""
    with World(folder / "world", how.size) as world:
        host = StandIn(
            folder / "host",
            {**world.environment, **_recovery(folder), **how.environment},
            host=how.host,
            python=how.python,
            prefix=how.prefix,
            is_quick=how.is_quick,
        )
        with host:
            yield Trial(world, host, how)


def _recovery(folder: Path) -> dict[str, str]:
    """Each row has a store of its own."""
    return {"RECOVERY_PERSISTENCE_PATH": str(folder / "recovery.db")}


# -- faults of the model's server ---------------------------------------------------------------------


def halved(request: Request, file: File, due: Answer) -> Answer:
    """The connection ends after half of what this answer was to bring."""
    span = due.span
    return due if span is None else drop((span.end - span.start) // 2)(request, file, due)


def hangs_halfway(request: Request, file: File, due: Answer) -> Answer:
    """After half of what this answer was to bring nothing more comes."""
    span = due.span
    return due if span is None else stall((span.end - span.start) // 2, _FOR_EVER_S)(request, file, due)


def for_a_while(seconds: float, behaviour: Behaviour) -> Behaviour:
    """From the first request on, for so many seconds."""
    began: list[float] = []

    def is_early(request: Request) -> bool:
        began.append(request.at)
        return request.at < began[0] + seconds

    return when(is_early, behaviour)


def gone(request: Request, file: File, due: Answer) -> Answer:
    """The server ends the connection without a word."""
    return Answer(head=(), end=End.RST)


def model_fails(at: Trial, *behaviours: Behaviour) -> Seen:
    at.world.model(*behaviours)
    return at.run()


def wrong_checksum(at: Trial) -> Seen:
    return at.run(sha256_checksum="0" * 64)


# -- killed processes ---------------------------------------------------------------------------------


def _half_done(at: Trial) -> tuple[str, float, threading.Event]:
    """An import that is in the middle of its download, which goes on in no hurry until the event is set."""
    in_a_hurry = threading.Event()
    at.world.model(when(lambda request: not in_a_hurry.is_set(), slow(_KILLED_AT_RATE * at.how.size / (64 * MIB))))
    began = time.monotonic()
    project_id = at.host.import_project("Project", at.world.launcher_json())
    at.watch(project_id, began, until=at.is_half_there)
    assert at.is_half_there(), at.host.log(WORKER)
    return project_id, began, in_a_hurry


def killed(at: Trial, *names: str) -> Seen:
    """With all that they started; and started again."""
    project_id, began, in_a_hurry = _half_done(at)
    at.host.kill(*names)
    in_a_hurry.set()
    at.host.start(*names)
    return at.watch(project_id, began)


def killed_and_imported_again(at: Trial) -> Seen:
    """Under another name; what is seen is the second."""
    killed(at, WORKER, WEB)
    return at.run("Second")


def task_killed(at: Trial) -> Seen:
    """Only the process that does the work, as by a system that is out of memory."""
    project_id, began, in_a_hurry = _half_done(at)
    in_a_hurry.set()
    os.kill(_busy_child(at.host.pid(WORKER)), signal.SIGKILL)
    return at.watch(project_id, began)


def worker_killed_alone(at: Trial) -> Seen:
    """Not the processes that it started; then a new one is started beside those."""
    project_id, began, in_a_hurry = _half_done(at)
    at.host.kill_alone(WORKER)
    in_a_hurry.set()
    try:
        return at.watch(project_id, began)
    finally:
        at.host.kill(WORKER)


def _busy_child(pid: int) -> int:
    """The child with the most processor time."""
    # Each thread has its own: the first were started by the main one, later ones by one that watches over them.
    children = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]

    def ticks(child: str) -> int:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    return int(max(children, key=ticks))


def deleted_and_imported_again(at: Trial) -> Seen:
    """By the person, in the middle of the download, under the same name."""
    project_id, _, in_a_hurry = _half_done(at)
    in_a_hurry.set()
    answer = at.host.post(f"/api/projects/{project_id}/delete")
    assert answer.ok, answer.text
    return at.run()


# -- faults of the server of repositories and packages ------------------------------------------------

_503, _HANGS = Fault(status=503), Fault(hangs=True)
_PACK_CUT, _WHEEL_CUT = Fault(cut_after=100_000), Fault(cut_after=90_000)
_NODE, _COMFYUI, _WHEEL = "/node.git/git-upload-pack", "/comfyui.git/git-upload-pack", f"/files/{PACKAGE}"


def far_fails(at: Trial, path: str, *faults: Fault) -> Seen:
    at.world.far.fail(path, *faults)
    return at.run()


def pack_cut(at: Trial, path: str) -> Seen:
    """The first answer that has files in it; those before are shorter than what is let through."""
    cut = _OnePack(at, path)
    at.world.far.faults = cut
    seen = at.run()
    assert cut.is_cut, "no pack was sent"
    return seen


class _OnePack(list[tuple[str, Fault]]):
    """A fault for every answer of a path, until one that is long enough was really cut."""

    def __init__(self, at: Trial, path: str) -> None:
        super().__init__([(path, _PACK_CUT)])
        self._asked = at.world.far.asked

    @property
    def is_cut(self) -> bool:
        return any(one.sent == _PACK_CUT.cut_after for one in self._asked)

    def __delitem__(self, number: object) -> None:
        """A fault that met a short answer is not used up."""

    def __iter__(self) -> Iterator[tuple[str, Fault]]:
        return iter(()) if self.is_cut else super().__iter__()


# -- the table ----------------------------------------------------------------------------------------

_BUSY = refuse("503 Service Unavailable")

ROWS: dict[str, Callable[[Trial], Seen]] = {
    "none": lambda at: at.run(),
    "model dropped twice at 50 %": lambda at: model_fails(at, script(halved, halved)),
    "model dropped 4 times at 50 %": lambda at: model_fails(at, script(*[halved] * 4)),
    "model 503 four times": lambda at: model_fails(at, script(*[_BUSY] * 4)),
    "model 429 for 5 s": lambda at: model_fails(at, for_a_while(5, refuse("429 Too Many Requests", retry_after=5))),
    "model's server down for 20 s": lambda at: model_fails(at, for_a_while(20, gone)),
    "model hangs at 50 % once": lambda at: model_fails(at, script(hangs_halfway)),
    "model 404 for ever": lambda at: model_fails(at, refuse("404 Not Found")),
    "model with a wrong byte once": lambda at: model_fails(at, flip(at.how.size // 3)),
    "model's checksum fits nothing": wrong_checksum,
    "worker killed in mid-download": lambda at: killed(at, WORKER),
    "worker and web killed in mid-download": lambda at: killed(at, WORKER, WEB),
    "the same, then imported again as another project": killed_and_imported_again,
    "only the task's process killed in mid-download": task_killed,
    "only the worker's main process killed in mid-download": worker_killed_alone,
    "deleted in mid-download, imported again at once": deleted_and_imported_again,
    "node's clone 503 once": lambda at: far_fails(at, "/node.git/", _503),
    "node's clone cut once": lambda at: pack_cut(at, _NODE),
    "ComfyUI's clone cut once": lambda at: pack_cut(at, _COMFYUI),
    "ComfyUI's clone hangs once": lambda at: far_fails(at, "/comfyui.git/", _HANGS),
    "package cut once": lambda at: far_fails(at, _WHEEL, _WHEEL_CUT),
    "index 503 eight times": lambda at: far_fails(at, f"/simple/{PACKAGE}", *[_503] * 8),
}


def observe(name: str, how: How) -> Seen:
    """Run a row."""
    with tempfile.TemporaryDirectory(prefix="launcher-recovery-") as folder, trial(Path(folder), how) as at:
        return ROWS[name](at)


def as_markdown(name: str, seen: Seen) -> str:
    """A row of the table."""
    model = seen.models.get(MODEL, "missing")
    if not seen.state:
        end, said = "**project deleted**", f"“{seen.message}”, then no such project"
    else:
        end = f"{'**stuck** in ' if seen.is_stuck else ''}{seen.state}, model {'there' if model == 'whole' else model}"
        said = f"“{seen.message}”"
    seconds = f"{seen.seconds:.0f}{', then no end' if seen.is_stuck else ''}"
    models = ", ".join(f"{path}: {what}" for path, what in seen.models.items()) or "empty"
    return f"| {name} | {end} | {seen.sent / seen.needed:.2f} | {seconds} | {said} | {models} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin.table", description=__doc__.splitlines()[0])
    parser.add_argument("--plugin", action="store_true", help="start the processes through launcher-recovery run --")
    parser.add_argument("--prefix", type=shlex.split, default=[], help="words before the commands of both processes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="variables of both processes")
    parser.add_argument("--host", type=Path, default=HOST, help="a checkout of the real host")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with what the host needs")
    parser.add_argument("--patience", type=float, help="seconds without a change after which a project is stuck")
    parser.add_argument("--size", type=int, default=64, help="of the model, in MiB")
    parser.add_argument("--row", action="append", default=[], help="only rows with this text; more than once: with any")
    asked = parser.parse_args(arguments)
    prefix, environment = asked.prefix, dict(one.split("=", 1) for one in asked.set)
    if asked.plugin:
        prefix = prefix or [str(Path(asked.python).with_name("launcher-recovery")), "run", "--"]
        environment = {"RECOVERY_ENABLED": "true", **environment}
    # With the plugin a project that nothing happens to for minutes may wait for its next attempt.
    patience = asked.patience or (600.0 if prefix else 45.0)
    how = How(asked.size * MIB, patience, environment, asked.host.resolve(), asked.python, tuple(prefix))
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for name in ROWS:
        if not asked.row or any(text in name for text in asked.row):
            print(as_markdown(name, observe(name, how)), flush=True)


if __name__ == "__main__":
    main()
