"""The recovery plugin stands around a launcher's handlers, and other plugins do not notice."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy
import pytest
from flask import Flask
from flask_socketio import SocketIO

from launcher_recovery import integration, plugin
from launcher_recovery.errors import NoHandlerError, RefusedError, StoreError
from launcher_recovery.hookspecs import hookimpl as extensionimpl
from launcher_recovery.kinds import OperationKind
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.manager import Extensions
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.base import Change, Changed
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.persistence.outbox import OutboxTail
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.records import FINAL, RecoveryData
from sample_launcher import hookspecs
from sample_launcher.hookspecs import hookimpl
from sample_launcher.hub import Drop, Hub
from tests.faults import first_of
from tests.support import Host, recovery_threads, wait_for


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ENABLED", "MODE", "CONFIG", "MAX_RETRIES"):
        monkeypatch.delenv(f"RECOVERY_{name}", raising=False)
    # A tail looks this often whether it was stopped.
    monkeypatch.setattr("launcher_recovery.persistence.outbox._WAIT_S", 0.005)
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "state" / "recovery.db"))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Makes hosts; each is detached at the end."""
    hosts: list[Host] = []

    def host(*plugins: object, attach: bool = True, **settings: Any) -> Host:
        made = Host(tmp_path, **settings)
        hosts.append(made)
        for item in plugins:
            made.manager.register(item)
        if attach:
            made.attach()
        return made

    yield host
    for made in hosts:
        made.detach()


class Wrapper:
    """What a third party that stands around the hooks sees."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[object] = []

    def see(self, outcome: pluggy.Result[Any]) -> None:
        self.ended.append(outcome.exception or outcome.get_result())


class OldWrapper(Wrapper):
    """In pluggy's old style."""

    @hookimpl(hookwrapper=True)
    def launcher_download(self) -> Iterator[None]:
        self.begun += 1
        self.see((yield))

    @hookimpl(hookwrapper=True)
    def launcher_validate_workflow(self) -> Iterator[None]:
        self.begun += 1
        self.see((yield))


class NewWrapper(Wrapper):
    """In pluggy's new style, under names of its own."""

    def around(self) -> Iterator[None]:
        self.begun += 1
        try:
            result = yield
        except Exception as error:
            self.ended.append(error)
            raise
        self.ended.append(result)
        return result

    @hookimpl(wrapper=True, tryfirst=True, specname="launcher_download")
    def around_download(self) -> Iterator[None]:
        return (yield from self.around())

    @hookimpl(wrapper=True, specname="launcher_validate_workflow")
    def around_validate(self) -> Iterator[None]:
        return (yield from self.around())


class Handler:
    """Answers after some failures, and remembers in which operation and attempt it was called."""

    def __init__(self, failures: int = 0, answer: Any = "handled") -> None:
        self.failures = failures
        self.answer = answer
        self.calls: list[int | None] = []

    def call(self) -> Any:
        operation = current_operation()
        self.calls.append(None if operation is None else operation.attempt)
        if len(self.calls) <= self.failures:
            self.raised = ConnectionResetError("the line broke")
            raise self.raised
        return self.answer


class ThirdParty(Handler):
    """A plugin that takes hooks over."""

    @hookimpl
    def launcher_download(self) -> Any:
        return self.call()

    @hookimpl
    def launcher_validate_workflow(self) -> Any:
        return self.call()


class Native(Handler):
    """The launcher's own handlers."""

    @hookimpl(trylast=True)
    def launcher_download(self, url: str, destination: str) -> Any:
        return self.call()

    @hookimpl(trylast=True)
    def launcher_install_node(self) -> Any:
        return self.call()

    @hookimpl(trylast=True)
    def launcher_validate_workflow(self, workflow: Any) -> Any:
        return self.call()


def in_every_order(make: Callable[..., Host], *kinds: Callable[[], object]) -> Iterator[tuple[Host, list[Any]]]:
    """Hosts with new plugins of these kinds, the recovery plugin attached before, between and after them."""
    for order in itertools.permutations(range(len(kinds) + 1)):
        host = make(attach=False)
        plugins = [kind() for kind in kinds]
        for index in order:
            if index == len(kinds):
                host.attach()
            else:
                host.manager.register(plugins[index])
        yield host, plugins
        host.detach()


