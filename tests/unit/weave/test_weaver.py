"""Weaving: what is woven, when, what is left alone, and that nothing of it ever reaches the host."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import logging
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wrapt

from launcher_recovery.joinpoints import Call, Fingerprint, Host, JoinPoint, LazyAdvice
from launcher_recovery.weave.fingerprints import fingerprint_of
from launcher_recovery.weave.imports import Watcher
from launcher_recovery.weave.standing import Standing
from launcher_recovery.weave.weaver import Weaver
from tests.woven import FETCH, load

Write = Callable[..., None]
KNOWN = fingerprint_of(FETCH, "fetch")


def host(*points: JoinPoint, name: str = "mine", neighbours: tuple[str, ...] = ("wv_server.py",)) -> Host:
    return Host(name, points, neighbours)


def point(module: str = "wv_utils", function: str = "fetch", **more: Any) -> JoinPoint:
    return JoinPoint(module, function, "download", **{"fingerprints": (KNOWN,), **more})


def standing(weaver: Weaver, number: int = 0) -> tuple[str, str]:
    found = weaver.standings[number]
    return found.state, found.reason


def test_a_name_taken_by_from_import_is_the_woven_one(write: Write, weaver: Weaver) -> None:
    """The wrap is in place when the body of the module has ended, before whoever imports it binds a name."""
    write(wv_utils=FETCH, wv_tasks="from wv_utils import fetch\ndef work(): return fetch('u', retries=1)\n")
    weaver.weave([host(point())])
    assert standing(weaver) == ("waiting", "")
    tasks = load("wv_tasks")
    assert tasks.work() == "advised by integrator: got u"
    assert standing(weaver) == ("live", "")


def test_undone_everything_is_as_it_was(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    finders = list(sys.meta_path)
    weaver.weave([host(point())])
    module = load("wv_utils")
    weaver.unweave()
    assert type(module.fetch) is types.FunctionType
    assert module.fetch("u") == "got u"
    assert sys.meta_path == finders
    assert weaver.standings == ()


def test_who_stands_around_it_by_then_is_left_there(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    weaver.weave([host(point())])
    module = load("wv_utils")
    mine = module.fetch = lambda url: "mine"
    weaver.unweave()
    assert module.fetch is mine


def test_a_call_as_its_advice_gets_it(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    calls: list[Call] = []
    where = point(advice=lambda call: calls.append(call) or call.proceed() + call.proceed())
    weaver.weave([host(where)])
    assert load("wv_utils").fetch("u", retries=5) == "got ugot u"
    (call,) = calls
    assert (call.point, call.args, call.kwargs, call.integrator) == (where, ("u",), {"retries": 5}, "integrator")
    assert call.arguments == {"url": "u", "retries": 5}
    assert Call(where, call.original, ("u",), {}, None).arguments == {"url": "u", "retries": 3}


def test_a_woven_function_looks_like_the_function(write: Write, weaver: Weaver) -> None:
    import inspect

    write(wv_utils=FETCH)
    weaver.weave([host(point())])
    module = load("wv_utils")
    assert inspect.isfunction(module.fetch)
    assert str(inspect.signature(module.fetch)) == "(url, *, retries=3)"
    assert module.fetch.__doc__ == "Get it."
    assert "def fetch" in inspect.getsource(module.fetch)
    assert pickle.loads(pickle.dumps(module.fetch)) is module.fetch  # as a process pool sends it
    assert module.__loader__ is module.__spec__.loader
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert "exec_module" not in vars(module.__loader__)


def test_methods_and_functions_of_a_class(write: Write, weaver: Weaver) -> None:
    write(
        wv_utils="""
class Projects:
    name = "p"
    def plain(self, a): return self.name + a
    @classmethod
    def of_class(cls, a): return cls.name + a
    @staticmethod
    def of_none(a): return "s" + a
    async def waits(self, a): return "w" + a
    class Inner:
        def deep(self): return "d"
