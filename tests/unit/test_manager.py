"""Extensions are loaded in order, refused with a reason, and none of them harms anything."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import __version__, hookspecs
from launcher_recovery.classification import ErrorCategory, Retry, Verdict
from launcher_recovery.cli import main
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.defaults import builtin_extensions
from launcher_recovery.errors import RecoveryConfigError, RefusedError
from launcher_recovery.fixes import Fix
from launcher_recovery.hookspecs import hookimpl
from launcher_recovery.joinpoints import Host, JoinPoint
from launcher_recovery.kinds import OperationKind
from launcher_recovery.manager import Extension, Extensions
from launcher_recovery.plans import Model, Plan
from launcher_recovery.records import RecoveryData
from launcher_recovery.redaction import Redactor
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.workflows import LoaderInput, ModelSource, NodeSource

DATA = RecoveryData("id", "launcher_download")
URL = "http://h/m.pt"
VERDICT = Verdict(ErrorCategory.NETWORK, Retry.YES, "mine", "It is mine.")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a package with an extension where Python finds it, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(package: str, entry: str, source: str) -> None:
        module = f"module_of_{entry}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text("from launcher_recovery.hookspecs import hookimpl\n" + source)
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[launcher_recovery]\n{entry} = {module}\n")

    return put


MIRROR = "@hookimpl\ndef recovery_sources(url): return [url + '.{}']\n"


def test_installed_extensions_are_loaded_once(install: Callable[..., None]) -> None:
    install("pkg-one", "test_one", MIRROR.format("one"))
    install("pkg-two", "test_two", MIRROR.format("two"))
    install("pkg-two-as-checkout", "test_two", MIRROR.format("two"))
    extensions = Extensions(RecoveryConfig(), builtin_extensions())
    extensions.load_entry_points()
    extensions.load_entry_points()
    assert {"git", "http", "workflow", "test_one", "test_two"} <= set(extensions.names)
    assert extensions.names == sorted(extensions.names)
    assert set(extensions.sources(URL, DATA)) >= {URL + ".one", URL + ".two"}
    assert extensions.problems == []


def test_a_disabled_extension_is_not_even_imported(install: Callable[..., None]) -> None:
    install("pkg-bad", "test_bad", "raise SystemExit('imported')\n")
    extensions = Extensions(RecoveryConfig(disabled_extensions=("test_bad", "http")), builtin_extensions())
    extensions.load_entry_points()
    extensions.register(Sources("x"), "test_bad")
    assert "test_bad" not in extensions.names
    assert "http" not in extensions.names
    assert extensions.sources(URL, DATA) == []
    assert "download" not in {kind.name for kind in extensions.operations()}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "@hookimpl\ndef recovery_sorces(url): return []\n",
            "implements recovery_sorces, which is not a hook; the hooks are recovery_attempt_finished, ",
        ),
        ("@hookimpl(specname='recovery_nothing')\ndef x(): return []\n", "implements recovery_nothing, which is not"),
        (
            "@hookimpl\ndef recovery_sources(address): return []\n",
            "with the arguments address, but there are url, operation: an",
        ),
        ("@hookimpl(wrapper=True)\ndef recovery_sources(url): yield\n", "implements recovery_sources as a wrapper"),
        ("@hookimpl(hookwrapper=True)\ndef recovery_settled(): yield\n", "implements recovery_settled as a wrapper"),
        ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
        ("1 / 0\n", "division by zero"),
    ],
)
def test_one_that_cannot_work_is_left_out_with_a_sentence_and_the_others_work(
    install: Callable[..., None], caplog: pytest.LogCaptureFixture, source: str, words: str
) -> None:
    install("pkg-bad", "test_bad", source)
    install("pkg-good", "test_good", MIRROR.format("good"))
    extensions = Extensions(RecoveryConfig())
    extensions.load_entry_points()
    (problem,) = extensions.problems
    assert problem.startswith("extension test_bad (of the package pkg-bad) was not loaded: ")
    assert words in problem
    assert problem in caplog.messages
    assert "test_bad" not in extensions.names
    assert URL + ".good" in extensions.sources(URL, DATA)


class Sources:
    """Knows a mirror."""

    def __init__(self, *endings: str) -> None:
        self.endings = endings

    @hookimpl
    def recovery_sources(self, url: str) -> list[str]:
        return [url + ending for ending in self.endings]


def test_one_given_by_hand_that_cannot_work_is_refused_and_leaves_nothing() -> None:
    class Bad(Sources):
        @hookimpl
        def recovery_settled(self, surprise: str) -> None:
            raise AssertionError(surprise)

    extensions = Extensions(RecoveryConfig())
    with pytest.raises(
        RecoveryConfigError, match=r"^extension bad implements recovery_settled with the arguments surprise, but"
    ):
        extensions.register(Bad(".bad"), "bad")
    assert extensions.names == []
    extensions.register(Sources(".good"), "bad")
    assert extensions.sources(URL, DATA) == [URL + ".good"]


def test_a_hook_of_a_newer_version_may_be_marked_optional() -> None:
    class Newer(Sources):
        @hookimpl(optionalhook=True)
        def recovery_of_the_future(self) -> None:
            raise AssertionError

    extensions = Extensions(RecoveryConfig())
    extensions.register(Newer(".x"), "newer")
    assert extensions.sources(URL, DATA) == [URL + ".x"]


def test_mirrors_of_several_extensions_are_all_used_without_doubles_and_without_the_address_itself() -> None:
    for order in itertools.permutations([Sources(".a", ".b"), Sources(".b", "", ".c"), Sources()]):
        extensions = Extensions(RecoveryConfig())
        for number, extension in enumerate(order):
            extensions.register(extension, f"x{number}")
        found = extensions.sources(URL, DATA)
        assert sorted(found) == [URL + ".a", URL + ".b", URL + ".c"]
        assert found.index(URL + ".b") < found.index(URL + ".c")


class Good:
    """Answers every hook, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @hookimpl
    def recovery_startup(self, config: RecoveryConfig) -> None:
        self.told.append(("startup", config))

    @hookimpl
    def recovery_operations(self) -> tuple[OperationKind, ...]:
        return (OperationKind("mine", "launcher_download", key=str, title=str),)

    @hookimpl
    def recovery_read_import(self, import_json: Any) -> Plan | None:
        return PLAN if import_json == "mine" else None

    @hookimpl
    def recovery_classify(self, error: BaseException, operation: RecoveryData | None) -> Verdict | None:
        return VERDICT

    @hookimpl
    def recovery_choose_strategy(self, operation: RecoveryData) -> FixedDelayStrategy:
        return FixedDelayStrategy(7)

    @hookimpl
    def recovery_sources(self, url: str, operation: RecoveryData) -> Iterator[str]:
        yield url + ".good"

    @hookimpl
    def recovery_node_sources(self, node_type: str) -> list[NodeSource]:
        return [NodeSource(f"https://h/{node_type}")] * 2

    @hookimpl
    def recovery_model_sources(self, name: str, folder: str | None) -> Iterator[ModelSource]:
        yield ModelSource(name, "https://h/m", folder)

    @hookimpl
    def recovery_loader_folders(self, node_type: str) -> tuple[LoaderInput, ...]:
        return (LoaderInput("name", f"folder of {node_type}"),)

    @hookimpl
    def recovery_settings_changed(self, config: RecoveryConfig) -> None:
        self.told.append(("settings", config))

    @hookimpl
    def recovery_join_points(self) -> list[Host]:
        return [HOST]

    @hookimpl
    def recovery_redactions(self) -> list[Callable[[str], str]]:
        return [lambda text: text.replace("moose", "***")]

    @hookimpl
    def recovery_suggest_fix(self, operation: RecoveryData) -> list[Fix]:
        return [FIX]

    @hookimpl
    def recovery_attempt_started(self, operation: RecoveryData) -> None:
        self.told.append(("attempt_started", operation))

    @hookimpl
    def recovery_attempt_finished(self, operation: RecoveryData, error: BaseException | None) -> None:
        self.told.append(("attempt_finished", operation, error))

    @hookimpl
    def recovery_settled(self, operation: RecoveryData, error: BaseException | None) -> None:
        self.told.append(("settled", operation, error))


