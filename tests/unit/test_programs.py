"""Child programs: what they print, and that they are ended with all they started."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher_recovery.errors import CommandError, OperationCancelled, OperationPaused, RecoveryTimeoutError
from launcher_recovery.programs import guard, running
from launcher_recovery.programs.running import CommandSilentError, Silence, end_group, run_command
from tests.nodes import Attempts
from tests.support import wait_for


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_what_a_program_prints_on_both_streams_is_returned(attempts: Attempts, tmp_path: Path) -> None:
    source = "import os, sys; print(os.getcwd(), os.environ['X'], flush=True); sys.stderr.write('and \\xff this')"
    output = run_command(attempts.next(), python(source), cwd=tmp_path, env={"X": "yes", "PYTHONUTF8": "1"})
    assert output == f"{tmp_path.resolve()} yes\nand \xff this"


def test_output_that_is_no_text_does_no_harm(attempts: Attempts) -> None:
    assert run_command(attempts.next(), python("import os; os.write(1, b'a\\xff\\r\\nb')")) == "a\ufffd\nb"


def test_a_percentage_that_is_written_over_is_told_each_time_and_pushes_nothing_out(attempts: Attempts) -> None:
    source = "print('first'); [print(f'{n} %', end='\\r') for n in range(100)]; print('100 %, done'); print('last')"
    told: list[str] = []
    assert run_command(attempts.next(), python(source), on_line=told.append) == "first\n100 %, done\nlast\n"
    assert told == ["first", *(f"{number} %" for number in range(100)), "100 %, done", "last"]


def test_a_line_without_end_comes_in_pieces(attempts: Attempts) -> None:
    told: list[str] = []
    run_command(attempts.next(), python("print('x' * 20000)"), on_line=told.append)
    assert max(map(len, told)) == 8192
    assert sum(map(len, told)) == 20000


def test_variables_can_be_kept_from_a_program(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", "x")
    source = "import os; print(os.environ.get('ELSEWHERE'))"
    assert run_command(attempts.next(), python(source), env={"ELSEWHERE": None}) == "None\n"


def test_of_much_output_the_end_is_kept(attempts: Attempts) -> None:
    output = run_command(attempts.next(), python("for n in range(5000): print(n)"))
    assert output.splitlines() == [str(number) for number in range(4940, 5000)]


def test_nothing_can_be_asked_of_a_person(attempts: Attempts) -> None:
    assert run_command(attempts.next(), python("import sys; print(repr(sys.stdin.read()))")) == "''\n"


@pytest.mark.parametrize(("source", "status"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_program_that_fails_raises_with_command_line_status_and_output(
    attempts: Attempts, source: str, status: int
) -> None:
    with pytest.raises(CommandError) as raised:
        run_command(attempts.next(), python(f"print('first'); print('it went wrong', flush=True); {source}"))
    assert raised.value.argv[:2] == (sys.executable, "-c")
    assert (raised.value.returncode, raised.value.output) == (status, "first\nit went wrong\n")
    assert str(raised.value).endswith(f"ended with exit status {status}: it went wrong")


def test_a_program_that_is_not_there(attempts: Attempts) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_command(attempts.next(), ["no-such-program", "x"])


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


# A program with a child of its own; both write down who they are. What they do then, the tests say.
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
folder, child, parent = sys.argv[1:4]
if child != "none":
    subprocess.Popen([sys.executable, __file__, folder, "none", child], start_new_session="leaves" in child)
if "deaf" in parent:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "quiet" in parent:
    os.close(1)
    os.close(2)
file = pathlib.Path(folder, f"{os.getpid()}.tmp")
file.touch()
file.rename(file.with_suffix(".pid"))
while True:
    if "chatty" in parent:
        print("still here", flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[[str, str], list[str]]]:
    """The command line of a program and its child; whoever is left at the end is killed."""
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    yield lambda parent, child: [sys.executable, str(script), str(tmp_path), child, parent]
    for pid in members(tmp_path):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def members(folder: Path) -> list[int]:
    return [int(file.stem) for file in folder.glob("*.pid")]


@pytest.mark.parametrize(
    ("parent", "child"),
    [("", ""), ("chatty", "chatty"), ("deaf", ""), ("", "deaf"), ("quiet", ""), ("quiet", "quiet")],
)
@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_whoever_a_program_started_ends_with_it_when_a_person_stops_the_operation(
    attempts: Attempts,
    family: Callable[[str, str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parent: str,
    child: str,
    how: str,
) -> None:
    monkeypatch.setattr("launcher_recovery.programs.running._END_S", 0.2)
    live = attempts.next()

    def stop() -> None:
        wait_for(lambda: len(members(tmp_path)) == 2)
        getattr(attempts.lifecycle, how)(attempts.id)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(OperationCancelled if how == "cancel" else OperationPaused):
        run_command(live, family(parent, child))
    thread.join()
    # A killed process takes a moment to be gone; nobody is left to end it but the kernel.
    wait_for(lambda: not any(map(alive, members(tmp_path))))


def test_a_program_whose_time_is_over_is_ended(
    attempts: Attempts, family: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    live = attempts.next()
    live.attempt_ends_at = 0.0
    with pytest.raises(RecoveryTimeoutError):
        run_command(live, family("", "none"))
    wait_for(lambda: not any(map(alive, members(tmp_path))))


def test_one_that_left_the_group_and_holds_the_output_open_keeps_nobody_waiting(
    attempts: Attempts, family: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    live = attempts.next()

    def stop() -> None:
        wait_for(lambda: len(members(tmp_path)) == 2)
        attempts.lifecycle.cancel(attempts.id)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(OperationCancelled):
        run_command(live, family("", "leaves"))
    thread.join()
    wait_for(lambda: sum(map(alive, members(tmp_path))) == 1)


GUARDED = """
import sys
from launcher_recovery.clock import Clock
from launcher_recovery.programs.running import run_command
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.memory import MemoryPersistence