def test_wrappers_see_one_call_and_one_result_while_a_third_partys_handler_is_called_for_each_attempt(
    make: Callable[..., Host],
) -> None:
    for host, (old, new, third, native) in in_every_order(
        make, OldWrapper, NewWrapper, lambda: ThirdParty(failures=2), Native
    ):
        assert host.download() == "handled"
        assert (old.begun, old.ended, new.begun, new.ended) == (1, ["handled"], 1, ["handled"])
        assert (third.calls, native.calls) == ([1, 2, 3], [])
        (operation,) = host.operations()
        assert (operation.state, operation.attempt, operation.result) == ("success", 3, "handled")


def test_wrappers_see_one_error_which_is_the_handlers_own(make: Callable[..., Host]) -> None:
    for host, (old, new, native) in in_every_order(make, OldWrapper, NewWrapper, lambda: Native(failures=99)):
        with pytest.raises(ConnectionResetError) as raised:
            host.validate()
        assert raised.value is native.raised
        assert (old.begun, old.ended, new.begun, new.ended) == (1, [native.raised], 1, [native.raised])
        assert native.calls == [1, 2, 3]
        assert [item.state for item in host.operations()] == ["exhausted"]


def test_the_launchers_own_handler_is_used_when_a_kind_has_none_and_no_other_plugin_answers(
    make: Callable[..., Host],
) -> None:
    for host, (third, native) in in_every_order(
        make, lambda: ThirdParty(answer=None), lambda: Native(failures=1, answer={"valid": True})
    ):
        assert host.validate() == {"valid": True}
        assert (third.calls, native.calls) == ([1, 2], [1, 2])


def test_the_resumable_handler_goes_before_the_launchers_own_and_after_a_third_partys(
    make: Callable[..., Host], hub: Hub
) -> None:
    for number, (host, (third, native)) in enumerate(in_every_order(make, ThirdParty, Native)):
        name = f"{number}.pt"
        url = hub.add_model(name, 300_000, [Drop(after=100_000)])
        assert host.download(name, url) == "handled"
        assert hub.stats(name)["requests"] == []
        third.answer = None
        assert host.download(name, url) == str(host.folder / name)
        assert (host.folder / name).read_bytes() == hub.content(name)
        assert [first_of(one["range"]) for one in hub.stats(name)["requests"]] == [0, 100_000]
        assert (third.calls, native.calls) == ([1, 1, 2], [])


@pytest.mark.parametrize("plugins", [(), (Native(answer=None),), (ThirdParty(answer=None), OldWrapper())])
def test_when_nobody_answers_the_error_says_so_once(make: Callable[..., Host], plugins: Sequence[object]) -> None:
    host = make(*plugins)
    with pytest.raises(NoHandlerError, match="no plugin of the launcher handled launcher_validate_workflow"):
        host.validate()
    assert [(item.state, item.attempt, item.category) for item in host.operations()] == [("failed", 1, "validation")]


class WrapsAndHandles(Handler):
    """Does both for one hook, which pluggy cannot take apart."""

    @hookimpl(wrapper=True)
    def launcher_validate_workflow(self) -> Iterator[None]:
        return (yield)

    @hookimpl(specname="launcher_validate_workflow")
    def handle(self) -> Any:
        return self.call()


class Unhashable(Handler):
    """Cannot be a member of the set that pluggy makes of plugins."""

    def __eq__(self, other: object) -> bool:
        return self is other

    @hookimpl
    def launcher_validate_workflow(self) -> Any:
        return self.call()