HOOKS = [name for name in vars(hookspecs) if name.startswith("recovery_")]


def test_the_good_extension_of_these_tests_has_every_hook() -> None:
    assert {name for name in vars(Good) if name.startswith("recovery_")} == set(HOOKS)


ERROR = OSError("something")
CHANGED = RecoveryConfig(max_retries=9)
FIX = Fix("call_the_author")
HOST = Host("my launcher", (JoinPoint("utils", "fetch", "download"),))
PLAN = Plan(models=(Model("https://h/a", "a.pt"),))


def use_everything(extensions: Extensions, good: Good) -> None:
    """Every hook is called twice, and the good extension's answers count."""
    good.told.clear()
    for _ in range(2):
        extensions.start()
        assert "mine" in {kind.name for kind in extensions.operations()}
        assert extensions.classify(ERROR, DATA) is VERDICT
        assert extensions.read_import("mine") is PLAN
        strategy = extensions.choose_strategy(DATA)
        assert strategy is not None
        assert strategy.calculate_delay(1) == 7
        assert URL + ".good" in extensions.sources(URL, DATA)
        assert extensions.node_sources("Type") == [NodeSource("https://h/Type")]
        assert extensions.model_sources("a.pt", "loras") == [ModelSource("a.pt", "https://h/m", "loras")]
        assert extensions.loader_inputs("Type") == [LoaderInput("name", "folder of Type")]
        assert extensions.suggest_fix(DATA) == [FIX]
        assert extensions.join_points() == [HOST]
        extensions.follow(CHANGED)
        redactor = Redactor()
        redactor.rules.extend(extensions.redactions())
        assert redactor.text("a moose") == "a ***"
        for event in ("attempt_started", "attempt_finished", "settled"):
            extensions.observe(event, DATA, ERROR)
    started = [entry for entry in good.told if entry[0] == "startup"]
    assert len(started) == 2
    assert started[1] == ("startup", CHANGED)  # begun again, with what is in force by then
    assert [entry for entry in good.told if entry not in started] == [
        ("settings", CHANGED),
        ("attempt_started", DATA),
        ("attempt_finished", DATA, ERROR),
        ("settled", DATA, ERROR),
    ] * 2


