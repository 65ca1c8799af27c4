"""Fixtures of the tests of node installs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import Attempts, Far, Source, alone_with_pip, far_away


@pytest.fixture(autouse=True)
def _own_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone_with_pip(monkeypatch, tmp_path)


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A server of repositories and packages."""
    with far_away(tmp_path / "far") as running:
        yield running


@pytest.fixture(scope="session")
def _first_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    made = Source(tmp_path_factory.mktemp("first") / "source")
    made.commit({})
    made.git("tag", "--annotate", "--message=x", "v0")
    for branch, name in (("two", "two"), ("main", "one")):
        made.git("checkout", "--quiet", "-B", branch, "v0")
        made.commit({name: name})
    return made


@pytest.fixture
def source(tmp_path: Path, _first_source: Source) -> Source:
    """A repository whose default branch has a file `one`, a branch `two`, a tag `v0`, and no requirements."""
    return Source(tmp_path / "source", like=_first_source)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Where the node is to be."""
    return tmp_path / "custom_nodes" / "node"
