"""What is in a node's place is left alone; a node comes there at once, safe on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import OperationCancelled
from launcher_recovery.nodes import publishing
from tests.nodes import Attempts, Source, files, install, staging
from tests.support import but_for


def test_what_is_in_place_is_kept_whoever_put_it_there(attempts: Attempts, source: Source, tmp_path: Path) -> None:
    mine = tmp_path / "node" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    (staging(tmp_path / "node") / ".git").mkdir(parents=True)
    for _ in range(2):
        assert install(attempts.next(), source.url, tmp_path / "node") == str(tmp_path / "node")
        assert (files(tmp_path / "node"), mine.read_text()) == ({"mine.txt"}, "mine")
        assert not staging(tmp_path / "node").exists()
    assert attempts.steps() == []


def test_an_empty_folder_is_no_node(attempts: Attempts, source: Source, destination: Path) -> None:
    destination.mkdir(parents=True)
    install(attempts.next(), source.url, destination)
    assert files(destination) == {".git", "one"}


def test_what_somebody_put_in_place_meanwhile_is_not_replaced(
    attempts: Attempts, source: Source, destination: Path
) -> None:
    destination.mkdir(parents=True)
    operation = attempts.next()
    finish = operation.step

    def step(name: str, function: Callable[[], Any], **more: Any) -> Any:
        (destination / "mine.txt").touch()
        return finish(name, function, **more)

    operation.step = step
    with pytest.raises(OSError, match="not empty"):
        install(operation, source.url, destination)
    assert files(destination) == {"mine.txt"}


def test_a_place_that_was_taken_and_is_free_again_is_filled_without_fetching(
    attempts: Attempts, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError(13, "no", str(destination))

    with monkeypatch.context() as broken:
        broken.setattr(publishing, "os", but_for(os, replace=refuse))
        with pytest.raises(PermissionError):
            install(attempts.next(), source.url, destination)
    (source.folder / ".git").rename(source.folder / "away")
    install(attempts.next(), source.url, destination)
    assert files(destination) == {".git", "one"}


def test_all_of_it_is_on_the_disk_before_it_has_its_name(
    attempts: Attempts, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.commit({"deep/er/file": "x"})
    (source.folder / "link").symlink_to("/dev/full")
    source.commit({})
    done: list[str] = []
    opened: dict[int, str] = {}

    def open_(path: str | Path, *flags: int) -> int:
        number = os.open(path, *flags)
        opened[number] = str(path)
        return number

    def replace(old: Path, new: Path) -> None:
        done.append("replace")
        os.replace(old, new)

    def fsync(number: int) -> None:
        done.append(os.path.relpath(opened[number], destination.parent))

    monkeypatch.setattr(publishing, "os", but_for(os, open=open_, fsync=fsync, replace=replace))
    install(attempts.next(), source.url, destination)
    folder = staging(destination).name
    assert done[-3:] == [folder, "replace", "."]
    assert {f"{folder}/one", f"{folder}/deep/er/file", f"{folder}/deep/er", f"{folder}/.git/index"} < set(done[:-3])
    assert f"{folder}/link" not in done


def test_a_cancel_that_comes_while_the_disk_is_slow_is_heard_before_the_node_has_its_name(
    attempts: Attempts, source: Source, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation, sync = attempts.next(), publishing._sync

    def slow(folder: Path) -> None:
        attempts.lifecycle.cancel(attempts.id)
        sync(folder)

    monkeypatch.setattr(publishing, "_sync", slow)
    with pytest.raises(OperationCancelled):
        install(operation, source.url, destination)
    assert files(destination.parent) == {staging(destination).name}


def test_no_mark_of_ours_stays_in_a_node(attempts: Attempts, source: Source, destination: Path) -> None:
    install(attempts.next(), source.url, destination)
    assert not list((destination / ".git").glob("launcher-recovery*"))


def test_a_linked_folder_is_filled_where_it_really_is(attempts: Attempts, source: Source, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "nodes").symlink_to(tmp_path / "real")
    given = tmp_path / "nodes" / "node"
    assert install(attempts.next(), source.url, given) == str(given)
    assert files(tmp_path / "real") == {"node"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_not_a_folder_in_the_place_of_the_staging_folder_goes(
    attempts: Attempts, source: Source, tmp_path: Path, destination: Path, kind: str
) -> None:
    destination.parent.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").touch()
    if kind == "file":
        staging(destination).touch()
    else:
        staging(destination).symlink_to(other)
    install(attempts.next(), source.url, destination)
    assert files(destination) == {".git", "one"}
    assert files(other) == {"mine"}
