"""What the runner does, step by step in this process; tests/integration has it in processes of its own."""

from __future__ import annotations

import atexit
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.cli import main
from launcher_recovery.cli import run as run_module
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.weave import hosts as hosts_module
from launcher_recovery.weave import injecting, process, running, standings
from launcher_recovery.weave.fingerprints import fingerprint_of
from launcher_recovery.weave.hosts import by_name, known_hosts
from launcher_recovery.weave.interpreters import Program
from launcher_recovery.weave.preflight import look
from tests.woven import EXTENSION, FETCH, load

Write = Callable[..., None]
POINT = JoinPoint("wv_utils", "fetch", "download", fingerprints=(fingerprint_of(FETCH, "fetch"),))
HOST = Host("mine", (POINT,), ("wv_server.py",))


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runner takes the process for the program's own."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(atexit, "register", lambda *given: None)
    kept = list(running._kept)
    yield
    running._kept[:] = kept


# -- hosts ------------------------------------------------------------------------------------------


def test_the_hosts_of_extensions_come_before_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = Host("my launcher", ()), Host("other", ())
    monkeypatch.setattr(hosts_module, "BUILTIN", (own, other))
    before, problems = known_hosts()
    assert (before, problems) == ([own, other], [])
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wv_extension.py").write_text(EXTENSION.format(code="x", mark="x"))
    (tmp_path / "wv_bad.py").write_text("1 / 0\n")
    info = tmp_path / "wv_extension-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wv_extension\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[launcher_recovery]\nwv = wv_extension\nbad = wv_bad\n")
    found, problems = known_hosts()
    assert [host.name for host in found] == ["my launcher", "other"]
    assert found[0].join_points[0].name == "wv_utils:fetch"
    assert problems == ["extension bad (of the package wv_extension) was not loaded: division by zero"]
    assert by_name([own, Host("my launcher", (POINT,))]) == [own]
    sys.modules.pop("wv_extension", None)


# -- preflight --------------------------------------------------------------------------------------


def test_a_launcher_is_looked_at_without_being_imported(write: Write, folder: Path) -> None:
    """What is somebody else's, a library's, or not there is left out."""
    package = folder / "wv_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit")
    (package / "utils.py").write_text(FETCH)
    write(
        wv_utils=f"raise SystemExit\n{FETCH}",
        wv_odd=FETCH.replace("got", "have"),
        wv_broken="def (",
        wv_plain=FETCH,
    )
    known = POINT.fingerprints
    points = [
        POINT,
        JoinPoint("wv_odd", "fetch", "x", fingerprints=known),
        JoinPoint("wv_broken", "fetch", "x", fingerprints=known),
        JoinPoint("wv_package.utils", "fetch", "x", fingerprints=known, neighbours=("__init__.py",)),
        JoinPoint("wv_plain.more", "fetch", "x", fingerprints=known),
        JoinPoint("wv_nowhere.utils", "fetch", "x", fingerprints=known),
        JoinPoint("wv_plain", "fetch", "x", fingerprints=known, neighbours=("nothing",)),
        JoinPoint("wv_plain", "other", "x", fingerprints=known, neighbours=()),
    ]
    found = look([Host("mine", tuple(points), ("wv_server.py",))], [str(folder)])
    assert [(item.point, item.state) for item in found] == [
        ("wv_utils:fetch", "live"),
        ("wv_odd:fetch", "off"),
        ("wv_broken:fetch", "off"),
        ("wv_package.utils:fetch", "live"),
    ]
    assert found[2].reason.startswith(f"{folder / 'wv_broken.py'} cannot be read: ")
    assert not any(name.startswith("wv_") for name in sys.modules)
    assert look([HOST], [str(folder.parent)]) == []


# -- running ----------------------------------------------------------------------------------------


def run(*command: str, **more: Any) -> int:
    return main(["run", *more.get("options", ()), "--", *command])


