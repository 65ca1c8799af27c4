"""What goes wrong with an import: of the servers that it comes from, and of the processes that see to it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.nodes import Fault
from tests.origin import Answer, Behaviour, End, File, Request
from tests.origin.behaviours import drop, flip, refuse, script, slow, stall, when
from tests.standin.processes import PATIENCE_S, WEB, WORKER
from tests.standin.trial import MIB, Seen, Trial
from tests.standin.world import PACKAGE
from tests.support import wait_for

_FOR_EVER_S = 86_400.0
_KILLED_AT_RATE = 8 * MIB
"""Bytes a second of a download that is to be met in its middle."""


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
    os.kill(_busy_child(at), signal.SIGKILL)
    return at.watch(project_id, began)


def worker_killed_alone(at: Trial) -> Seen:
    """Not the processes that it started; then a new one is started beside those."""
    project_id, began, in_a_hurry = _half_done(at)
    at.host.kill_alone(WORKER)
    in_a_hurry.set()
    at.host.start(WORKER)
    return at.watch(project_id, began)


def worker_told_to_end_at_once(at: Trial) -> Seen:
    """As by whoever is not willing to wait for its tasks, which get the same signal as those of deleted projects."""
    project_id, began, in_a_hurry = _half_done(at)
    in_a_hurry.set()
    os.kill(at.host.pid(WORKER), signal.SIGQUIT)
    at.host.wait(WORKER)
    at.host.start(WORKER)
    return at.watch(project_id, began)


def lost_in_the_queue(at: Trial) -> Seen:
    """The worker has taken the import out of the queue, and is killed before the task begins."""
    for child in at.host.children(WORKER):
        os.kill(child, signal.SIGSTOP)
    began = time.monotonic()
    project_id = at.host.import_project("Project", at.world.launcher_json())
    wait_for(lambda: "] received" in at.host.log(WORKER), PATIENCE_S)
    at.host.kill(WORKER)
    at.host.start(WORKER)
    return at.watch(project_id, began)


def no_worker(at: Trial) -> Seen:
    """While the import is asked for, and the web process is started anew."""
    at.host.kill(WORKER)
    began = time.monotonic()
    project_id = at.host.import_project("Project", at.world.launcher_json())
    at.host.kill(WEB)
    at.host.start(WEB, WORKER)
    return at.watch(project_id, began)


def _busy_child(at: Trial) -> int:
    """The child of the worker with the most processor time."""

    def ticks(child: int) -> int:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    return max(at.host.children(WORKER), key=ticks)


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


# -- the rows -----------------------------------------------------------------------------------------

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
    "web killed in mid-download": lambda at: killed(at, WEB),
    "worker and web killed in mid-download": lambda at: killed(at, WORKER, WEB),
    "the same, then imported again as another project": killed_and_imported_again,
    "only the task's process killed in mid-download": task_killed,
    "only the worker's main process killed in mid-download": worker_killed_alone,
    "worker told to end at once in mid-download, started again": worker_told_to_end_at_once,
    "worker killed before the task began": lost_in_the_queue,
    "no worker when it is imported": no_worker,
    "deleted in mid-download, imported again at once": deleted_and_imported_again,
    "node's clone 503 once": lambda at: far_fails(at, "/node.git/", _503),
    "node's clone cut once": lambda at: pack_cut(at, _NODE),
    "ComfyUI's clone cut once": lambda at: pack_cut(at, _COMFYUI),
    "ComfyUI's clone hangs once": lambda at: far_fails(at, "/comfyui.git/", _HANGS),
    "package cut once": lambda at: far_fails(at, _WHEEL, _WHEEL_CUT),
    "index 503 eight times": lambda at: far_fails(at, f"/simple/{PACKAGE}", *[_503] * 8),
}
