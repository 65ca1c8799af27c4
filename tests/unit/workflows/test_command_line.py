"""launcher-recovery check-workflow tells what is wrong, and writes a copy in which that is mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher_recovery.cli import main
from tests.unit.workflows.samples import node, png, put, ui


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one model, that the process is in."""
    monkeypatch.chdir(tmp_path)
    return put(tmp_path, "models/vae/x/a.pt", "nodes/readme.txt")


def write(folder: Path, *nodes: object, name: str = "w.json") -> str:
    (folder / name).write_text(json.dumps(ui(*nodes), indent=2))  # type: ignore[arg-type]
    return name


def test_a_workflow_that_is_fine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(folder, node(1, "VAELoader", "x/a.pt"), node(2, "KSampler"))
    assert main(["check-workflow", name, "--models", "models", "--nodes", "nodes"]) == 0
    assert capsys.readouterr() == ("nothing is wrong: 1 models and 2 types of nodes are needed\n", "")
    assert main(["check-workflow", name, "--models", "models", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_is_wrong_is_told_one_sentence_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(folder, node(1, "VAELoader", "X\\a.pt"), node(2, "Unknown"), node(3, "Unknown2", mode=4))
    assert main(["check-workflow", name, "--models", "models", "--nodes", "nodes"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "error: The node type Unknown is not installed.",
        "notice: The node type Unknown2 is not installed.",
        "error: The model is written X\\a.pt, but is found here as x/a.pt.",
    ]
    assert printed.err == (
        "launcher-recovery check-workflow: 2 problems keep w.json from running; the first: "
        "The node type Unknown is not installed; --fix OUT mends 1 of them.\n"
    )


def test_a_mended_copy_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(folder, node(1, "VAELoader", "X\\a.pt"))
    before = (folder / name).read_text()
    assert main(["check-workflow", name, "--models", "models", "--fix", "mended.json"]) == 0
    assert capsys.readouterr().out.startswith("mended: The model is written X\\a.pt")
    assert (folder / name).read_text() == before
    assert (folder / "mended.json").read_text() == before.replace("X\\\\a.pt", "x/a.pt")
    assert main(["check-workflow", "mended.json", "--models", "models"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["mended.json", "models", "nodes", "w.json"]


def test_the_result_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(folder, node(1, "VAELoader", "X\\a.pt"), node(2, "Unknown"))
    arguments = ["check-workflow", name, "--models", "models", "--nodes", "nodes", "--json", "--fix", "out.json"]
    assert main(arguments) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["valid"], printed["path"], printed["fixed_path"]) == (False, "w.json", "out.json")
    assert [problem["code"] for problem in printed["fixed"]] == ["model_path_style"]


def test_tables_tell_who_provides_a_node(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "map.json").write_text(json.dumps({"https://github.com/a/b": [["Unknown"], {"title": "Pack"}]}))
    name = write(folder, node(2, "Unknown"))
    assert main(["check-workflow", name, "--nodes", "nodes", "--table", "map.json"]) == 1
    assert "The node type Unknown is not installed; Pack provides it." in capsys.readouterr().out


def test_an_image_is_a_workflow_too(folder: Path) -> None:
    (folder / "image.png").write_bytes(png((b"tEXt", b"workflow\0" + json.dumps(ui(node(1, "KSampler"))).encode())))
    assert main(["check-workflow", "image.png", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        ('{"nodes": [}', [], "w.json: It is not valid JSON: line 1, column 12: expecting value."),
        ("{}", ["--models", "none"], "none is not there, or no folder."),
        ("{}", ["--table", "w.json"], "w.json is no table of nodes or models"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    content: str, arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "w.json").write_text(content)
    assert main(["check-workflow", "w.json", "--fix", "out.json", *arguments]) == 1
    assert sentence in capsys.readouterr().err
    assert not (folder / "out.json").exists()


def test_comfyui_is_looked_at_as_a_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(folder, node(1, "VAELoader", "x/a.pt"), node(2, "Mine"), node(3, "LoraLoader", "b.pt"))
    put(folder, "custom_nodes/mine.py", content=b"NODE_CLASS_MAPPINGS = {'Mine': Mine}")
    put(folder, "more/b.pt")
    (folder / "paths.yaml").write_text("a: {loras: more}")
    assert main(["check-workflow", name, "--comfyui", "."]) == 1
    assert capsys.readouterr().out == "error: The model b.pt is missing in loras.\n"
    assert main(["check-workflow", name, "--comfyui", ".", "--model-paths", "paths.yaml"]) == 0
    capsys.readouterr()
    assert main(["check-workflow", name, "--comfyui", "nowhere"]) == 1
    assert "nowhere is not there, or no folder" in capsys.readouterr().err