@pytest.mark.parametrize(
    ("kind", "words"),
    [(WrapsAndHandles, "both wraps and handles launcher_validate_workflow"), (Unhashable, "is not hashable")],
)
def test_a_plugin_that_cannot_be_taken_apart_is_named_at_start_up_and_its_hook_runs_as_it_is(
    make: Callable[..., Host], kind: type[Handler], words: str
) -> None:
    for order in itertools.permutations(range(3)):
        host = make(attach=False)
        odd, native = kind(), Native()
        for index in order:
            if index == 2:
                host.attach()
            else:
                host.manager.register((odd, native)[index], ("odd-plugin", "native")[index])
        assert host.validate() == "handled"
        assert (odd.calls, native.calls, host.operations()) == ([None], [], [])
        odd.failures = 2
        with pytest.raises(ConnectionResetError):
            host.validate()
        assert len(odd.calls) == 2
        # Its other hooks are recovered all the same.
        native.answer = None
        host.manager.register(ThirdParty(failures=1))
        assert host.download() == "handled"
        assert [item.kind for item in host.operations()] == ["download"]
        problems = [problem["message"] for problem in host.integrator.status()["problems"]]
        if order.index(0) < order.index(2):
            assert len(problems) == 1
            assert "odd-plugin" in problems[0]
            assert words in problems[0]


class Project(Handler):
    """Creates a project by calling another hook, as launchers do."""

    def __init__(self, part: Callable[[], Any], failures: int = 0) -> None:
        super().__init__(failures, {"state": "ready"})
        self.part = part

    @hookimpl(trylast=True)
    def launcher_create_project(self) -> Any:
        try:
            self.part()
        except ConnectionError as error:
            self.calls.append(-1)
            raise RuntimeError("the project could not be made") from error
        return self.call()


def test_what_an_inner_operation_gave_up_is_not_retried_by_the_one_around_it(make: Callable[..., Host]) -> None:
    native = Native(failures=99)
    host = make(native)
    project = Project(host.validate)
    host.manager.register(project)
    with pytest.raises(RuntimeError, match="could not be made"):
        host.create()
    assert (native.calls, project.calls) == ([1, 2, 3], [-1])
    outer, inner = host.operations()
    assert (outer.kind, outer.state, outer.attempt) == ("create_project", "failed", 1)
    assert (inner.state, inner.parent_id) == ("exhausted", outer.operation_id)


def test_an_inner_success_is_kept_when_the_one_around_it_runs_again(make: Callable[..., Host]) -> None:
    native = Native(answer={"valid": True})
    host = make(native)
    results: list[Any] = []
    project = Project(lambda: results.append(host.validate()), failures=2)
    host.manager.register(project)
    assert host.create() == {"state": "ready"}
    assert (native.calls, project.calls) == ([1], [1, 2, 3])
    assert results == [{"valid": True}] * 3
    assert len(host.operations("validate_workflow")) == 1
    # Outside, and inside another project, it is a call like any other.
    host.validate()
    host.create("other")
    assert native.calls == [1, 1, 1]


def test_an_inner_success_is_found_by_a_key_that_holds_a_secret(make: Callable[..., Host]) -> None:
    """A signed address is part of the key, and is not written down."""
    native = Native(answer={"valid": True})
    host = make(native)
    kind = host.plugin._kinds["launcher_validate_workflow"]
    host.plugin._kinds["launcher_validate_workflow"] = replace(kind, key=lambda given: "https://h/w?sig=SECRET")
    host.manager.register(Project(host.validate, failures=2))
    assert host.create() == {"state": "ready"}
    assert native.calls == [1]
    (inner,) = host.operations("validate_workflow")
    assert inner.key is not None
    assert "SECRET" not in inner.key


def test_an_inner_success_whose_file_is_gone_is_not_kept(make: Callable[..., Host], hub: Hub) -> None:
    url = hub.add_model("m.pt", 1000)
    host = make()
    destination = host.folder / "m.pt"
    seen: list[int] = []

    def part() -> None:
        host.download(url=url)
        seen.append(len(hub.stats("m.pt")["requests"]))
        if len(seen) == 2:
            destination.unlink()

    host.manager.register(Project(part, failures=2))
    host.create()
    assert seen == [1, 1, 2]
    assert destination.read_bytes() == hub.content("m.pt")


