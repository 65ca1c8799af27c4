"""The suite for stores of one's own: ours pass it, and a store that breaks a rule is told which."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography.fernet import Fernet

from launcher_recovery import SQLitePersistence
from launcher_recovery.persistence import MemoryPersistence, PostgresPersistence, ResilientPersistence, Store
from launcher_recovery.persistence.encryption import Cipher
from launcher_recovery.testing import conformance
from launcher_recovery.testing.conformance import PersistenceConformance, StoreConformance
from launcher_recovery.testing.conformance.samples import VALUES, ending_after
from tests.torture.files import database
from tests.unit import wrong_stores
from tests.unit.folder_store import FolderStore
from tests.unit.wrong_stores import WRONG, WrongStore


class TestStores(StoreConformance):
    """Every kind of store of the package."""

    @pytest.fixture
    def persistence(self, store: Store, request: pytest.FixtureRequest) -> Store:
        if isinstance(store, PostgresPersistence):
            self.url: str = request.getfixturevalue("postgres_store_url")
        return store

    def reopen(self, persistence: Any) -> Any:
        if isinstance(persistence, MemoryPersistence):
            return persistence
        persistence.close()
        return self.another(persistence)

    def another(self, persistence: Any) -> Any:
        if isinstance(persistence, MemoryPersistence):
            return None
        if isinstance(persistence, SQLitePersistence):
            return SQLitePersistence(persistence.path)
        return PostgresPersistence(self.url)


class TestResilient(StoreConformance):
    """The one that stands before another, while all is well."""

    @pytest.fixture
    def persistence(self, tmp_path: Path) -> Iterator[Store]:
        store = ResilientPersistence(SQLitePersistence(database(tmp_path / "recovery.db")))
        yield store
        store.close()

    def reopen(self, persistence: Any) -> Any:
        persistence.close()
        return self.another(persistence)

    def another(self, persistence: Any) -> Any:
        return ResilientPersistence(SQLitePersistence(persistence.store.path))


class TestEncrypted(StoreConformance):
    """One that keeps what is secret encrypted."""

    @pytest.fixture
    def persistence(self, tmp_path: Path) -> Iterator[Store]:
        self.cipher = Cipher(Fernet.generate_key().decode())
        store = SQLitePersistence(database(tmp_path / "recovery.db"), self.cipher)
        yield store
        store.close()

    def reopen(self, persistence: Any) -> Any:
        persistence.close()
        return self.another(persistence)

    def another(self, persistence: Any) -> Any:
        return SQLitePersistence(persistence.path, self.cipher)


class TestFolderStore(PersistenceConformance):
    """One with the five methods and nothing else, as a user writes it."""

    @pytest.fixture
    def persistence(self, tmp_path: Path) -> FolderStore:
        return FolderStore(tmp_path / "records")

    def reopen(self, persistence: Any) -> Any:
        return FolderStore(persistence.folder)

    another = reopen


class TestMemoryAsFiveMethods(PersistenceConformance):
    """The default hooks: the same object after a restart, and no second one."""

    @pytest.fixture
    def persistence(self) -> MemoryPersistence:
        return MemoryPersistence()


# -- stores that break a rule ---------------------------------------------------------------------------


def node(kind: type[WrongStore]) -> str:
    return f"Test{kind.__name__}::{kind.breaks}"


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What pytest says of each wrong store in the test that has to find it: failure or error or passed, and why."""
    report = tmp_path_factory.mktemp("wrong") / "report.xml"
    nodes = [f"{wrong_stores.__file__}::{node(kind)}" for kind in WRONG]
    run_pytest(*nodes, f"--junitxml={report}", "--tb=short", f"--rootdir={Path(__file__).parents[2]}")
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.attrib['classname'].rpartition('.')[2]}::{case.attrib['name']}"
        problem = next(iter(case), None)
        found[name] = ("passed", "") if problem is None else (problem.tag, problem.attrib["message"])
    return found