class Unhashable(Good):
    """Compares equal to nothing, and cannot be put in a set."""

    def __eq__(self, other: object) -> bool:
        return self is other


def raising(hook: str, error: type[Exception] = RuntimeError) -> Any:
    def implementation(self: Any) -> Any:
        raise error("not today")

    implementation.__name__ = hook
    return type("Bad", (), {hook: hookimpl(implementation, tryfirst=True)})()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("kind", [Good, Unhashable])
def test_one_that_raises_harms_nothing_and_is_reported_once_whatever_the_order(kind: type[Good], hook: str) -> None:
    for order in itertools.permutations(("good", "bad", "builtin")):
        extensions = Extensions(RecoveryConfig())
        good = kind()
        for name in order:
            for entry, extension in {"good": [("good", good)], "bad": [("bad", raising(hook))]}.get(
                name, builtin_extensions()
            ):
                extensions.register(extension, entry)
        use_everything(extensions, good)
        assert extensions.problems == [f"extension bad failed in {hook}: RuntimeError: not today"]


@pytest.mark.parametrize(
    ("hook", "answer", "words"),
    [
        ("recovery_operations", ["download"], "it returned ['download'], but a list of OperationKind is needed"),
        ("recovery_operations", 5, "'int' object is not iterable"),
        ("recovery_classify", "network", "it returned 'network', but Verdict is needed"),
        ("recovery_choose_strategy", 3.0, "it returned 3.0, but Strategy is needed"),
        ("recovery_sources", "http://h/one", "it returned 'http://h/one', but a list of str is needed"),
        ("recovery_sources", [None], "it returned [None], but a list of str is needed"),
        ("recovery_node_sources", ["https://h"], "it returned ['https://h'], but a list of NodeSource is needed"),
        ("recovery_model_sources", "https://h", "it returned 'https://h', but a list of ModelSource is needed"),
        ("recovery_loader_folders", ["loras"], "it returned ['loras'], but a list of LoaderInput is needed"),
        ("recovery_suggest_fix", ["moose"], "it returned ['moose'], but a list of Fix is needed"),
        ("recovery_join_points", ["utils"], "it returned ['utils'], but a list of Host is needed"),
        ("recovery_redactions", ["moose"], "it returned ['moose'], but a list of Callable is needed"),
    ],
)
def test_an_answer_of_the_wrong_type_is_left_out_and_reported(hook: str, answer: Any, words: str) -> None:
    def implementation(self: Any) -> Any:
        return answer

    implementation.__name__ = hook
    bad = type("Bad", (), {hook: hookimpl(implementation, tryfirst=True)})()
    for names in (("good", "bad"), ("bad", "good")):
        good = Good()
        extensions = Extensions(RecoveryConfig())
        for name in names:
            extensions.register({"good": good, "bad": bad}[name], name)
        use_everything(extensions, good)
        assert extensions.problems == [f"extension bad failed in {hook}: TypeError: {words}"]