"""
    )
    names = ("plain", "of_class", "of_none", "Inner.deep")
    weaver.weave([host(*(point(function=f"Projects.{name}", fingerprints=(), tolerant=True) for name in names))])
    projects = load("wv_utils").Projects
    own = projects()
    own.name = "own "
    said = "advised by integrator: "
    assert own.plain("a") == f"{said}own a"
    assert projects.of_class("a") == f"{said}pa"
    assert projects.of_none("a") == own.of_none("a") == f"{said}sa"
    assert projects.Inner().deep() == f"{said}d"
    weaver.unweave()
    assert (own.plain("a"), projects.of_class("a"), projects.of_none("a")) == ("own a", "pa", "sa")
    assert isinstance(vars(projects)["of_none"], staticmethod)


def test_a_module_that_is_imported_already_is_woven_at_once_and_names_taken_from_it_are_told(
    write: Write, weaver: Weaver
) -> None:
    write(wv_utils=FETCH, wv_tasks="from wv_utils import fetch as get\n")
    tasks, utils = load("wv_tasks"), load("wv_utils")
    weaver.weave([host(point())])
    assert utils.fetch("u") == "advised by integrator: got u"
    assert tasks.get("u") == "got u"
    assert standing(weaver) == ("live", "wv_tasks.get took it before it was woven, and runs without recovery")
    problem = weaver.standings[0].problem
    assert problem == ("wv_utils:fetch of mine: wv_tasks.get took it before it was woven, and runs without recovery.")


def test_a_reload_is_woven_again(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    weaver.weave([host(point())])
    module = load("wv_utils")
    for _ in range(2):
        importlib.reload(module)
        assert module.fetch("u") == "advised by integrator: got u"
    write(wv_utils=FETCH.replace("got", "have got"))
    importlib.reload(module)
    assert module.fetch("u") == "have got u"
    assert standing(weaver)[0] == "off"


def test_weaving_twice_is_harmless(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    for _ in range(2):
        weaver.weave([host(point()), host(point())])
    module = load("wv_utils")
    for _ in range(2):
        weaver.weave([host(point())])
    assert module.fetch("u") == "advised by integrator: got u"
    assert [found.state for found in weaver.standings] == ["live"]


def test_of_two_hosts_with_the_same_function_the_first_has_it(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    weaver.weave([host(point()), host(point(advice=lambda call: "other"), name="other")])
    assert load("wv_utils").fetch("u") == "advised by integrator: got u"
    assert standing(weaver, 1) == ("off", "another host has woven it already")


@pytest.mark.parametrize(
    ("source", "more", "state", "words"),
    [
        (FETCH, {}, "live", ""),
        (FETCH.replace("Get it", "Fetch it"), {}, "live", ""),
        (FETCH.replace("got", "have"), {}, "off", "its shape in .* is unknown"),
        (FETCH.replace("got", "have"), {"tolerant": True}, "live", "its code in .* is of an unknown version"),
        (FETCH.replace("url", "address"), {"tolerant": True}, "off", "its shape in .* is unknown"),
        (FETCH, {"fingerprints": (Fingerprint((), ""), KNOWN)}, "live", ""),
        (FETCH, {"fingerprints": ()}, "off", "no fingerprint of it is known"),
        (FETCH, {"fingerprints": (), "tolerant": True}, "live", ""),
        ("fetch = 5", {}, "off", "has no function fetch"),
        ("fetch = 5", {"fingerprints": (), "tolerant": True}, "off", "its fetch is no function"),
        ("", {"fingerprints": (), "tolerant": True}, "off", "it has no function fetch"),
        ("", {"fingerprints": (), "tolerant": True, "function": "A.b"}, "off", "it has no class A"),
        ("class A: pass", {"fingerprints": (), "tolerant": True, "function": "A.b"}, "off", "it has no function A.b"),
        (FETCH + "del fetch", {}, "off", "it has no function fetch"),
    ],
)
def test_an_unknown_shape_is_off_unless_it_is_tolerated(
    write: Write, weaver: Weaver, caplog: pytest.LogCaptureFixture, source: str, more: Any, state: str, words: str
) -> None:
    import re

    write(wv_utils=source)
    weaver.weave([host(point(**more))])
    load("wv_utils")
    found = standing(weaver)
    assert found[0] == state
    assert re.search(words, found[1]) if words else found[1] == ""
    problem = weaver.standings[0].problem
    assert caplog.messages == ([problem] if problem else [])
    assert bool(problem) is bool(words)


def test_a_module_of_the_name_that_is_not_the_launchers_is_left_alone(
    write: Write, weaver: Weaver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told by what is beside it; nobody is bothered with it."""
    write(wv_utils=FETCH)
    weaver.weave([host(point(), neighbours=("wv_server.py", "templates"))])
    module = load("wv_utils")
    assert module.fetch("u") == "got u"
    assert standing(weaver) == (
        "waiting",
        f"{folder / 'wv_utils.py'} is another module of that name: there is no templates beside it",
    )
    assert weaver.standings[0].problem == ""
    assert caplog.messages == []


