"""Flask apps: views are woven when the app is about to serve, wherever they are defined, and so are the pages."""

from __future__ import annotations

import importlib.util
import runpy
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.joinpoints import Call, Host, JoinPoint
from launcher_recovery.weave.fingerprints import fingerprint_of
from launcher_recovery.weave.views import Apps
from launcher_recovery.weave.weaver import FLASK_APP, Weaver
from tests.woven import advised, load

flask_app = pytest.importorskip("flask.app")

Write = Callable[..., None]
SERVER = """
from flask import Flask

app = Flask(__name__)

@app.route("/d/<id>")
@app.route("/also/<id>")
def delete(id):
    return f"deleted {id}"

@app.route("/")
def index():
    return "<!doctype html><body>the page</body>"
"""
KNOWN = fingerprint_of(SERVER, "delete")
DELETED = "advised by integrator: deleted 5"


def view(**more: Any) -> JoinPoint:
    return JoinPoint("wv_app", "delete", "delete", view=True, **{"fingerprints": (KNOWN,), **more})


def host(*points: JoinPoint, name: str = "mine", **more: Any) -> Host:
    return Host(name, points, **{"neighbours": ("wv_server.py",), **more})


def get(app: Any, path: str = "/d/5") -> str:
    return str(app.test_client().get(path).get_data(as_text=True))


def states(weaver: Weaver) -> list[tuple[str, str]]:
    return [(standing.state, standing.reason) for standing in weaver.standings]


def as_program(folder: Path) -> Any:
    """The app of the program, which was run as `python wv_app.py` does."""
    return runpy.run_path(str(folder / "wv_app.py"), run_name="__main__")["app"]


# -- views ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_program", [False, True])
def test_a_view_is_woven_before_the_first_request(write: Write, weaver: Weaver, folder: Path, is_program: bool) -> None:
    """Also that of the program itself, of which no import tells."""
    write(wv_app=SERVER)
    weaver.weave([host(view())])
    app = as_program(folder) if is_program else load("wv_app").app
    assert states(weaver) == [("waiting", "")]
    assert get(app) == get(app, "/also/5") == DELETED
    assert get(app, "/").startswith("<!doctype html>")
    assert states(weaver) == [("live", "")]