def test_a_redaction_that_raises_is_reported_without_the_text_and_the_others_work() -> None:
    class Bad:
        @hookimpl
        def recovery_redactions(self) -> list[Callable[[str], str]]:
            return [lambda text: str(1 / 0)]

    for names in (("good", "bad"), ("bad", "good")):
        extensions = Extensions(RecoveryConfig())
        for name in names:
            extensions.register({"good": Good(), "bad": Bad()}[name], name)
        redactor = Redactor()
        redactor.rules.extend(extensions.redactions())
        assert redactor.text("moose and token=elk") == "*** and token=***"
        (problem,) = extensions.problems
        assert problem.endswith("failed: ZeroDivisionError")
        assert "moose" not in problem


def test_no_opinion_is_left_to_the_next_and_none_at_all_is_none() -> None:
    class Silent:
        @hookimpl(tryfirst=True)
        def recovery_classify(self) -> None:
            return None

        @hookimpl
        def recovery_sources(self) -> None:
            return None

    extensions = Extensions(RecoveryConfig(), builtin_extensions())
    extensions.register(Silent(), "silent")
    assert extensions.classify(ERROR, None) is None
    assert extensions.choose_strategy(DATA) is None
    assert (extensions.sources(URL, DATA), extensions.problems) == ([], [])
    assert [rule("text") for rule in extensions.redactions()] == ["text"]  # the built-in one, of the tokens of hubs
    extensions.register(Good(), "good")
    assert extensions.classify(ERROR, None) is VERDICT


def test_start_up_is_told_to_those_that_are_there_and_to_those_that_come_later() -> None:
    config = RecoveryConfig(max_retries=5)
    extensions = Extensions(config)
    early, late, bad = Good(), Good(), raising("recovery_startup")
    extensions.register(early, "early")
    assert early.told == []
    extensions.start()
    extensions.register(bad, "bad")
    extensions.register(late, "late")
    assert early.told == late.told == [("startup", config)]
    assert extensions.problems == ["extension bad failed in recovery_startup: RuntimeError: not today"]


def test_an_import_that_is_refused_is_not_offered_to_others() -> None:
    """Else the launcher would be left with what is wrong with it; all other errors are those of the extension."""

    class Reader:
        def __init__(self, error: Exception) -> None:
            self.error = error

        @hookimpl
        def recovery_read_import(self, import_json: object) -> None:
            raise self.error

    extensions = Extensions(RecoveryConfig(), builtin_extensions())
    extensions.register(Reader(ValueError("moose")), "broken")
    assert extensions.read_import({"nodes": []}) == Plan()
    extensions.register(Reader(RefusedError("the import is wrong")), "reader")
    with pytest.raises(RefusedError, match="the import is wrong"):
        extensions.read_import({"nodes": []})


