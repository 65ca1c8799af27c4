"""Where partials lie and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher_recovery.transfer.disk import naming
from launcher_recovery.transfer.disk.naming import partial_path
from tests.disks import memory_disk
from tests.support import but_for


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "_told_of", set())


def can_be_made(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    path.unlink()
    return True


def test_beside_the_destination(tmp_path: Path) -> None:
    """Without a staging folder it is NAME.part, also where nothing is there yet."""
    assert partial_path(tmp_path / "new" / "model.safetensors") == tmp_path / "new" / "model.safetensors.part"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("letter", ["a", "é", "模", "🎨"])
@pytest.mark.parametrize("size", [249, 250, 251, 255])
def test_long_names_are_cut_between_characters(tmp_path: Path, letter: str, size: int) -> None:
    """A name that is allowed gives a partial that is allowed, whatever its characters take; short ones are kept."""
    width = len(letter.encode())
    name = "x" * (size % width) + letter * (size // width)
    found = partial_path(tmp_path / name)
    assert len(os.fsencode(name)) == size
    assert can_be_made(found)
    assert found.name.endswith(".part")
    assert found.name.isprintable()
    if size <= 250:
        assert found.name == name + ".part"
    else:
        kept = found.name.rpartition("-")[0]
        assert name.startswith(kept)
        assert 255 - width < len(os.fsencode(found.name)) <= 255


def test_long_names_stay_apart(tmp_path: Path) -> None:
    """Two names that differ only in what is cut off, and one name in two folders, give different partials."""
    beginning = "m" * 250
    wanted = [tmp_path / f"{beginning}{end}" for end in ("1.pt", "2.pt")]
    wanted.append(tmp_path / "other" / wanted[0].name)
    assert len({partial_path(path).name for path in wanted}) == 3
    assert partial_path(wanted[0]) == partial_path(wanted[0])


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A name that is not UTF-8 is cut as well."""
    name = os.fsdecode(b"\xff" * 253)
    assert can_be_made(partial_path(tmp_path / name))


@pytest.mark.parametrize("answer", [143, OSError("no"), ValueError("no"), AttributeError("no")])
def test_what_the_file_system_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """The file system is asked how long names may be; where it does not say, 255 bytes are taken."""

    def pathconf(path: object, name: str) -> int:
        assert (path, name) == (tmp_path, "PC_NAME_MAX")
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return answer

    monkeypatch.setattr(naming, "os", but_for(os, pathconf=pathconf))
    longest = answer if isinstance(answer, int) else 255
    assert len(partial_path(tmp_path / "new" / ("m" * 300)).name) == longest


def test_in_the_staging_folder(tmp_path: Path) -> None:
    """On the same file system partials lie there, each with the hash of its whole path."""
    staging = tmp_path / "staging"
    one = partial_path(tmp_path / "a" / "model.pt", staging)
    two = partial_path(tmp_path / "b" / "model.pt", staging)
    assert one.parent == two.parent == staging
    assert one != two
    assert one.name.startswith("model.pt-")
    long = partial_path(tmp_path / ("é" * 127), staging)
    assert long.parent == staging
    assert can_be_made(long)


def test_a_staging_folder_on_another_disk_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The partial then lies beside the file, and a warning says so once."""
    with memory_disk(tmp_path / "elsewhere", 1 << 20) as other:
        for name in ("a.pt", "b.pt"):
            for staging in (other / "staging", other / "staging"):
                assert partial_path(tmp_path / name, staging) == tmp_path / f"{name}.part"
        assert partial_path(other / "models" / "a.pt", other / "staging").parent == other / "staging"
    assert len(caplog.records) == 1
    assert f"and not in {other / 'staging'}, because that is on another disk" in caplog.text


def test_one_that_is_there_stays_where_it_is(tmp_path: Path) -> None:
    """Also with another staging folder than it was begun with, or none."""
    destination, kept = tmp_path / "models" / "m.pt", tmp_path / "before" / "m.pt-0123456789.part"
    kept.parent.mkdir()
    destination.parent.mkdir()
    beside = destination.parent / "m.pt.part"
    assert partial_path(destination, None, str(kept)) == beside
    kept.write_bytes(b"x")
    assert partial_path(destination, None, str(kept)) == kept
    assert partial_path(destination, tmp_path / "staging", str(kept)) == kept


def test_what_is_no_partial_is_not_gone_on_with(tmp_path: Path) -> None:
    """A file of another name, and a folder."""
    destination, other, folder = tmp_path / "m.pt", tmp_path / "m.txt", tmp_path / "folder.part"
    other.write_bytes(b"x")
    folder.mkdir()
    for kept in (other, folder):
        assert partial_path(destination, None, str(kept)) == tmp_path / "m.pt.part"


def test_one_on_another_disk_is_begun_anew(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "disk", 1 << 20) as disk:
        kept = disk / "m.pt.part"
        kept.write_bytes(b"x")
        assert partial_path(tmp_path / "m.pt", None, str(kept)) == tmp_path / "m.pt.part"
        assert partial_path(disk / "m.pt", None, str(kept)) == kept