lifecycle = Lifecycle(MemoryPersistence(), owner_id="me")
data = lifecycle.open("f", (), {})
run_command(Operation(lifecycle.begin_attempt(data.operation_id, 9), lifecycle, Clock()), sys.argv[1:])
"""


def test_whoever_a_program_started_ends_when_the_server_is_killed(
    family: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    server = subprocess.Popen([*python(GUARDED), *family("deaf", "deaf")], cwd=Path(__file__).parents[2])
    wait_for(lambda: len(members(tmp_path)) == 2)
    server.kill()
    server.wait()
    wait_for(lambda: not any(map(alive, members(tmp_path))))


def test_ending_what_has_ended_is_fine() -> None:
    process = subprocess.Popen(python(""), start_new_session=True)
    process.wait()
    end_group(process)
    assert process.returncode == 0


def test_where_there_are_no_groups_the_program_itself_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(python("import time; time.sleep(600)"), start_new_session=True)
    with monkeypatch.context() as windows:
        windows.setattr(running, "os", SimpleNamespace(name="nt"))
        end_group(process)
    assert process.returncode == -signal.SIGKILL


class _System:
    """What the guard finds in `os`: groups are only asked for, and standard input ends when `gone` is set."""

    def __init__(self, *without: str) -> None:
        self.gone = threading.Event()
        self.ended: list[tuple[int, int]] = []
        self.looked = 0
        self._without = without

    def read(self, file: int, size: int) -> bytes:
        assert self.gone.wait(60)
        return b""

    def getpid(self) -> int:
        return 4711

    def __getattr__(self, name: str) -> Any:
        self.looked += name == "killpg"
        if name in self._without:
            raise AttributeError(name)
        return self._end if name == "killpg" else getattr(os, name)

    def _end(self, group: int, number: int) -> None:
        self.ended.append((group, number))


@pytest.mark.parametrize("without", [(), ("posix_spawn", "killpg")])
def test_the_guard_passes_the_status_on_and_kills_when_its_server_is_gone(
    without: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = _System(*without)
    ignored: list[int] = []
    names = {name: getattr(signal, name) for name in ("SIGTERM", "SIGKILL", "SIG_IGN", "SIGPIPE", "SIGXFSZ")}
    monkeypatch.setattr(guard, "os", system)
    monkeypatch.setattr(guard, "signal", SimpleNamespace(signal=lambda number, how: ignored.append(number), **names))
    assert guard.main(python("exit(3)")) == 3
    assert guard.main(python("import os; os.kill(os.getpid(), 9)")) == 128 + 9
    # A command that is asked to end together with the guard is waited for.
    assert ignored == [signal.SIGTERM] * 2
    assert system.ended == []
    system.gone.set()
    killed: list[str] = []
    guard._end_with(lambda: killed.append("command"))
    assert killed == ["command"]
    # Those of both commands look as well, before `os` is again what it was.
    wait_for(lambda: system.looked == 3 if without else len(system.ended) == 3)
    assert system.ended == ([] if without else [(4711, signal.SIGKILL)] * 3)


@pytest.mark.parametrize("begin", [guard._spawned, guard._begun])
def test_the_guard_begins_a_command_without_input_and_with_the_signals_of_a_new_program(
    begin: Callable[[list[str]], tuple[Callable[[], object], Callable[[], int]]], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    source = f"import signal, sys\nopen({str(told)!r}, 'w').write(sys.stdin.read() + '.')\n"
    # An interpreter ignores it by itself, so that what it got can only be seen by another program.
    _, wait = begin(["/bin/sh", "-c", f'{sys.executable} -c "$0" && kill -PIPE $$; exit 5', source])
    assert wait() == -signal.SIGPIPE
    assert told.read_text() == "."
    kill, wait = begin(python("import time; time.sleep(600)"))
    kill()
    assert wait() == -signal.SIGKILL


# -- silence ------------------------------------------------------------------------------------------


class Ticks:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self, step: float = 1.0) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


HANGS = "import time; print('begun', flush=True); time.sleep(600)"


def test_a_program_that_says_nothing_for_too_long_is_ended_and_before_that_it_is_told(attempts: Attempts) -> None:
    told: list[float] = []
    silence = Silence(limit=6.0, told_after=3.0, tell=told.append, monotonic=Ticks())
    with pytest.raises(CommandSilentError, match=r"printed nothing for 6 s and was ended") as raised:
        run_command(attempts.next(), python(HANGS), silence=silence)
    # The interpreter that starts up may have been silent for a while as well.
    assert told[-4:] == [3.0, 4.0, 5.0, 6.0]
    assert isinstance(raised.value, TimeoutError)
    assert (raised.value.returncode, raised.value.argv[0]) == (143, sys.executable)


def test_a_launcher_that_stood_still_has_not_heard_silence(attempts: Attempts) -> None:
    """Each look counts for a second at most, however long ago the last one was."""
    told: list[float] = []
    silence = Silence(limit=4.0, told_after=0.0, tell=told.append, monotonic=Ticks(1000.0))
    with pytest.raises(CommandSilentError):
        run_command(attempts.next(), python(HANGS), silence=silence)
    assert told[-4:] == [1.0, 2.0, 3.0, 4.0]


def test_a_program_that_says_something_is_not_ended(attempts: Attempts) -> None:
    source = "import time\nfor n in range(4): print(n, flush=True); time.sleep(0.1)"
    silence = Silence(limit=30.0, monotonic=Ticks())
    assert run_command(attempts.next(), python(source), silence=silence) == "0\n1\n2\n3\n"


def test_a_silent_end_can_be_kept_and_read_back() -> None:
    error = pickle.loads(pickle.dumps(CommandSilentError(["git", "fetch"], 143, "x\n", 300.0)))
    assert (error.argv, error.returncode, error.output, error.silent_s) == (("git", "fetch"), 143, "x\n", 300.0)
    assert error.errno is None