def test_a_script_is_run_and_woven(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hosts_module, "BUILTIN", (HOST,))
    write(wv_utils=FETCH, wv_app="import sys, wv_utils\nprint(__name__, sys.argv, type(wv_utils.fetch).__name__)\n")
    script = str(folder / "wv_app.py")
    assert run(sys.executable, script, "a") == 0
    assert capsys.readouterr().out == f"__main__ {[script, 'a']} Woven\n"
    assert sys.path[0] == str(folder)
    assert vars(sys.modules["__main__"])["__file__"] == script
    run_module._warn_of_nothing(__import__("os").getpid())
    assert capsys.readouterr().err == ""


def test_nothing_found_is_said_in_the_process_that_was_started(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_module._warn_of_nothing(1)
    assert capsys.readouterr().err == ""
    run_module._warn_of_nothing(__import__("os").getpid())
    assert "warning: nothing of a launcher that is known was found" in capsys.readouterr().err


def test_other_ways_to_name_a_program(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    write(wv_app="import sys; print(__name__, sys.argv[1:], repr(sys.path[0]))\n")
    (folder / "__main__.py").write_text("import sys; print('folder', sys.path[0])\n")
    assert run(sys.executable, "-c", "import sys; print(sys.argv, repr(sys.path[0]))", "x") == 0
    assert run(sys.executable, "-m", "wv_app", "y") == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("print(__file__)"))
    assert run(sys.executable, "-") == 0
    assert run(sys.executable, str(folder)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "['-c', 'x'] ''",
        f"__main__ ['y'] {str(folder)!r}",
        "<stdin>",
        f"folder {folder}",
    ]


def test_off_it_is_only_run(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hosts_module, "BUILTIN", (HOST,))
    monkeypatch.setenv("RECOVERY_ENABLED", "no")
    write(wv_utils=FETCH, wv_app="import wv_utils\nprint(type(wv_utils.fetch).__name__)\n")
    assert run(str(folder / "wv_app.py")) == 0
    assert capsys.readouterr().out == "function\n"
    assert standings() == ()


def test_an_unknown_shape_is_refused_unless_it_is_said(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = JoinPoint("wv_utils", "other", "x", fingerprints=POINT.fingerprints)
    monkeypatch.setattr(hosts_module, "BUILTIN", (Host("mine", (POINT, second), ("wv_server.py",)),))
    monkeypatch.setattr(hosts_module, "known_hosts", lambda: (list(hosts_module.BUILTIN), ["an extension is odd"]))
    write(wv_utils=FETCH.replace("got", "have"), wv_app="print('it runs')\n")
    assert run(str(folder / "wv_app.py")) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("launcher-recovery run: an extension is odd.\nlauncher-recovery run: wv_utils:fetch")
    assert "(and 1 more); --anyway runs it without what is not known." in captured.err
    assert run(str(folder / "wv_app.py"), options=["--anyway"]) == 0
    assert capsys.readouterr().out == "it runs\n"


def test_without_wrapt_it_is_said_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None)
    missing = "weaving needs wrapt, which is not installed: pip install 'launcher-recovery[weave]'"
    assert run(str(folder / "wv_server.py")) == 2
    assert capsys.readouterr().err == f"launcher-recovery run: {missing}.\n"
    assert process.weave([HOST], default=True) is False
    assert caplog.messages == [f"this process is not woven: {missing}"]


def test_an_error_is_printed_as_python_would(folder: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(wv_app="def fail():\n    raise ValueError('not today')\nfail()\n", wv_exit="raise SystemExit(7)\n")
    hook = sys.excepthook
    with pytest.raises(SystemExit, match="7"):
        run(str(folder / "wv_exit.py"))
    assert sys.excepthook is hook
    sys.excepthook = sys.__excepthook__
    with pytest.raises(ValueError, match="not today") as caught:
        run(str(folder / "wv_app.py"))
    capsys.readouterr()
    sys.excepthook(caught.type, caught.value, caught.tb)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{folder / "wv_app.py"}", line 3, in <module>'
    assert lines[-1] == "ValueError: not today"
    assert sum("File" in line for line in lines) == 2
    assert sys.excepthook is sys.__excepthook__


def test_without_a_folder_in_front_of_the_path_none_is_put_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As python -I and -P have it."""

    class Flags:
        isolated = 1
        safe_path = False

    monkeypatch.setattr(running.sys, "flags", Flags())
    before = list(sys.path)
    running.prepare(Program("module", "x", ()))
    running.prepare(Program("script", str(folder / "wv_server.py"), ()))
    assert sys.path == before
    running.prepare(Program("script", str(folder), ()))
    assert sys.path == [str(folder), *before]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "what is to be run?"),
        (["--", "no-such-program"], "there is no program no-such-program"),
        (["--", sys.executable, "no-such-file.py"], "there is no file no-such-file.py"),
        (["--inject", "--", "no-such-program"], "there is no program no-such-program"),
    ],
)
def test_what_cannot_be_run_is_said(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *arguments]) == 2
    assert words in capsys.readouterr().err


class Became(Exception):
    """This process would be another program now."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    told: list[Any] = []

    def become(program: str, command: list[str], environ: dict[str, str]) -> None:
        told.extend((command, environ))
        raise Became

    monkeypatch.setattr(injecting.os, "execvpe", become)
    return told


def test_options_of_the_interpreter_are_given_to_a_new_one(became: list[Any]) -> None:
    for tail in (["s.py", "x"], ["-m", "mod", "x"], ["-c", "1", "x"], ["-", "x"]):
        became.clear()
        with pytest.raises(Became):
            run(sys.executable, "-u", *tail, options=["--anyway"])
        again = [sys.executable, "-u", "-m", "launcher_recovery", "run", "--anyway", "--", sys.executable, *tail]
        assert became[0] == again


@pytest.mark.parametrize("is_on", [True, False])
def test_injected_the_environment_says_whom_to_weave(
    became: list[Any], monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"/a:{injecting.FOLDER}:/b")
    monkeypatch.setenv("RECOVERY_ENABLED", str(is_on))
    monkeypatch.delenv(injecting.PREFIX_VARIABLE, raising=False)
    with pytest.raises(Became):
        run("sh", "-c", "x", options=["--inject"])
    command, environ = became
    assert command == ["sh", "-c", "x"]
    assert environ["PYTHONPATH"] == (f"{injecting.FOLDER}:/a:/b" if is_on else f"/a:{injecting.FOLDER}:/b")
    assert environ.get(injecting.PREFIX_VARIABLE) == (sys.prefix if is_on else None)


def test_what_the_system_refuses_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*given: Any) -> None:
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(injecting.os, "execvpe", refuse)
    assert run("sh", options=["--inject"]) == 2
    assert capsys.readouterr().err == "launcher-recovery run: sh cannot be run: Exec format error.\n"


def test_on_windows_it_waits_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """There exec would give the command another process id, and the shell its prompt at once."""
    given: list[Any] = []
    monkeypatch.setattr(injecting.sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "call", lambda command, env: given.append((command, env)) or 5)
    with pytest.raises(SystemExit, match="5"):
        injecting.replace_process(["x"], {"a": "b"})
    assert given == [(["x"], {"a": "b"})]


def test_the_list_of_commands_has_it_and_its_help_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    assert "launcher-recovery run -- celery -A server.celery_app worker" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "run             Run a launcher that has no plugin system" in capsys.readouterr().out


def test_the_command_of_celery_is_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    testing = pytest.importorskip("click.testing")
    command = load("launcher_recovery.cli.celery_command").recovery
    done = testing.CliRunner().invoke(command, [])
    assert (done.exit_code, done.output.startswith("recovery: off")) == (0, True)
    done = testing.CliRunner().invoke(command, ["--json"])
    assert done.output.startswith('{"enabled": false')
