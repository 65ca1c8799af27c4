"""The runner, in real processes: the program cannot tell that it was not started by Python itself, but is woven."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher_recovery.weave.fingerprints import fingerprint_of
from tests.woven import FETCH, environment, install, python

RUN = ("-m", "launcher_recovery", "run")
KNOWN = fingerprint_of(FETCH, "fetch").code

# Tells what a program can see of how it was started, and ends as it is told.
PROGRAM = """
import json, os, re, signal, sys, threading
names = {name: re.sub(" at 0x[0-9a-f]+", "", repr(value)) for name, value in globals().items() if name != "__loader__"}
told = {
    "names": names,
    "loader": type(__loader__).__name__,
    "is_main": sys.modules["__main__"].__dict__ is globals(),
    "argv": sys.argv,
    "path": sys.path,
    "flags": list(sys.flags),
    "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    "environ": {name: value for name, value in os.environ.items() if name not in ("_", "SHLVL")},
    "excepthook": sys.excepthook is sys.__excepthook__,
    "threads": threading.active_count(),
    "stdin": sys.stdin.read() if "-" in sys.argv else None,
}
print(json.dumps(told), flush=True)

def end(how):
    if how == "error":
        raise ValueError("not today")
    if how == "cause":
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise ValueError("not today") from error
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "hook":
        def hook(kind, error, traceback):
            print("hooked", kind.__name__, traceback.tb_frame.f_code.co_name)
        sys.excepthook = hook
        raise ValueError
    if how != "-":
        sys.exit(json.loads(how))

import atexit
atexit.register(lambda: print("over", __name__))
end(sys.argv[1])
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "wv_server.py").write_text(PROGRAM)
    (folder / "wv_utils.py").write_text(FETCH)
    (folder / "wv_app.py").write_text("from wv_utils import fetch\nprint(fetch('u'), __name__)\n")
    mark = f"wv_{hashlib.sha256(str(tmp_path).encode()).hexdigest()}"
    (folder / mark).write_text("")
    install(tmp_path / "site", KNOWN, mark)
    return folder


def settings(place: Path, **more: str) -> dict[str, str]:
    return environment(place.parent, place.parent / "site", **more)


def both(
    place: Path, arguments: Sequence[str], given: str = "", cwd: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """The program started by Python, and by the runner."""
    environ = settings(place)
    plain = python(arguments, environ, cwd or place, given)
    ours = python([*RUN, "--anyway", "--", sys.executable, *arguments], environ, cwd or place, given)
    return plain, ours


def without_warning(text: str) -> str:
    return "".join(line for line in text.splitlines(True) if not line.startswith("launcher-recovery run: warning: "))


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "arguments",
    [
        ["wv_server.py", "-", "a b", "--", "-u"],
        ["./link.py", "error"],
        ["-m", "wv_server", "cause"],
        ["-m", "wv_package.sub", "7"],
        ["wv_package", "-"],
        ["-u", "-X", "utf8", "-W", "ignore", "wv_server.py", '"the message"'],
        ["-um", "wv_server", "null"],
        ["-c", PROGRAM, "error"],
        ["-", "-1"],
        ["wv_server.py", "interrupt"],
        ["wv_server.py", "term"],
        ["wv_server.py", "hook"],
        ["wv_syntax.py"],
        ["-m", "wv_nowhere"],
        ["-m", "wv_package"],
    ],
    ids=lambda arguments: " ".join(arguments)[:30].replace("\n", " "),
)
def test_a_program_is_run_as_python_itself_would(place: Path, arguments: list[str]) -> None:
    """Its names, arguments, path, flags, signals and environment, what it prints, and how it ends."""
    (place / "sub").mkdir()
    (place / "sub" / "real.py").write_text(PROGRAM)
    (place / "link.py").symlink_to(Path("sub") / "real.py")
    (place / "wv_syntax.py").write_text("x = (\n")
    (place / "wv_package").mkdir()
    (place / "wv_package" / "__init__.py").write_text("")
    for name in ("sub", "__main__"):
        (place / "wv_package" / f"{name}.py").write_text(PROGRAM)
    if arguments == ["-m", "wv_package"]:
        (place / "wv_package" / "__main__.py").unlink()
    plain, ours = both(place, arguments, PROGRAM if arguments[0] == "-" else "from outside")
    lines, expected = ours.stdout.splitlines(), plain.stdout.splitlines()
    if expected:
        told, wanted = json.loads(lines.pop(0)), json.loads(expected.pop(0))
        for name in wanted:
            assert told[name] == wanted[name], name
    assert lines == expected
    assert without_warning(ours.stderr) == plain.stderr
    assert ours.returncode == plain.returncode


