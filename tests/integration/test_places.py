"""Where files may be written: below the allowed folders with links resolved, also when a link appears on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_recovery.errors import RefusedError
from launcher_recovery.nodes.publishing import publish
from launcher_recovery.nodes.staging import Staging
from launcher_recovery.records import RecoveryState
from tests.origin import Answer, Behaviour, File, Origin, Request
from tests.origin import behaviours as act
from tests.support import Host

FILE = File(3_000_000)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


class Launcher(Host):
    """One whose project has its models as a link to the folder that all projects share."""

    def __init__(self, folder: Path) -> None:
        self.shared, self.outside = folder / "shared", folder / "outside"
        self.models = folder / "project" / "models"
        for made in (self.shared / "loras", self.outside, self.models.parent):
            made.mkdir(parents=True)
        self.models.symlink_to(self.shared)
        super().__init__(folder, allowed_roots=(str(self.models.parent), str(self.models)))

    def fetch(self, url: str, *place: str) -> object:
        return self.download(url=url, destination=os.path.join(self.models, *place))

    def lead_outside(self) -> None:
        """Have the folder of LoRAs be a link to elsewhere."""
        (self.shared / "loras").rename(self.shared / "moved")
        (self.shared / "loras").symlink_to(self.outside)

    @property
    def is_clean(self) -> bool:
        return not any(self.outside.iterdir())


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    made = Launcher(tmp_path)
    made.attach()
    yield made
    made.detach()


def first(does: Callable[[], object]) -> Behaviour:
    """Before the answer to the first request something happens."""
    happened: list[object] = []

    def answer(request: Request, file: File, due: Answer) -> Answer:
        if not happened:
            happened.append(does())
        return due

    return answer


def test_the_link_to_the_models_of_all_projects_is_followed(launcher: Launcher, origin: Origin) -> None:
    launcher.fetch(origin.add(FILE), "loras", "a.pt")
    assert (launcher.shared / "loras" / "a.pt").stat().st_size == FILE.size


@pytest.mark.parametrize(
    "place",
    [
        ("..", "..", "outside", "a.pt"), ("loras", "..", "..", "outside", "a.pt"), ("/etc/a.pt",), ("",),
        ("..", "..", "project-evil", "a.pt"), ("a\0.pt",), ("..", "..", "shared-evil", "a.pt"),
    ],
)  # fmt: skip
def test_a_place_outside_is_refused(launcher: Launcher, origin: Origin, place: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError, match=r"is outside the allowed folders|is not a file name"):
        launcher.fetch(origin.add(FILE), *place)
    assert origin.connections == 0
    assert launcher.operations() == []


def test_another_link_that_leads_outside_is_refused(launcher: Launcher, origin: Origin) -> None:
    launcher.lead_outside()
    with pytest.raises(RefusedError, match="is outside the allowed folders"):
        launcher.fetch(origin.add(FILE), "loras", "a.pt")
    assert launcher.is_clean


def test_a_link_that_appears_between_two_attempts_is_refused(launcher: Launcher, origin: Origin) -> None:
    url = origin.add(FILE, first(launcher.lead_outside), act.script(act.refuse("503 Service Unavailable"), None))
    with pytest.raises(RefusedError, match="is outside the allowed folders"):
        launcher.fetch(url, "loras", "a.pt")
    (data,) = launcher.operations()
    assert (data.state, data.attempt) == (RecoveryState.FAILED, 2)
    assert launcher.is_clean


def test_a_link_that_appears_while_the_file_comes_gets_nothing(launcher: Launcher, origin: Origin) -> None:
    url = origin.add(FILE, first(launcher.lead_outside))
    with pytest.raises(RefusedError, match=r"loras is a link to .*outside now, and was a folder when a\.pt was begun"):
        launcher.fetch(url, "loras", "a.pt")
    assert launcher.is_clean


def test_a_node_is_not_put_where_a_link_leads(tmp_path: Path) -> None:
    nodes, outside = tmp_path / "custom_nodes", tmp_path / "outside"
    nodes.mkdir()
    outside.mkdir()
    staging = Staging(nodes / "node", "https://git.example/node")
    staging.folder.mkdir()
    (staging.folder / "node.py").write_text("")

    def appears() -> None:
        nodes.rename(tmp_path / "moved")
        nodes.symlink_to(outside)

    with pytest.raises(RefusedError, match="custom_nodes is a link to"):
        publish(staging, appears)
    assert not any(outside.iterdir())