# -- switches -----------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Flask:
    return Flask("host")


def start(app: Flask, manager: pluggy.PluginManager | None = None) -> pluggy.PluginManager:
    """What a launcher does with the installed plugin before it serves."""
    if manager is None:
        manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        manager.add_hookspecs(hookspecs)
        manager.register(Native())
    manager.register(plugin)
    socketio = SocketIO(app, async_mode="threading")
    manager.hook.launcher_startup(app=app, socketio=socketio, plugin_manager=manager)
    return manager


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., pluggy.PluginManager]]:
    """Starts the plugin in an app; what it attached is detached at the end."""
    managers: list[pluggy.PluginManager] = []

    def make(app: Flask, **settings: Any) -> pluggy.PluginManager:
        app.config.update({f"RECOVERY_{name.upper()}": value for name, value in settings.items()})
        managers.append(start(app))
        return managers[-1]

    yield make
    for manager in managers:
        attached = manager.get_plugin(plugin.NAME)
        if attached is not None:
            attached.detach()
    integration.set_recovery_integrator(None)


@pytest.mark.parametrize("settings", [{}, {"enabled": "false"}, {"enabled": False, "mode": "recover"}])
def test_off_nothing_is_made_and_the_launchers_handler_runs_once(
    app: Flask, started: Callable[..., pluggy.PluginManager], tmp_path: Path, settings: dict[str, Any]
) -> None:
    routes = [str(rule) for rule in app.url_map.iter_rules()]
    manager = started(app, **settings)
    assert [str(rule) for rule in app.url_map.iter_rules()] == routes
    assert manager.get_plugin(plugin.NAME) is None
    assert "launcher_recovery" not in app.extensions
    assert (recovery_threads(), list(tmp_path.iterdir())) == ([], [])
    (native,) = [item for item in manager.get_plugins() if isinstance(item, Native)]
    native.failures = 1
    arguments = {"models_folder": "", "nodes_folder": "", "project_id": None}
    with pytest.raises(ConnectionResetError):
        manager.hook.launcher_validate_workflow(workflow={}, **arguments)
    assert native.calls == [None]


def test_on_the_app_gets_the_pages_and_the_process_its_integrator(
    app: Flask, started: Callable[..., pluggy.PluginManager], tmp_path: Path
) -> None:
    manager = started(app, enabled=True)
    attached = manager.get_plugin(plugin.NAME)
    assert app.extensions["launcher_recovery"] is attached.integrator
    assert integration.get_recovery_integrator() is attached.integrator
    assert app.test_client().get("/api/recovery/status").json["recovery"]["enabled"] is True
    assert (tmp_path / "state" / "recovery.db").is_file()
    attached.detach()
    attached.detach()
    assert manager.get_plugin(plugin.NAME) is None
    assert recovery_threads() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_retries": "many"}, "app.config[\"RECOVERY_MAX_RETRIES\"]='many' is not usable"),
        ({"mode_download": "maybe"}, "off, observe or recover"),
        ({"config": "/no/such/file.toml"}, "RECOVERY_CONFIG='/no/such/file.toml' cannot be read"),
    ],
)
def test_a_bad_setting_is_told_in_one_sentence_and_the_launcher_is_left_alone(
    app: Flask,
    started: Callable[..., pluggy.PluginManager],
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    words: str,
) -> None:
    routes = len(list(app.url_map.iter_rules()))
    manager = started(app, enabled=True, **settings)
    (record,) = [item for item in caplog.records if item.name == "launcher_recovery"]
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)
    assert words in record.getMessage()
    assert "\n" not in record.getMessage()
    assert manager.get_plugin(plugin.NAME) is None
    assert (len(list(app.url_map.iter_rules())), recovery_threads()) == (routes, [])


def test_recovery_that_cannot_be_attached_leaves_the_launcher_as_it_was(
    app: Flask, started: Callable[..., pluggy.PluginManager], caplog: pytest.LogCaptureFixture
) -> None:
    app.test_client().get("/")  # from now on Flask takes no further routes
    manager = started(app, enabled=True)
    assert "recovery is off, because it could not be started" in caplog.text
    assert manager.get_plugin(plugin.NAME) is None
    assert recovery_threads() == []
    arguments = {"models_folder": "", "nodes_folder": "", "project_id": None}
    assert manager.hook.launcher_validate_workflow(workflow={}, **arguments) == "handled"