def test_it_is_the_same_process_and_woven_and_doctor_sees_it(place: Path) -> None:
    """Also behind options of the interpreter, for which it begins anew; SIGTERM ends it as ever."""
    (place / "wv_app.py").write_text(
        "import os, time\nfrom wv_utils import fetch\nprint(os.getpid(), fetch('u'), flush=True)\ntime.sleep(100)\n"
    )
    environ = settings(place)
    command = [sys.executable, *RUN, "--", sys.executable, "-u", "wv_app.py", "--token", "s3cret-value"]
    process = subprocess.Popen(command, env=environ, cwd=place, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{process.pid} woven got u\n"
        done = python(["-m", "launcher_recovery", "doctor", "--json"], environ, place)
        assert (done.returncode, done.stderr) == (0, "")
        (shown,) = json.loads(done.stdout)["processes"]
        assert (shown["pid"], shown["is_woven"], shown["live"]) == (process.pid, True, ["wv_utils:fetch"])
        assert "s3cret-value" not in done.stdout
        assert shown["argv"] == ["wv_app.py", "--token", "***"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()  # type: ignore[union-attr]
    assert process.returncode == -signal.SIGTERM


def test_a_console_script_is_run_here(place: Path) -> None:
    """As the kernel has its interpreter run it; in front of the path is the folder that the script is in."""
    folder = place.parent / "bin"
    folder.mkdir()
    script = folder / "wv-server"
    script.write_text(
        f"#!{sys.executable}\nimport sys, os\nsys.path.insert(0, os.getcwd())\nimport wv_app\nprint(sys.argv)\n"
    )
    script.chmod(0o755)
    environ = settings(place)
    environ["PATH"] = f"{folder}{os.pathsep}{environ['PATH']}"
    done = python([*RUN, "--", "wv-server", "a"], environ, place)
    assert done.stdout == f"woven got u wv_app\n['{script}', 'a']\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_right_is_said_in_a_sentence_before_anything_runs(place: Path) -> None:
    environ = settings(place)
    program = "launcher-recovery run: "
    (place / "python9").write_text("#!/bin/sh\necho /elsewhere\n")
    (place / "python9").chmod(0o755)
    cases = {
        (): "what is to be run? launcher-recovery run [--inject] [--anyway] -- COMMAND ….",
        ("--", "./python9", "wv_app.py"): "./python9 is another Python than",
        ("--inject", "--", "./python9"): "./python9 is another Python than",
        ("--", "nothing.py"): "there is no program nothing.py",
        ("--", sys.executable, "nothing.py"): "there is no file nothing.py",
        ("--nothing", "--", "x"): "unrecognized arguments: --nothing; see launcher-recovery run --help.",
        ("--inject", "--", "no-such-program"): "there is no program no-such-program",
    }
    for arguments, words in cases.items():
        done = python([*RUN, *arguments], environ, place)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith(program + words)
        assert done.stderr.count("\n") == 1
    done = python([*RUN, "--", sys.executable, "wv_app.py"], settings(place, RECOVERY_ENABLED="perhaps"), place)
    assert (done.returncode, done.stdout) == (2, "")
    assert "RECOVERY_ENABLED='perhaps' is not usable" in done.stderr


def test_a_launcher_of_an_unknown_shape_is_run_only_when_that_is_said(place: Path) -> None:
    (place / "wv_utils.py").write_text(FETCH.replace("got", "have got"))
    environ = settings(place)
    done = python([*RUN, sys.executable, "wv_app.py"], environ, place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "launcher-recovery run: wv_utils:fetch of my launcher runs without recovery: its shape in "
        f"{place / 'wv_utils.py'} is unknown; the launcher is of a version that this one does not know; "
        "--anyway runs it without what is not known.\n"
    )
    done = python([*RUN, "--anyway", sys.executable, "wv_app.py"], environ, place)
    assert (done.returncode, done.stdout) == (0, "have got u __main__\n")
    assert "wv_utils:fetch of my launcher runs without recovery" in done.stderr


def test_it_is_said_at_the_end_that_nothing_was_woven(place: Path) -> None:
    (place / "wv_app.py").write_text(
        "import os\nif os.fork() == 0:\n    raise SystemExit\nos.wait()\nraise SystemExit(3)\n"
    )
    done = python([*RUN, "--", sys.executable, "wv_app.py"], settings(place), place)
    assert done.returncode == 3
    assert done.stderr == (
        "launcher-recovery run: warning: nothing of a launcher that is known was found, so that recovery did nothing.\n"
    )


def test_off_nothing_is_loaded_but_what_looks_whether_it_is_on(place: Path) -> None:
    (place / "wv_app.py").write_text(
        "import sys\nfrom wv_utils import fetch\n"
        "print(fetch('u'), sorted(n for n in sys.modules if n.startswith('wrapt')"
        " or n.startswith('launcher_recovery.') and n.split('.')[1] not in ('cli', 'errors', 'lazily', 'room')))\n"
    )
    done = python([*RUN, "--", sys.executable, "wv_app.py"], settings(place, RECOVERY_ENABLED="false"), place)
    assert (done.returncode, done.stderr) == (0, "")
    found = set(eval(done.stdout.partition(" u ")[2]))
    within = {"", ".interpreters", ".process", ".running", ".standing"}
    assert found == {f"launcher_recovery.weave{name}" for name in within}


def test_injected_it_reaches_every_process_of_this_python_and_no_other(place: Path, tmp_path: Path) -> None:
    """Those that start themselves anew as well; a `sitecustomize` that was there is used as ever, also elsewhere."""
    other = tmp_path / "other"
    venv.create(other, with_pip=False, symlinks=True)
    site = tmp_path / "customized"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import builtins\nbuiltins.customized = 'customized'\n")
    (place / "wv_again.py").write_text(
        "import os, sys\n"
        "print(customized, os.getpid(), [p for p in sys.path if p.endswith('inject')], flush=True)\n"
        "os.execv(sys.executable, [sys.executable, 'wv_app.py'])\n"
    )
    look = "import sys; print(customized, [name for name in sys.modules if 'recovery' in name])"
    (place / "start.sh").write_text(f'#!/bin/sh\n{other}/bin/python -c "{look}"\nexec {sys.executable} wv_again.py\n')
    (place / "start.sh").chmod(0o755)
    environ = environment(tmp_path, tmp_path / "site", site)
    command = [sys.executable, *RUN, "--inject", "--", "./start.sh"]
    process = subprocess.Popen(
        command, env=environ, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["customized []", f"customized {process.pid} []", "woven got u __main__"]
    assert (process.returncode, err) == (0, "")
    done = python([*RUN, "--inject", "--", "./start.sh"], {**environ, "RECOVERY_ENABLED": "0"}, place)
    assert done.stdout.splitlines()[-1] == "got u __main__"
    (place / "start.sh").write_text("no program")
    (place / "start.sh").chmod(0o755)
    done = python([*RUN, "--inject", "--", "./start.sh"], environ, place)
    assert done.stderr == "launcher-recovery run: ./start.sh cannot be run: Exec format error.\n"
    assert done.returncode == 2


WORKER = """
from celery import Celery, shared_task
from wv_utils import fetch

@shared_task
def work(url):
    return fetch(url)

app = Celery("wv", broker="filesystem://", backend="file://{results}")
folders = {{"data_folder_in": "{queue}", "data_folder_out": "{queue}"}}
app.conf.broker_transport_options = {{**folders, "polling_interval": 0.05}}
app.set_default()
"""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("way", ["entry point", "runner"])
def test_a_worker_of_celery_is_woven(place: Path, tmp_path: Path, way: str) -> None:
    """Without a prefix, by the entry point that Celery loads; and in front of it the runner. Its pool is forked."""
    pytest.importorskip("celery")
    for name in ("queue", "results"):
        (tmp_path / name).mkdir()
    source = WORKER.format(results=tmp_path / "results", queue=tmp_path / "queue")
    (place / "wv_tasks.py").write_text(source)
    info = tmp_path / "site" / "wv_celery-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wv_celery\nVersion: 1.0\n")
    if way == "entry point":
        entry = "recovery = launcher_recovery.cli.celery_command:recovery"
        (info / "entry_points.txt").write_text(f"[celery.commands]\n{entry}\n")
    environ = settings(place, **({"RECOVERY_ENABLED": "true"} if way == "entry point" else {}))
    prefix = [] if way == "entry point" else [*RUN, "--", sys.executable]
    command = [*prefix, "-m", "celery", "-A", "wv_tasks:app", "worker", "--pool", "prefork", "-c", "1", "-l", "WARNING"]
    log = tmp_path / "worker.log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, *command, "--without-gossip", "--without-mingle"],
            env=environ, cwd=place, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        ask = "import wv_tasks; print(wv_tasks.work.delay('u').get(timeout=60))"
        done = python(["-c", ask], environ, place)
        assert done.stdout == "woven got u\n", done.stderr + log.read_text()
        shown = json.loads(python(["-m", "launcher_recovery", "doctor", "--json"], environ, place).stdout)
        roles = {(entry["role"], entry["is_woven"], *entry["live"]) for entry in shown["processes"]}
        assert roles == {("worker", True, "wv_utils:fetch")}
        assert worker.pid in {entry["pid"] for entry in shown["processes"]}
        if way == "entry point":
            told = python(["-m", "celery", "recovery", "--json"], environ, place)
            assert worker.pid in {entry["pid"] for entry in json.loads(told.stdout)["processes"]}
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
