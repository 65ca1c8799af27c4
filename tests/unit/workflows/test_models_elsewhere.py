"""A model that was moved or renamed is found again, by its content where that is known."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.workflows import Limits, Severity, apply_fixes, check_workflow
from tests.unit.workflows.samples import CONTENT, checked, codes, loads, node, only, put, told, ui


def test_the_same_file_in_another_folder_of_the_loader(tmp_path: Path) -> None:
    put(tmp_path, "vae/new/a.pt", content=CONTENT)
    for workflow in (told("old/a.pt"), loads("VAELoader", "old/a.pt")):
        report = checked(workflow, tmp_path)
        assert (only(report).code, report.models[0].state) == ("model_moved", "moved")
        assert apply_fixes(report).workflow["nodes"][0]["widgets_values"] == ["new/a.pt"]


def test_of_several_the_one_with_the_content_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "vae/1/a.pt", "vae/3/a.pt", content=b"something else")
    put(tmp_path, "vae/2/a.pt", content=CONTENT)
    report = checked(told("old/a.pt"), tmp_path)
    assert apply_fixes(report).workflow["nodes"][0]["widgets_values"] == ["2/a.pt"]
    unknown = checked(loads("VAELoader", "old/a.pt"), tmp_path)
    assert only(unknown).code == "model_moved"
    assert unknown.fixable == []  # which one it is nobody can know


def test_a_name_that_many_files_have_proves_nothing(tmp_path: Path) -> None:
    put(tmp_path, "controlnet/b/diffusion_pytorch_model.safetensors")
    report = checked(loads("ControlNetLoader", "a/diffusion_pytorch_model.safetensors"), tmp_path)
    assert only(report).code == "model_moved"
    assert report.fixable == []
    chosen = apply_fixes(report, lambda problem: True).workflow
    assert chosen["nodes"][0]["widgets_values"] == ["b/diffusion_pytorch_model.safetensors"]


def test_a_file_of_that_name_with_other_content_is_not_it(tmp_path: Path) -> None:
    put(tmp_path, "vae/new/a.pt", content=b"something else")
    assert only(checked(told("old/a.pt"), tmp_path)).code == "missing_model"


@pytest.mark.parametrize("kind", ["SHA256", "sha256", "AutoV2", "sha1", "MD5"])
def test_a_file_that_was_renamed_is_known_by_its_content(kind: str, tmp_path: Path) -> None:
    algorithm = {"autov2": "sha256"}.get(kind.lower(), kind.lower())
    digest = hashlib.new(algorithm, CONTENT).hexdigest()[: 10 if kind == "AutoV2" else None]
    put(tmp_path, "vae/other.pt", "vae/b.ckpt", content=b"something else")
    put(tmp_path, "vae/x/renamed.pt", content=CONTENT)
    report = checked(told("a.pt", hash=digest.upper(), hash_type=kind), tmp_path)
    assert (only(report).code, report.models[0].state) == ("model_renamed", "renamed")
    assert apply_fixes(report).workflow["nodes"][0]["widgets_values"] == ["x/renamed.pt"]


def test_the_size_spares_reading(tmp_path: Path) -> None:
    put(tmp_path, "vae/renamed.pt", content=CONTENT)
    put(tmp_path, "vae/large.pt", content=bytes(1000))
    limits = Limits(hash_bytes=len(CONTENT))
    assert only(checked(told("a.pt", size=len(CONTENT)), tmp_path, limits=limits)).code == "model_renamed"
    assert only(checked(told("a.pt", size=len(CONTENT) + 1), tmp_path)).code == "missing_model"


def test_a_file_of_another_size_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, "vae/new/a.pt", content=CONTENT)
    report = checked(told("old/a.pt", size=len(CONTENT) + 1), tmp_path, limits=Limits(hash_bytes=0))
    assert codes(report) == ["missing_model"]


def test_what_was_not_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "vae/renamed.pt", "vae/other.pt", "vae/a.ckpt", content=CONTENT)
    report = checked(told("a.pt"), tmp_path, limits=Limits(hash_bytes=0))
    assert codes(report) == ["missing_model", "search_ended"]
    assert report.problems[1].severity is Severity.NOTICE
    assert report.problems[1].message.startswith("2 files were not compared")


def test_a_file_that_its_loader_does_not_see(tmp_path: Path) -> None:
    put(tmp_path, "checkpoints/a.pt", content=CONTENT)
    for workflow in (loads("VAELoader", "a.pt"), told("a.pt"), told("other.pt")):
        report = checked(workflow, tmp_path)
        found = only(report)
        assert (found.code, found.verdict.fix, report.fixable) == ("model_elsewhere", "use_found_model", [])
        assert found.fix is not None
        assert found.fix.parameters["found"] == "checkpoints/a.pt"
        assert found.fix.parameters["destination"] in ("vae/a.pt", "vae/other.pt")


def test_several_folders_of_models(tmp_path: Path) -> None:
    put(tmp_path, "one/vae/a.pt", "two/vae/b.pt")
    workflow = ui(node(1, "VAELoader", "a.pt"), node(2, "VAELoader", "b.pt"))
    assert codes(check_workflow(workflow, models=[tmp_path / "one", str(tmp_path / "two")])) == []


def test_links_are_followed_and_circles_ended(tmp_path: Path) -> None:
    put(tmp_path, "disk/a.pt", "models/loras/b.pt")
    (tmp_path / "models" / "vae").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "disk")
    assert codes(checked(loads("VAELoader", "a.pt"), tmp_path / "models")) == []


def test_a_check_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    put(tmp_path, "vae/renamed.pt", content=CONTENT)
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(told("a.pt"), tmp_path, check=check)


def test_a_folder_or_a_file_that_cannot_be_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "vae/gone.pt", "vae/damaged.pt", "vae/good.pt", content=CONTENT)
    assert only(checked(told("a.pt"), tmp_path / "nowhere")).code == "missing_model"
    real = open

    def refuse(path: Any, *arguments: Any, **more: Any) -> Any:
        if str(path).endswith("damaged.pt"):
            raise OSError(5, "Input/output error")
        return real(path, *arguments, **more)

    monkeypatch.setattr("builtins.open", refuse)
    (tmp_path / "vae" / "gone.pt").unlink()
    (tmp_path / "vae" / "gone.pt").symlink_to(tmp_path / "none")
    report = checked(told("a.pt"), tmp_path)
    assert apply_fixes(report).workflow["nodes"][0]["widgets_values"] == ["good.pt"]


def test_only_so_many_files_are_gathered(tmp_path: Path) -> None:
    put(tmp_path, *(f"vae/{number}.pt" for number in range(9)))
    workflow = ui(node(1, "VAELoader", "0.pt"), node(2, "VAELoader", "8.pt"))
    report = checked(workflow, tmp_path, limits=Limits(models=5))
    assert [model.state for model in report.models] == ["present", "missing"]