def test_the_right_one_of_two_hosts_is_found(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH)
    advice = {"advice": lambda call: "second"}
    weaver.weave([host(point(), neighbours=("other.py",)), host(point(**advice), name="second")])
    assert load("wv_utils").fetch("u") == "second"
    assert [found.state for found in weaver.standings] == ["waiting", "live"]


def test_an_error_while_weaving_never_breaks_the_import(
    write: Write, weaver: Weaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launcher_recovery.weave import wrapping

    def fail(*args: Any) -> Any:
        raise RuntimeError("not today")

    monkeypatch.setattr(wrapping, "put", fail)
    write(wv_utils=FETCH)
    weaver.weave([host(point())])
    assert load("wv_utils").fetch("u") == "got u"
    assert standing(weaver) == ("off", "weaving it failed with RuntimeError: not today")


def test_one_that_is_to_be_told_and_fails_harms_nothing(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("not today")

    write(wv_utils=FETCH)
    weaver = Weaver(lambda: None, lambda call: "woven", fail)
    weaver.weave([host(point())])
    try:
        assert load("wv_utils").fetch("u") == "woven"
    finally:
        weaver.unweave()
    assert "how the join points stand could not be told" in caplog.messages


def test_an_error_of_the_modules_own_is_the_same_as_ever(write: Write, weaver: Weaver) -> None:
    write(wv_utils="1 / 0")
    weaver.weave([host(point())])
    with pytest.raises(ZeroDivisionError):
        load("wv_utils")
    with pytest.raises(ModuleNotFoundError, match="No module named 'wv_tasks'"):
        load("wv_tasks")
    write(wv_utils=FETCH)
    assert load("wv_utils").fetch("u") == "advised by integrator: got u"


def test_a_wanted_module_that_is_not_there_is_missing_as_ever(weaver: Weaver) -> None:
    weaver.weave([host(point("wv_nowhere"))])
    with pytest.raises(ModuleNotFoundError, match="No module named 'wv_nowhere'"):
        load("wv_nowhere")


def test_without_an_integrator_calls_run_as_ever_and_it_is_said_once(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("no disk")

    write(wv_utils=FETCH)
    weaver = Weaver(fail, lambda call: "woven")
    weaver.weave([host(point())])
    try:
        module = load("wv_utils")
        assert [module.fetch("u"), module.fetch("v")] == ["got u", "got v"]
    finally:
        weaver.unweave()
    assert caplog.messages == ["wv_utils:fetch runs without recovery: no disk"]


def test_an_advice_that_cannot_be_loaded_leaves_the_function_as_it_is(write: Write) -> None:
    write(
        wv_utils=FETCH,
        wv_advice="def other(call):\n    return 'other ' + call.proceed()\n",
        wv_broken="import wv_no_such\n",
    )
    told: list[object] = []
    lazy = {name: LazyAdvice(f"wv_{name}", "other") for name in ("advice", "broken")}
    weaver = Weaver(lambda: "integrator", lambda call: "woven", lambda: told.append(standing(weaver)))
    try:
        weaver.weave([host(point(advice=lazy["broken"]))])
        module = load("wv_utils")
        assert [module.fetch("u"), module.fetch("v")] == ["got u", "got v"]
        reason = "what is to be done there could not be loaded: ModuleNotFoundError: No module named 'wv_no_such'"
        assert told == [("live", ""), ("off", reason)]
    finally:
        weaver.unweave()
    weaver.weave([host(point(advice=lazy["advice"]))])
    try:
        assert module.fetch("u") == "other got u"
        call = Call(point(), lambda: "u", (), {}, None)
        assert lazy["advice"](call) == "other u"
    finally:
        weaver.unweave()


def test_a_host_that_is_turned_off_runs_as_ever(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH, wv_more=FETCH, wv_other=FETCH)
    weaver.weave([host(point(), point("wv_more")), host(point("wv_other"), name="other")])
    first, other = load("wv_utils"), load("wv_other")
    weaver.turn_off("mine", "it has no plugin")
    assert [first.fetch("u"), load("wv_more").fetch("u")] == ["got u", "got u"]
    assert other.fetch("u") == "advised by integrator: got u"
    assert [(found.state, found.reason) for found in weaver.standings] == [
        ("off", "it has no plugin"), ("off", "it has no plugin"), ("live", ""),
    ]  # fmt: skip


def test_a_module_of_a_package(write: Write, weaver: Weaver, folder: Path) -> None:
    (folder / "wv_package").mkdir()
    (folder / "wv_package" / "__init__.py").write_text("from wv_package.utils import fetch\n")
    (folder / "wv_package" / "utils.py").write_text(FETCH)
    write()
    weaver.weave([host(point("wv_package.utils"), neighbours=("__init__.py",))])
    assert load("wv_package").fetch("u") == "advised by integrator: got u"


def test_modules_without_source_are_woven_only_where_that_is_tolerated(
    write: Write, weaver: Weaver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two modules of one archive have one loader; each is told of by itself."""
    archive = folder / "code.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("wv_utils.py", FETCH + "import wv_more\n")
        file.writestr("wv_more.py", FETCH)
        file.writestr("wv_plain.py", FETCH)
    monkeypatch.syspath_prepend(str(archive))
    weaver.weave([host(point(), point("wv_more", fingerprints=(), tolerant=True), neighbours=())])
    for _ in range(2):  # who only looks where it is leaves no trace
        assert importlib.util.find_spec("wv_utils") is not None
    assert load("wv_plain").fetch("u") == "got u"
    utils = load("wv_utils")
    assert utils.fetch("u") == "got u"
    assert standing(weaver)[0] == "off"
    assert utils.wv_more.fetch("u") == "advised by integrator: got u"


def test_what_is_built_in_is_imported_as_ever(weaver: Weaver) -> None:
    import atexit

    atexit.register(print)
    atexit.unregister(print)
    weaver.weave([host(JoinPoint("_symtable", "nothing", "x", tolerant=True), neighbours=())])
    kept = sys.modules.pop("_symtable", None)
    try:
        assert load("_symtable").symtable
    finally:
        if kept is not None:
            sys.modules["_symtable"] = kept
    assert standing(weaver) == ("waiting", "")


def test_a_module_without_a_file_is_not_the_launchers(weaver: Weaver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wv_utils", types.ModuleType("wv_utils"))
    weaver.weave([host(point())])
    assert standing(weaver) == ("waiting", "the module wv_utils has no file")


@pytest.mark.parametrize("is_first", [True, False])
def test_beside_the_hooks_of_wrapt(write: Write, weaver: Weaver, is_first: bool) -> None:
    """Others who watch imports in the same process see theirs, whoever came first."""
    told: list[str] = []
    name = f"wv_utils{int(is_first)}"
    write(**{name: FETCH})
    if is_first:
        weaver.weave([host(point(name))])
    wrapt.register_post_import_hook(lambda module: told.append(module.__name__), name)
    weaver.weave([host(point(name))])
    assert load(name).fetch("u") == "advised by integrator: got u"
    assert told == [name]


def test_a_loader_that_takes_no_attribute_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        __slots__ = ()

        def create_module(self, spec: Any) -> None:
            return None

        def exec_module(self, module: Any) -> None:
            module.loaded = True

    class Finder:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            return importlib.machinery.ModuleSpec(name, Loader()) if name == "wv_slots" else None

    told: list[Any] = []
    watcher = Watcher({"wv_slots"}, told.append)
    monkeypatch.setattr(sys, "meta_path", [object(), Finder, *sys.meta_path])
    watcher.install()
    watcher.install()
    try:
        assert load("wv_slots").loaded
    finally:
        watcher.uninstall()
        watcher.uninstall()
        sys.modules.pop("wv_slots", None)
    assert told == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_keeps_the_weaving(write: Write, weaver: Weaver) -> None:
    write(wv_utils=FETCH, wv_later=FETCH)
    weaver.weave([host(point(), point("wv_later"))])
    module = load("wv_utils")
    child = os.fork()
    if child == 0:
        woven = "advised by integrator: got u"
        os._exit(0 if module.fetch("u") == woven and load("wv_later").fetch("u") == woven else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_sentence_of_a_standing() -> None:
    assert Standing("mine", "a:b", "off", "it is gone").problem == "a:b of mine runs without recovery: it is gone."
    assert Standing("mine", "a:b", "waiting", "another").problem == ""
    assert Standing("mine", "a:b", "live").problem == ""


def test_what_is_logged_while_weaving_is_a_warning(
    write: Write, weaver: Weaver, caplog: pytest.LogCaptureFixture
) -> None:
    write(wv_utils="")
    weaver.weave([host(point())])
    load("wv_utils")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