@pytest.mark.parametrize("first", ["builtin", "third"])
def test_an_extension_may_replace_a_kind_of_the_package(first: str) -> None:
    class Mine:
        @hookimpl
        def recovery_operations(self) -> list[OperationKind]:
            return [OperationKind("download", "launcher_download", key=str, title=lambda arguments: "mine")]

    extensions = Extensions(RecoveryConfig(), builtin_extensions() if first == "builtin" else ())
    extensions.register(Mine(), "mine")
    for name, extension in builtin_extensions() if first == "third" else ():
        extensions.register(extension, name)
    kinds = {kind.name: kind for kind in extensions.operations()}
    assert sorted(kinds) == [
        *("create_project", "download", "install_comfyui", "install_node", "install_requirements"),
        *("make_environment", "validate_workflow"),
    ]
    if first == "builtin":  # as the package registers them
        assert kinds["download"].title({}) == "mine"


def test_what_is_known_of_each_is_told_with_its_package_and_hooks(install: Callable[..., None]) -> None:
    install("pkg-good", "test_good", MIRROR.format("good"))
    install("pkg-bad", "test_bad", "1 / 0\n")
    install("pkg-off", "test_off", "raise SystemExit('imported')\n")
    extensions = Extensions(RecoveryConfig(disabled_extensions=("test_off", "http")), builtin_extensions())
    extensions.load_entry_points()
    extensions.register(Good(), "by-hand")
    known = {one.name: one for one in extensions.known()}
    assert [*known] == sorted(known)
    assert known["test_good"] == Extension("test_good", "pkg-good", "1.0", "loaded", ("recovery_sources",))
    assert known["test_bad"] == Extension("test_bad", "pkg-bad", "1.0", "failed", problem="division by zero")
    assert known["test_off"] == Extension("test_off", "pkg-off", "1.0", "disabled")
    assert known["http"] == Extension("http", "launcher-recovery", __version__, "disabled")
    assert known["git"].state == "loaded"
    assert (known["git"].package, known["by-hand"].package) == ("launcher-recovery", None)
    assert [*known["by-hand"].hooks] == sorted(HOOKS)


def test_the_command_line_lists_them(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("pkg-good", "test_good", MIRROR.format("good"))
    install("pkg-bad", "test_bad", "raise ValueError('a\\x1b[31m moose')\n")
    install("pkg-off", "test_off", "raise SystemExit('imported')\n")
    monkeypatch.setenv("RECOVERY_DISABLED_EXTENSIONS", "test_off")
    assert main(["extensions"]) == 0
    printed, said = capsys.readouterr()
    assert "test_good (pkg-good 1.0): loaded\n  recovery_sources\n" in printed
    assert "test_bad (pkg-bad 1.0): left out, since it cannot be used\n  a [31m moose\n" in printed
    assert "test_off (pkg-off 1.0): switched off by RECOVERY_DISABLED_EXTENSIONS\n" in printed
    assert f"git (launcher-recovery {__version__}): loaded\n  recovery_operations\n" in printed
    assert "launcher-recovery extensions: extension test_bad (of the package pkg-bad) was not loaded" in said
    assert main(["extensions", "--json"]) == 0
    known = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert known["test_good"] == {
        "name": "test_good", "package": "pkg-good", "version": "1.0", "state": "loaded",
        "hooks": ["recovery_sources"], "problem": None,
    }  # fmt: skip
    assert (known["test_bad"]["state"], known["test_off"]["state"]) == ("failed", "disabled")


def test_a_module_an_object_and_a_function_with_a_default_may_extend() -> None:
    class Lenient:
        @staticmethod
        @hookimpl
        def recovery_sources(url: str, ending: str = ".x") -> list[str]:
            return [url + ending]

    extensions = Extensions(RecoveryConfig())
    extensions.register(Lenient, "a class")
    assert extensions.sources(URL, DATA) == [URL + ".x"]


def test_problems_are_not_kept_without_end() -> None:
    extensions = Extensions(RecoveryConfig())
    counter = itertools.count()

    class Bad:
        @hookimpl
        def recovery_settled(self) -> None:
            raise RuntimeError(next(counter))

    extensions.register(Bad(), "bad")
    for _ in range(80):
        extensions.observe("settled", DATA, None)
    assert len(extensions.problems) == 50