def test_it_is_woven_before_it_serves_by_itself(write: Write, weaver: Weaver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `run` is otherwise as it was."""
    write(wv_app=SERVER)
    weaver.weave([host(view())])
    app = load("wv_app").app
    ran: list[Any] = []

    def run_simple(name: str, port: int, served: Any, **options: Any) -> None:
        ran.append((name, port, served, states(weaver)))

    monkeypatch.setattr("werkzeug.serving.run_simple", run_simple)
    app.run(host="127.0.0.1", port=4000, debug=False)
    assert ran == [("127.0.0.1", 4000, app, [("live", "")])]


def test_a_call_as_its_advice_gets_it(write: Write, weaver: Weaver) -> None:
    calls: list[Call] = []
    write(wv_app=SERVER)
    weaver.weave([host(view(advice=lambda call: calls.append(call) or f"{call.proceed()}, told"))])
    app = load("wv_app").app
    assert get(app) == "deleted 5, told"
    (call,) = calls
    assert (call.point.name, call.arguments, call.integrator) == ("wv_app:delete", {"id": "5"}, "integrator")


def test_undone_it_is_as_it_was(write: Write, weaver: Weaver) -> None:
    write(wv_app=SERVER)
    before = {name: vars(flask_app.Flask)[name] for name in ("run", "__call__")}
    weaver.weave([host(view())])
    app = load("wv_app").app
    original = app.view_functions["delete"]
    assert get(app) == DELETED
    weaver.unweave()
    assert app.view_functions["delete"] is original
    assert get(app) == "deleted 5"
    assert {name: vars(flask_app.Flask)[name] for name in before} == before
    assert weaver.standings == ()


def test_who_has_replaced_it_by_then_is_left_there(write: Write, weaver: Weaver) -> None:
    write(wv_app=SERVER)
    weaver.weave([host(view())])
    app = load("wv_app").app
    get(app)
    mine = app.view_functions["delete"] = lambda id: "mine"
    weaver.unweave()
    assert app.view_functions["delete"] is mine


def test_a_decorated_view_is_judged_by_the_function_itself(write: Write, weaver: Weaver) -> None:
    source = SERVER.replace('@app.route("/also/<id>")', "@wv_decorator.loud")
    write(
        wv_decorator="import functools\ndef loud(f):\n"
        "    @functools.wraps(f)\n    def louder(*a, **k): return f(*a, **k) + '!'\n    return louder\n",
        wv_app="import wv_decorator\n" + source,
    )
    weaver.weave([host(view(fingerprints=(fingerprint_of(source, "delete"),)))])
    assert get(load("wv_app").app) == f"{DELETED}!"


def test_an_unknown_shape_is_left_alone(write: Write, weaver: Weaver) -> None:
    write(wv_app=SERVER.replace("deleted", "removed"))
    weaver.weave([host(view())])
    assert get(load("wv_app").app) == "removed 5"
    ((state, reason),) = states(weaver)
    assert (state, "its shape in" in reason) == ("off", True)


def test_one_of_unknown_code_may_be_told_and_woven_all_the_same(write: Write, weaver: Weaver) -> None:
    write(wv_app=SERVER.replace("deleted", "removed"))
    weaver.weave([host(view(tolerant=True))])
    assert get(load("wv_app").app) == "advised by integrator: removed 5"
    ((state, reason),) = states(weaver)
    assert (state, reason.endswith("is of an unknown version")) == ("live", True)


def test_an_app_without_the_view_says_so(write: Write, weaver: Weaver, folder: Path) -> None:
    write(wv_app=SERVER.replace("def delete", "def remove"))
    weaver.weave([host(view())])
    assert get(load("wv_app").app) == "deleted 5"
    assert states(weaver) == [("off", f"the app in {folder} has no such view")]


@pytest.mark.parametrize(
    "other",
    [
        host(view(), neighbours=("wv_elsewhere.py",)),
        host(view(), neighbours=()),
        host(JoinPoint("wv_other", "delete", "delete", view=True, tolerant=True, neighbours=("wv_elsewhere.py",))),
    ],
)
def test_apps_of_others_are_left_alone(write: Write, weaver: Weaver, other: Host) -> None:
    write(wv_app=SERVER if other.neighbours else SERVER.replace("def delete", "def remove"))
    weaver.weave([other])
    assert get(load("wv_app").app) == "deleted 5"
    assert states(weaver) == [("waiting", "")]


def test_a_view_of_two_hosts_is_that_of_the_first(write: Write, weaver: Weaver) -> None:
    write(wv_app=SERVER)
    weaver.weave([host(view()), host(view(), name="other")])
    assert get(load("wv_app").app) == DELETED
    assert states(weaver) == [("live", ""), ("off", "another host has woven it already")]


def test_a_second_app_without_the_view_changes_nothing(write: Write, weaver: Weaver) -> None:
    write(wv_app=SERVER, wv_second=SERVER.replace("def delete", "def remove"))
    weaver.weave([host(view())])
    assert get(load("wv_app").app) == DELETED
    assert get(load("wv_second").app) == "deleted 5"
    assert states(weaver) == [("live", "")]


def test_what_fails_turns_the_join_point_off(write: Write, weaver: Weaver, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("not today")

    write(wv_app=SERVER)
    weaver.weave([host(view())])
    monkeypatch.setattr("launcher_recovery.weave.views.judged", fail)
    assert get(load("wv_app").app) == "deleted 5"
    assert states(weaver) == [("off", "weaving it failed with RuntimeError: not today")]


def test_a_flask_of_another_shape_is_left_alone(
    weaver: Weaver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, FLASK_APP, types.ModuleType(FLASK_APP))
    weaver.weave([host(view())])
    assert "apps of Flask are not woven: NotThere: it has no class Flask" in caplog.messages


def test_a_call_by_the_class_goes_through(write: Write, weaver: Weaver) -> None:
    """Of such a one it is not known whose it is; the app is woven when it is called itself."""
    write(wv_app=SERVER)
    weaver.weave([host(view())])
    app = load("wv_app").app
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "h", "SERVER_PORT": "80"}
    environ.update({"wsgi.url_scheme": "http", "wsgi.input": None, "wsgi.errors": sys.stderr})  # type: ignore[dict-item]
    said: list[str] = []
    assert b"".join(type(app).__call__(app, environ, lambda status, headers: said.append(status)))
    assert said == ["200 OK"]
    assert get(app) == DELETED


def test_declarations_that_cannot_be() -> None:
    with pytest.raises(RecoveryConfigError, match="can be a task or a view, not both"):
        view(task=True)
    with pytest.raises(RecoveryConfigError, match="the host mine needs neighbours, by which its app is known"):
        host(pages=True, neighbours=())


# -- pages ----------------------------------------------------------------------------------------------


@pytest.fixture
def made() -> Iterator[RecoveryIntegrator]:
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False))
    integrator.load()
    yield integrator
    integrator.stop()


@pytest.fixture
def pages(made: RecoveryIntegrator) -> Iterator[Weaver]:
    weaver = Weaver(lambda: made, advised)
    weaver.weave([host(pages=True)])
    yield weaver
    weaver.unweave()


def test_the_app_of_the_host_serves_the_pages_and_its_own_have_the_bar(
    write: Write, pages: Weaver, made: RecoveryIntegrator
) -> None:
    write(wv_app=SERVER)
    app = load("wv_app").app
    client = app.test_client()
    assert b'<script type="module" src="/recovery/banner.js"></script></body>' in client.get("/").data
    for path in ("/recovery/", "/recovery/banner.js", "/api/recovery/status"):
        with client.get(path) as answer:
            assert answer.status_code == 200
            assert b"</body><script" not in answer.data
    assert client.get("/socket.io/?EIO=4&transport=polling").status_code == 200
    assert client.get("/socket.io/?EIO=4&transport=polling", headers={"Host": "evil.example"}).status_code == 403
    assert [(found.point, found.state, found.reason) for found in pages.standings] == [("/recovery/", "live", "")]
    assert app.extensions["launcher_recovery"] is made


def test_an_app_elsewhere_gets_none(write: Write, pages: Weaver, tmp_path: Path) -> None:
    app = flask_app.Flask("other", root_path=str(tmp_path))
    app.add_url_rule("/", view_func=lambda: "<!doctype html>", endpoint="index")
    assert get(app, "/") == "<!doctype html>"
    assert app.test_client().get("/recovery/").status_code == 404
    assert states(pages) == [("waiting", "")]


def test_a_socketio_of_the_host_is_used(write: Write, pages: Weaver) -> None:
    from flask_socketio import SocketIO

    write(wv_app=SERVER)
    app = load("wv_app").app
    own = SocketIO(app, async_mode="threading")
    assert get(app, "/api/recovery/health").startswith("{")
    assert own.handlers == []  # they are given to its server at once
    assert "subscribe_recovery" in own.server.handlers["/"]


def test_two_hosts_with_one_app_have_the_pages_once(write: Write, pages: Weaver) -> None:
    write(wv_app=SERVER)
    pages.weave([host(name="other", pages=True)])
    assert get(load("wv_app").app, "/").count("banner.js") == 1
    assert states(pages) == [("live", ""), ("live", "")]


def test_requests_that_come_at_once_wait_until_it_is_attached(
    write: Write, pages: Weaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app would refuse to be changed after the first."""
    begun, may_end = threading.Event(), threading.Event()
    attach = Apps._attach_pages

    def slowly(*args: Any) -> None:
        begun.set()
        may_end.wait(30)
        attach(*args)

    monkeypatch.setattr(Apps, "_attach_pages", slowly)
    write(wv_app=SERVER)
    app = load("wv_app").app
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(get(app, "/"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    may_end.set()
    for thread in threads:
        thread.join(30)
    assert ["banner.js" in answer for answer in answers] == [True] * 3


def test_without_flask_socketio_the_pages_are_there_and_it_is_told(
    write: Write, pages: Weaver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if "socketio" in name else find(name, *more)
    )
    write(wv_app=SERVER)
    app = load("wv_app").app
    assert "banner.js" in get(app, "/")
    assert app.test_client().get("/socket.io/?EIO=4&transport=polling").status_code == 404
    told = "there are no live events without Flask-SocketIO: pip install 'launcher-recovery[web]'"
    assert states(pages) == [("live", told)]
    assert f"/recovery/ of mine: {told}." in caplog.messages


def test_an_app_that_was_woven_too_late_says_so(
    write: Write, made: RecoveryIntegrator, weaver: Weaver, caplog: pytest.LogCaptureFixture
) -> None:
    write(wv_app=SERVER)
    app = load("wv_app").app
    assert get(app) == "deleted 5"
    late = Weaver(lambda: made, advised)
    late.weave([host(pages=True)])
    try:
        assert "banner.js" not in get(app, "/")
        assert "/recovery/ of mine is not there: its app has handled requests before it was woven." in caplog.messages
    finally:
        late.unweave()


def test_pages_that_cannot_be_attached_leave_the_app_as_it_was(
    write: Write, made: RecoveryIntegrator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(app: Any, integrator: Any) -> str:
        app.wsgi_app = None
        raise OSError("no disk")

    monkeypatch.setattr("launcher_recovery.web.attaching.attach", fail)
    write(wv_app=SERVER)
    weaver = Weaver(lambda: made, advised)
    weaver.weave([host(view(), pages=True)])
    try:
        assert get(load("wv_app").app) == f"advised by {made}: deleted 5"
        assert [state for state, _ in states(weaver)] == ["live", "off"]
        assert "/recovery/ of mine is not there: weaving it failed with OSError: no disk." in caplog.messages
    finally:
        weaver.unweave()


def test_flask_is_not_looked_at_for_hosts_without_views_and_pages(weaver: Weaver) -> None:
    before = vars(flask_app.Flask)["run"]
    weaver.weave([host(JoinPoint("wv_utils", "fetch", "download", tolerant=True))])
    assert vars(flask_app.Flask)["run"] is before