def test_what_was_attached_before_something_failed_is_detached(
    app: Flask,
    started: Callable[..., pluggy.PluginManager],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(tail: OutboxTail) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(OutboxTail, "start", full)
    manager = started(app, enabled=True)
    assert "recovery is off, because it could not be started" in caplog.text
    assert manager.get_plugin(plugin.NAME) is manager.get_plugin(plugin.OBSERVER_NAME) is None
    assert recovery_threads() == []


def test_an_extension_that_stops_recovery_leaves_no_routes(
    app: Flask, started: Callable[..., pluggy.PluginManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where recovery could not be loaded the app has no page that says so with an error."""

    def broken(extensions: Extensions) -> None:
        raise ValueError("two kinds have the same name")

    monkeypatch.setattr(Extensions, "operations", broken)
    routes = [str(rule) for rule in app.url_map.iter_rules()]
    manager = started(app, enabled=True)
    assert [str(rule) for rule in app.url_map.iter_rules()] == routes
    assert manager.get_plugin(plugin.NAME) is None
    assert recovery_threads() == []


def test_mode_off_leaves_a_call_to_the_launcher(make: Callable[..., Host]) -> None:
    native = Native(failures=1)
    host = make(native, mode="off")
    with pytest.raises(ConnectionResetError):
        host.validate({1: "no text", "b": "as key"})
    assert host.download(destination="with a \0 in it") == "handled"
    assert (native.calls, host.operations()) == ([None, None], [])


def test_a_kind_has_a_mode_of_its_own(make: Callable[..., Host]) -> None:
    native = Native(failures=1)
    host = make(native, mode="off", modes={"validate_workflow": "recover", "install_node": "observe"})
    assert host.validate() == "handled"
    assert host.download() == "handled"
    assert host.install() == "handled"
    assert native.calls == [1, 2, None, 1]
    kinds = {item.kind: item.metadata.get("observed", False) for item in host.operations()}
    assert kinds == {"validate_workflow": False, "install_node": True}


@pytest.mark.parametrize("share", [0, 30, 100])
def test_a_percentage_of_calls_is_recovered_and_always_the_same_ones(make: Callable[..., Host], share: int) -> None:
    chosen: list[set[str]] = []
    for _ in range(2):
        host = make(ThirdParty(), rollout={"download": share, "*": 0})
        for number in range(100):
            host.download(f"{number}.pt")
            host.validate({"1": number})
        assert host.operations("validate_workflow") == []
        chosen.append({item.title for item in host.operations()})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == share or (share == 30 and 15 < len(chosen[0]) < 45)
    host = make(ThirdParty(), rollout={"download": min(share * 2, 100)})
    for number in range(100):
        host.download(f"{number}.pt")
    assert chosen[0] <= {item.title for item in host.operations()}


# -- observing ----------------------------------------------------------------------------------------


def test_observing_calls_the_launcher_once_and_records_what_would_have_been_done(make: Callable[..., Host]) -> None:
    native = Native(failures=1)
    host = make(native, mode="observe", allowed_roots=("/nowhere",))
    with pytest.raises(ConnectionResetError) as raised:
        host.download()
    assert raised.value is native.raised
    assert native.calls == [1]
    assert host.download() == "handled"
    assert native.calls == [1, 1]
    failed, good = host.operations()
    assert (failed.state, failed.category, failed.attempt) == ("failed", "network", 1)
    assert failed.metadata["would"].startswith("yes: The connection to ")
    assert (good.state, good.metadata) == ("success", {"observed": True})


def test_observing_calls_handlers_that_do_not_answer_once_as_well(make: Callable[..., Host]) -> None:
    """Each is called once, the answer is none as without recovery, and code of handlers has its operation."""
    seen: list[bool] = []

    class Silent(Native):
        def call(self) -> Any:
            operation = current_operation()
            seen.append(operation is not None and operation.metadata["observed"])
            return None

    wrapper = NewWrapper()
    host = make(Silent(), wrapper, mode="observe")
    assert host.validate() is None
    assert seen == [True]
    assert wrapper.begun == 1
    (data,) = host.operations()
    assert (data.state, data.result, data.key) == ("success", None, None)
    assert not host.integrator.lifecycle.is_live(data.operation_id)


def test_what_was_observed_is_not_run_after_a_restart(make: Callable[..., Host]) -> None:
    """A process that ended in the middle of it leaves nothing that would be done once more."""
    native = Native()
    host = make(native, mode="observe", attach=False)
    gone = Lifecycle(host.store, owner_id="a process that is gone")
    draft = gone.draft("launcher_validate_workflow", (), {"workflow": {}}, kind="validate_workflow")
    draft.metadata["observed"] = True
    live = gone.start(draft)[1]
    assert live is not None
    gone.detach(live)
    host.attach()
    wait_for(lambda: [item.state for item in host.operations()] == ["failed"])
    assert native.calls == []
    assert host.operations()[0].explanation.startswith("Its process ended.")


@pytest.mark.parametrize("failures", [0, 1])
def test_observing_survives_that_a_person_cancels_what_is_observed(make: Callable[..., Host], failures: int) -> None:
    class Cancelled(Native):
        def call(self) -> Any:
            operation = current_operation()
            assert operation is not None
            host.integrator.cancel(operation.operation_id)
            return super().call()

    native = Cancelled(failures)
    host = make(native, mode="observe")
    if failures:
        with pytest.raises(ConnectionResetError):
            host.validate()
    else:
        assert host.validate() == "handled"
    assert native.calls == [1]
    assert [item.state for item in host.operations()] == ["cancelled"]


# -- a store that fails -------------------------------------------------------------------------------


class FailingStore(MemoryPersistence):
    """Fails from the first insert on, or from the first change on."""

    def __init__(self, failing: str) -> None:
        super().__init__()
        self.failing = failing

    def insert(self, data: Any) -> Changed | None:
        if self.failing == "insert":
            raise StoreError("The disk is full.")
        return super().insert(data)

    def change(self, operation_id: str, change: Change) -> Changed | None:
        if self.failing == "end" and not change.claim:
            raise StoreError("The disk is full.")
        return super().change(operation_id, change)


@pytest.mark.parametrize(("mode", "failing"), [("recover", "insert"), ("observe", "insert"), ("observe", "end")])
@pytest.mark.parametrize("failures", [0, 1])
def test_without_a_store_the_launchers_handler_runs_once_and_its_outcome_counts(
    make: Callable[..., Host], caplog: pytest.LogCaptureFixture, mode: str, failing: str, failures: int
) -> None:
    native = Native(failures)
    host = make(native, store=FailingStore(failing), mode=mode)
    if failures:
        with pytest.raises(ConnectionResetError):
            host.validate()
    else:
        assert host.validate() == "handled"
    assert len(native.calls) == 1
    assert "The disk is full." in caplog.text


# -- what is refused ----------------------------------------------------------------------------------

SHA = "a" * 64


def refused(host: Host, call: Callable[[], Any], words: str) -> None:
    """It is refused in one sentence, nothing has run, and nothing is there that was not before."""
    before = sorted(host.folder.rglob("*"))
    wrapper, native = OldWrapper(), Native()
    host.manager.register(wrapper)
    host.manager.register(native)
    with pytest.raises(RefusedError, match=words):
        call()
    assert (native.calls, host.operations(), sorted(host.folder.rglob("*"))) == ([], [], before)
    assert wrapper.begun == len(wrapper.ended) <= 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"url": "file:///etc/passwd"}, "file:///etc/passwd is not a web address"),
        ({"url": "ftp://h/x"}, "must begin with http:// or https://"),
        ({"url": "m.pt"}, "is not a web address"),
        ({"url": " "}, "is not a web address"),
        ({"url": "http://"}, "is not a web address"),
        ({"url": "http://[::1/x"}, "is not a web address"),
        ({"url": None}, "None is not a web address"),
        ({"url": "ftp://user:secret@h/x"}, "^ftp://h/x is not"),
        ({"sha256": "abc"}, "'abc' is not a SHA-256: it must have 64 hexadecimal digits"),
        ({"sha256": "g" * 64}, "is not a SHA-256"),
        ({"sha256": SHA + "\n"}, "is not a SHA-256"),
        ({"destination": ""}, "'' is not a file name"),
        ({"destination": "a\0b"}, "is not a file name"),
        ({"destination": "/elsewhere/m.pt"}, "/elsewhere/m.pt is outside the allowed folders"),
    ],
)
def test_a_download_that_is_not_safe_is_refused(make: Callable[..., Host], more: dict[str, Any], words: str) -> None:
    host = make(allowed_roots=("/another/root",))
    host.integrator.update_config({"allowed_roots": (str(host.folder),)})
    refused(host, lambda: host.download(**more), words)


def test_a_destination_is_confined_whatever_links_lead_out(make: Callable[..., Host], tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "file.pt").symlink_to(outside / "file.pt")
    for name in ("inside/link/m.pt", "inside/file.pt", "inside/../outside/m.pt", "inside/../inside", "inside2/m.pt"):
        for call in (Host.download, Host.install):
            host = make(allowed_roots=(str(inside),))
            refused(host, functools.partial(call, host, name), "outside the allowed folders: it must lie below")


def test_links_within_the_allowed_folders_are_fine(make: Callable[..., Host], tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "real" / "models").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    host = make(allowed_roots=(str(tmp_path / "root"),))
    host.download("root/models/m.pt", hub.add_model("m.pt", 10))
    assert (tmp_path / "real/models/m.pt").read_bytes() == hub.content("m.pt")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"url": "--upload-pack=touch x"}, "is not a repository address"),
        ({"url": "ext::sh -c touch"}, "is not a repository address"),
        ({"url": "http://[::1/x"}, "is not a repository address"),
        ({"ref": "--orphan"}, "'--orphan' is not a branch, tag or commit"),
        ({"ref": ""}, "'' is not a branch"),
        ({"destination": "/elsewhere/node"}, "outside the allowed folders"),
        ({"destination": "\0"}, "is not a file name"),
    ],
)
def test_an_install_that_is_not_safe_is_refused(make: Callable[..., Host], more: dict[str, Any], words: str) -> None:
    host = make(attach=False)
    host.integrator.update_config({"allowed_roots": (str(host.folder),)})
    host.attach()
    refused(host, lambda: host.install(**more), words)


def test_a_part_that_runs_again_by_itself_has_the_address_that_was_set_for_the_whole(make: Callable[..., Host]) -> None:
    host, url = make(), "http://127.0.0.1:9/m.pt"
    lifecycle = host.integrator.lifecycle
    whole = lifecycle.open("launcher_create_project", (), {}, kind="create_project", title="P")
    address = {"from": url, "to": "ftp://127.0.0.1/m.pt"}
    lifecycle.amend(whole.operation_id, {"fix_settings": {"addresses": [address]}})
    arguments = {"url": url, "destination": str(host.folder / "m.pt")}
    part = lifecycle.open(
        "launcher_download", (), arguments, kind="download", parent_id=whole.operation_id, title="m.pt"
    )
    host.plugin.rerun(part)
    (kept,) = host.operations("download")
    assert kept.explanation == "It is not allowed any more; the settings have changed since."


def test_a_workflow_that_is_no_json_is_checked_all_the_same(make: Callable[..., Host]) -> None:
    circle: dict[Any, Any] = {1: "mixed", "keys": {1}}
    circle["self"] = circle
    native = Native(failures=1)
    assert make(native).validate(circle) == "handled"
    assert native.calls == [1, 2]


# -- running again from the record --------------------------------------------------------------------


def interrupted(host: Host, kind: str, arguments: dict[str, Any]) -> str:
    """Leaves an operation as a process that was killed would."""
    gone = Lifecycle(host.store, owner_id="a process that is gone")
    data = gone.open(f"launcher_{kind}", (), arguments, kind=kind, key=f"{kind}:x", title="left")
    gone.begin_attempt(data.operation_id, 4)
    return data.operation_id


def settled(host: Host, operation_id: str) -> RecoveryData:
    def look() -> RecoveryData | None:
        data = host.store.get(operation_id)
        return data if data is not None and data.state in FINAL else None

    found = wait_for(look)
    assert found is not None
    return found


FOLDERS = {"models_folder": "m", "nodes_folder": "n", "project_id": "p"}


def test_what_a_dead_process_left_is_run_again_with_what_it_was_called_with(make: Callable[..., Host]) -> None:
    seen: list[dict[str, Any]] = []

    class Seeing:
        @hookimpl
        def launcher_validate_workflow(self, workflow: Any, models_folder: str, project_id: str) -> str:
            seen.append({"workflow": workflow, "models_folder": models_folder, "project_id": project_id})
            return "checked"

    host = make(Seeing(), attach=False)
    operation_id = interrupted(host, "validate_workflow", {"workflow": {"1": [2]}, **FOLDERS})
    host.attach()
    data = settled(host, operation_id)
    assert (data.state, data.attempt, data.result) == ("success", 2, "checked")
    assert seen == [{"workflow": {"1": [2]}, "models_folder": "m", "project_id": "p"}]
    assert [item.outcome for item in host.store.attempts(operation_id)] == ["interrupted", "success"]


@pytest.mark.parametrize(
    ("arguments", "error", "explanation", "fix"),
    [
        (
            {"url": "http://127.0.0.1:9/m.pt?token=secret", "destination": "m.pt"},
            "what it was called with was not kept",
            "never stored. Start it again",
            "update_url",
        ),
        (
            {"url": "http://127.0.0.1:9/m.pt", "destination": "/elsewhere/m.pt"},
            "/elsewhere/m.pt is outside the allowed folders",
            "not allowed any more",
            None,
        ),
    ],
)
def test_what_cannot_be_run_again_ends_with_the_reason(
    make: Callable[..., Host],
    tmp_path: Path,
    arguments: dict[str, Any],
    error: str,
    explanation: str,
    fix: str | None,
) -> None:
    native = Native()
    host = make(native, attach=False, allowed_roots=(str(tmp_path),))
    operation_id = interrupted(host, "download", {"sha256": None, "size": None, "project_id": None, **arguments})
    host.attach()
    data = settled(host, operation_id)
    assert (data.state, data.category, data.fix) == ("failed", "validation", fix)
    assert error in str(data.error)
    assert explanation in (data.explanation or "")
    assert native.calls == []


def test_a_kind_of_an_extension_for_a_hook_that_the_launcher_has_not_is_left_alone(make: Callable[..., Host]) -> None:
    class Other:
        @extensionimpl
        def recovery_operations(self) -> list[OperationKind]:
            return [OperationKind("other", "launcher_other", key=str, title=str)]

    native = Native(failures=1)
    host = make(native, attach=False)
    host.integrator.extensions.register(Other(), "other")
    host.attach()
    assert host.validate() == "handled"
    assert host.integrator.problems == []


def test_without_an_extension_for_a_hook_the_launchers_handler_runs_once(make: Callable[..., Host]) -> None:
    native = Native()
    host = make(native, disabled_extensions=("http",))
    assert host.download() == "handled"
    assert (native.calls, host.operations()) == ([None], [])


def test_the_state_is_kept_in_a_real_file(make: Callable[..., Host], tmp_path: Path) -> None:
    store = SQLitePersistence(tmp_path / "state.db")
    host = make(Native(failures=1), store=store)
    assert host.validate({"1": {"class_type": "A"}}) == "handled"
    (kept,) = host.operations()
    assert (kept.state, kept.attempt, kept.kwargs["workflow"]) == ("success", 2, {"1": {"class_type": "A"}})
