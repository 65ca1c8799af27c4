"""Models in the folders of extra_model_paths.yaml, and behind links, count as found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.workflows import Report, Severity, check_workflow
from launcher_recovery.workflows.model_paths import ModelFolder, read_model_paths, write_model_paths
from tests.unit.workflows.samples import checked, codes, loads, only, put

LORA = loads("LoraLoader", "sub/a.safetensors")


def listed(folder: Path, text: str) -> list[ModelFolder]:
    """What a file of this text lists."""
    file = folder / "extra_model_paths.yaml"
    file.write_text(text, encoding="utf-8")
    return read_model_paths(file)


def test_a_file_as_comfyui_has_it(tmp_path: Path) -> None:
    found = listed(
        tmp_path,
        """
# a comment
a111:
    base_path: path/to/webui/
    checkpoints: models/Stable-diffusion
    loras: |
         models/Lora

         models/LyCORIS
    unet: /elsewhere/unet
other:
    is_default: true
    clip: ../clip
nothing:
""",
    )
    root = tmp_path / "path/to/webui/models"
    assert found == [
        ModelFolder("checkpoints", str(root / "Stable-diffusion")),
        ModelFolder("loras", str(root / "Lora")),
        ModelFolder("loras", str(root / "LyCORIS")),
        ModelFolder("diffusion_models", os.path.normpath("/elsewhere/unet")),
        ModelFolder("text_encoders", str(tmp_path.parent / "clip"), is_default=True),
    ]


def test_of_the_base_path_variables_and_the_home_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_OF_TEST", str(tmp_path / "there"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    found = listed(tmp_path, "a: {base_path: $MODELS_OF_TEST/x, vae: $y}\nb: {base_path: '~/m', vae: v}\n")
    assert [folder.path for folder in found] == [str(tmp_path / "there/x/$y"), str(tmp_path / "home/m/v")]


def test_entries_may_be_taken_over_and_odd_ones_are_left_out(tmp_path: Path) -> None:
    text = (
        "a: &a {base_path: /m, vae: v, is_default: 'true'}\nb: {<<: *a, 1: one, [x]: y, loras: [l], gligen: , c: 2}\n"
    )
    found = listed(tmp_path, text)
    assert found == [
        ModelFolder("vae", os.path.normpath("/m/v")),
        ModelFolder("vae", os.path.normpath("/m/v")),
        ModelFolder("1", os.path.normpath("/m/one")),
        ModelFolder("c", os.path.normpath("/m/2")),
    ]
    assert listed(tmp_path, "") == listed(tmp_path, "- a\n") == listed(tmp_path, "text") == []
    assert listed(tmp_path, "a: {ultralytics_bbox: /m}")[0].folder == "ultralytics/bbox"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c", "mapping values are not allowed here"),
        ("a: text", "a must have names of folders and their paths below it"),
        ("a:\n  vae: |\n" + "    v\n" * 1001, "more than 1000 folders"),
        ("#" * 70_000, "more than 65536 letters"),
        ('a: {base_path: "x\\0", vae: v}', "a character that no path has"),
        ("[" * 5000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [exit]", "a must have names"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        listed(tmp_path, text)


def test_aliases_of_aliases_do_not_grow(tmp_path: Path) -> None:
    lines = ["a0: &a0 {vae: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 60)]
    assert len(listed(tmp_path, "\n".join(lines))) == 1


# -- in a check ---------------------------------------------------------------------------------------


def project(root: Path, text: str) -> Path:
    """A ComfyUI with this file."""
    put(root / "ComfyUI", "models/vae/v.pt", "custom_nodes/x.py")
    (root / "ComfyUI" / "extra_model_paths.yaml").write_text(text)
    return root / "ComfyUI"


@pytest.mark.parametrize("default", ["true", "false"])
def test_models_in_further_folders_are_found(tmp_path: Path, default: str) -> None:
    put(tmp_path, "web/models/Lora/sub/a.safetensors")
    root = project(tmp_path, f"web:\n  base_path: {tmp_path}/web\n  is_default: {default}\n  loras: models/Lora\n")
    for where in (
        {"comfyui": root},
        {"models": root / "models", "nodes": root / "custom_nodes"},
        {"models": root / "models", "model_paths": root / "extra_model_paths.yaml"},
    ):
        report = check_workflow(LORA, windows=False, **where)  # type: ignore[arg-type]
        assert "missing_model" not in codes(report)
        assert report.models[0].path == str(tmp_path / "web/models/Lora/sub/a.safetensors")
    assert codes(check_workflow(LORA, models=root / "models")) == ["missing_model"]


def test_of_two_files_the_one_in_a_default_folder_goes_first(tmp_path: Path) -> None:
    put(tmp_path, "one/v.pt", "two/v.pt")
    root = project(tmp_path, f"a: {{vae: {tmp_path}/one}}\nb: {{is_default: yes, vae: {tmp_path}/two}}\n")
    assert check_workflow(loads("VAELoader", "v.pt"), comfyui=root).models[0].path == str(tmp_path / "two/v.pt")


def test_a_folder_that_is_listed_twice_has_its_files_once(tmp_path: Path) -> None:
    """Otherwise one file would seem to be two, of which nobody knows which is meant."""
    root = project(tmp_path, "a:\n  base_path: models\n  vae: vae\n  checkpoints: vae\n")
    put(root, "models/vae/new/w.pt")
    found = only(check_workflow(loads("VAELoader", "old/w.pt"), comfyui=root, windows=False))
    assert (found.code, found.fix.safe if found.fix else None) == ("model_moved", True)


def test_nodes_in_further_folders_are_found(tmp_path: Path) -> None:
    root = project(tmp_path, f"a:\n  custom_nodes: {tmp_path}/more\n")
    put(tmp_path, "more/pack/__init__.py", content=b"NODE_CLASS_MAPPINGS = {'Mine': Mine}")
    assert codes(check_workflow(loads("Mine"), comfyui=root)) == []
    assert codes(check_workflow(loads("Mine"), nodes=root / "custom_nodes")) == []


def test_a_file_that_cannot_be_used_is_a_problem_of_the_check(tmp_path: Path) -> None:
    root = project(tmp_path, "a: text")
    found = only(check_workflow(loads("VAELoader", "v.pt"), comfyui=root))
    assert (found.code, found.severity, found.verdict.fix) == (
        "model_paths_unreadable", Severity.WARNING, "fix_settings",
    )  # fmt: skip
    assert "extra_model_paths.yaml cannot be read: a must have" in found.message
    missing = check_workflow(loads("VAELoader", "v.pt"), models=root / "models", model_paths=tmp_path / "none.yaml")
    assert "none.yaml cannot be read: No such file or directory." in only(missing).message


def test_without_pyyaml_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = only(check_workflow(loads("VAELoader", "v.pt"), comfyui=project(tmp_path, "a: {vae: v}")))
    assert "takes PyYAML: pip install 'launcher-recovery[workflows]'" in found.message


# -- links --------------------------------------------------------------------------------------------


def linked(root: Path, **links: str) -> Path:
    """Links below the folder of models to folders beside it; `__` is a step down."""
    for place, target in links.items():
        path = root / "models" / place.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(root / target, target_is_directory=True)
    return root / "models"


def test_a_folder_of_models_may_be_a_link_and_several_may_lead_to_one(tmp_path: Path) -> None:
    put(tmp_path, "shared/sub/a.safetensors")
    models = linked(tmp_path, loras="shared", vae="shared", clip_vision__more="shared/sub")
    reports = [
        checked(loads(kind, name), models)
        for kind, name in (
            ("LoraLoader", "sub/a.safetensors"), ("VAELoader", "sub/a.safetensors"),
            ("CLIPVisionLoader", "more/a.safetensors"),
        )
    ]  # fmt: skip
    assert [codes(report) for report in reports] == [[], [], []]


def names(report: Report) -> list[Any]:
    return [model.state for model in report.models]


def test_links_into_what_they_are_in_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "models/loras/a.pt")
    models = linked(tmp_path, loras__loop="models", loras__self="models/loras", vae="models")
    report = checked(loads("LoraLoader", "a.pt"), models)
    assert names(report) == ["present"]
    assert codes(checked(loads("LoraLoader", "self/a.pt"), models)) == ["model_moved"]


def test_links_that_multiply_end(tmp_path: Path) -> None:
    """Each of thirty folders has two links to the next: without an end there would be a thousand million paths."""
    put(tmp_path, "f30/a.pt")
    for number in range(30):
        folder = tmp_path / f"f{number}"
        folder.mkdir()
        for name in ("x", "y"):
            (folder / name).symlink_to(tmp_path / f"f{number + 1}", target_is_directory=True)
    models = linked(tmp_path, loras="f0")
    assert names(checked(loads("LoraLoader", "b.pt"), models)) == ["missing"]


def test_what_is_written_for_shared_models_is_read_with_yaml_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaml = pytest.importorskip("yaml")
    file, models = tmp_path / "extra_model_paths.yaml", tmp_path / "the $HOME ~: of 'models' é"
    write_model_paths(file, models, ["ultralytics", "loras", "custom_nodes"])
    section = yaml.safe_load(file.read_text(encoding="utf-8"))["launcher"]
    assert section["is_default"] is True
    assert section["loras"] == str(models / "loras")
    assert section["diffusion_models"].split("\n") == [str(models / "diffusion_models"), str(models / "unet")]
    assert "ultralytics" in section
    assert "custom_nodes" not in section
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = read_model_paths(file)
    assert ModelFolder("loras", str(models / "loras"), is_default=True) in found
    assert ModelFolder("diffusion_models", str(models / "unet"), is_default=True) in found
    assert len(found) == sum(len(paths.split("\n")) for name, paths in section.items() if name != "is_default")


def test_a_file_of_somebody_else_stays_and_an_own_one_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text("mine: {vae: /x}\n")
    write_model_paths(file, tmp_path / "models")
    assert file.read_text() == "mine: {vae: /x}\n"
    file.unlink()
    write_model_paths(file, tmp_path / "models")
    write_model_paths(file, tmp_path / "others")
    assert str(tmp_path / "others" / "vae") in file.read_text()
    assert str(tmp_path / "models") not in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    file.write_text(file.read_text().replace("{", "[", 1))
    with pytest.raises(ValueError, match="changed by hand"):
        read_model_paths(file)