def run_pytest(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A pytest without this project's settings and plugins, as a third party has it."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", "-q", *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_store_fails(kind: type[WrongStore], verdicts: dict[str, tuple[str, str]]) -> None:
    """A store that breaks a rule fails in the test of that rule, which says what must be."""
    outcome, message = verdicts[node(kind)]
    assert outcome == "failure"
    assert " must " in message
    assert message.startswith(("AssertionError: ", "Failed: "))


def test_every_test_of_the_suite_can_fail() -> None:
    """For each test of the suite there is a wrong store that it has to find."""
    tests = {name for name in dir(StoreConformance) if name.startswith("test_")}
    assert {kind.breaks.partition("[")[0] for kind in WRONG} == tests


def test_a_suite_without_a_store_says_so(tmp_path: Path) -> None:
    """Who forgets the fixture is told."""
    (tmp_path / "test_mine.py").write_text(
        "from launcher_recovery.testing.conformance import PersistenceConformance\n"
        "class TestMine(PersistenceConformance): ...\n"
    )
    done = run_pytest("test_mine.py", "-k", "test_delete", cwd=tmp_path)
    assert "TestMine needs a fixture `persistence` that gives an empty store" in done.stdout


_HANGING = """
import asyncio, threading
import pytest
from launcher_recovery.testing.conformance import PersistenceConformance
from tests.unit.folder_store import FolderStore

class Suite(PersistenceConformance):
    kind = FolderStore

    @pytest.fixture
    def persistence(self, tmp_path):
        return self.kind(tmp_path / "store")

    def reopen(self, persistence):
        return self.kind(persistence.folder)

class KeepsTheFirst(FolderStore):
    async def save(self, data):
        if await self.load(data.operation_id) is None:
            await super().save(data)

class Waits(FolderStore):
    async def load(self, operation_id):
        await asyncio.Event().wait()

class Blocks(FolderStore):
    async def load(self, operation_id):
        threading.Event().wait()

class TestKeepsTheFirst(Suite):
    kind = KeepsTheFirst

class TestWaits(Suite):
    kind, time_limit_s = Waits, 0.2

class TestBlocks(Suite):
    kind, time_limit_s = Blocks, 0.2
"""


def test_a_suite_does_not_hang(tmp_path: Path) -> None:
    """A store whose records stay as they were first, or one that does not return, fails with a sentence."""
    (tmp_path / "test_mine.py").write_text(_HANGING)
    some = "(TestKeepsTheFirst and engine) or test_unknown"
    done = run_pytest("test_mine.py", "-k", some, "--tb=line", cwd=tmp_path)
    said = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    rule = "the result of a finished operation must be found by its key after a restart: it waits for ever"
    assert rule in done.stdout
    limit = "every method of a store must return: the test was not over after 0.2 s"
    for suite in ("TestWaits", "TestBlocks"):
        assert any(suite in line for line in said), done.stdout
    assert limit in done.stdout
    assert any("test_engine_finds_a_result_after_a_restart" in line for line in said)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs signals")
def test_the_time_limit_leaves_the_alarm_of_others_alone() -> None:
    """Where somebody else uses the alarm, as pytest-timeout does, or in another thread, there is no limit."""
    left = signal.setitimer(signal.ITIMER_REAL, 0)
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with ending_after(60):
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with ending_after(60):
            assert signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
        with pytest.raises(AssertionError, match=r"not over after 0\.01 s"), ending_after(0.01):
            threading.Event().wait()
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)


def test_without_pytest_it_says_so() -> None:
    """The suite without pytest is refused with one sentence; the rest of `testing` does not need it."""
    code = (
        "import sys; sys.modules['pytest'] = None\nimport launcher_recovery.testing\n"
        "import launcher_recovery.testing.conformance"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: launcher_recovery.testing.conformance is a suite for pytest: pip install pytest"
    )
    assert "line 3" in done.stderr


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    """The test class of the README, with a store behind it, is a whole suite that passes."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [example] = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "Conformance" in block]
    documented = re.findall(r"\n((?:    .*\n|\n)+)\nA store that is a whole", conformance.__doc__ or "")
    assert textwrap.dedent(documented[0]).split() == example.replace("from my_package import MyStore\n", "").split()
    (tmp_path / "test_mine.py").write_text(example)
    (tmp_path / "my_package.py").write_text("from tests.unit.folder_store import FolderStore as MyStore\n")
    done = run_pytest("-p", "no:randomly", "test_mine.py", cwd=tmp_path)
    tests = [name for name in dir(PersistenceConformance) if name.startswith("test_")]
    passed = len(tests) - 2 + len(VALUES)  # one is skipped, one has a parameter
    assert done.stdout.splitlines()[-1].startswith(f"{passed} passed, 1 skipped"), done.stdout
