"""Models that nodes name are found by the folder their loader reads, however the name is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.workflows import ModelSource, Severity, apply_fixes, check_workflow
from launcher_recovery.workflows.sources import Nobody
from tests.unit.workflows.samples import SHA256, api, checked, codes, loads, node, only, put, told, ui


@pytest.mark.parametrize(
    ("kind", "values", "places"),
    [
        ("CheckpointLoaderSimple", ["a.ckpt"], ["checkpoints/a.ckpt"]),
        ("CheckpointLoader", ["v1.yaml", "a.ckpt"], ["checkpoints/a.ckpt"]),
        ("LoraLoader", ["x/a.safetensors", 1, 1], ["loras/x/a.safetensors"]),
        ("DualCLIPLoader", ["l.bin", "t5.gguf", "flux"], ["clip/l.bin", "text_encoders/t5.gguf"]),
        ("UNETLoader", ["a.sft", "default"], ["unet/a.sft"]),
        ("UNETLoader", ["a.sft", "default"], ["diffusion_models/a.sft"]),
        ("ControlNetLoader", ["a.pth"], ["t2i_adapter/a.pth"]),
        ("UpscaleModelLoader", ["a.pth"], ["upscale_models/a.pth"]),
        ("CLIPVisionLoader", ["a.pt"], ["clip_vision/a.pt"]),
        ("StyleModelLoader", ["a.pt"], ["style_models/a.pt"]),
        ("GLIGENLoader", ["a.pt"], ["gligen/a.pt"]),
        ("HypernetworkLoader", ["a.pt", 1], ["hypernetworks/a.pt"]),
        ("IPAdapterModelLoader", ["a.bin"], ["ipadapter/a.bin"]),
        ("UltralyticsDetectorProvider", ["bbox/a.pt"], ["ultralytics/bbox/a.pt"]),
        ("VAELoader", ["taesd"], []),
        ("Anything", [{"deep": [{"x": "a.onnx"}]}], ["anywhere/at/all/a.onnx"]),
    ],
)
def test_a_model_is_where_its_loader_looks(kind: str, values: Sequence[Any], places: list[str], tmp_path: Path) -> None:
    report = checked(loads(kind, *values), put(tmp_path, *places))
    assert codes(report) == []
    assert [model.path for model in report.models] == [str(tmp_path / place) for place in places]
    assert {model.state for model in report.models} <= {"present"}


def test_without_a_folder_models_are_only_listed() -> None:
    (model,) = check_workflow(loads("VAELoader", "a.pt")).models
    assert (model.name, model.folder, model.state) == ("a.pt", "vae", None)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a.safetensors", True), ("A.SAFETENSORS", True), ("my model v2.pt", True), ("a.png", False), ("a", False),
        ("https://h/a.safetensors", False), ("load\na.safetensors", False), ("x" * 2000 + ".pt", False),
    ],
)  # fmt: skip
def test_which_texts_are_names_of_models(text: str, is_one: bool) -> None:
    assert bool(check_workflow(loads("Anything", text)).models) is is_one


def test_a_model_that_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "loras/b.pt", "checkpoints/readme.txt")
    found = only(checked(loads("CheckpointLoaderSimple", "a.ckpt"), tmp_path))
    assert (found.code, found.severity, found.node_id) == ("missing_model", Severity.ERROR, 1)
    assert found.message == "The model a.ckpt is missing in checkpoints."
    assert (found.verdict.fix, found.verdict.category.value) == ("download_missing_model", "validation")


def test_where_a_missing_model_can_be_had(tmp_path: Path) -> None:
    class Known(Nobody):
        def model_sources(self, name: str, folder: str | None) -> Sequence[ModelSource]:
            assert (name, folder) == ("a.pt", "vae")
            return [ModelSource("a.pt", "https://mirror/a.pt")]

    found = only(checked(told("sub/a.pt"), tmp_path, lookups=Known()))
    assert found.fix is not None
    assert found.fix.parameters == {
        "model": "sub/a.pt", "folder": "vae", "url": "https://h/x", "destination": "vae/sub/a.pt", "sha256": SHA256,
        "sources": ["https://mirror/a.pt"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "windows", "right"),
    [
        ("x\\a.pt", False, "x/a.pt"),
        ("x/a.pt", True, "x\\a.pt"),
        ("X/A.PT", False, "x/a.pt"),
        ("./x//a.pt", False, "x/a.pt"),
        ("/x/a.pt", False, "x/a.pt"),
        (" x/a.pt ", False, "x/a.pt"),
        ("C:\\ComfyUI\\models\\vae\\x\\a.pt", False, "x/a.pt"),
        ("/home/u/ComfyUI/models/vae/x/a.pt", False, "x/a.pt"),
        ("vae/x/a.pt", False, "x/a.pt"),
        ("../../x/a.pt", False, "x/a.pt"),
    ],
)
def test_a_name_that_is_written_otherwise_is_put_right(name: str, windows: bool, right: str, tmp_path: Path) -> None:
    put(tmp_path, "vae/x/a.pt")
    for workflow, values in (
        (loads("VAELoader", name), ("nodes", 0, "widgets_values", 0)),
        (api(n5=("VAELoader", {"vae_name": name})), ("5", "inputs", "vae_name")),
    ):
        report = check_workflow(workflow, models=tmp_path, windows=windows)
        found = only(report)
        assert (found.code, found.pointer) == ("model_path_style", values)
        fixed = apply_fixes(report).workflow
        assert codes(check_workflow(fixed, models=tmp_path, windows=windows)) == []
        assert report.models[0].state == "written_otherwise"
        assert right in str(fixed).replace("\\\\", "\\")


def test_accents_are_one_letter_or_two(tmp_path: Path) -> None:
    put(tmp_path, "vae/e\u0301.pt")
    assert only(checked(loads("VAELoader", "\xe9.pt"), tmp_path)).code == "model_path_style"


def test_nothing_outside_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path, "secret.pt")
    (tmp_path / "models").mkdir()
    for name in ("../secret.pt", str(tmp_path / "secret.pt"), "..\\secret.pt"):
        assert only(checked(loads("VAELoader", name), tmp_path / "models")).code == "missing_model"


# -- what is not sure ---------------------------------------------------------------------------------


def test_one_model_of_many_nodes_is_one_problem(tmp_path: Path) -> None:
    put(tmp_path, "vae/x/a.pt")
    report = checked(ui(*(node(n, "VAELoader", "x\\a.pt") for n in range(3))), tmp_path)
    only(report)
    assert report.models[0].nodes == (0, 1, 2)
    fixed = apply_fixes(report).workflow
    assert [entry["widgets_values"] for entry in fixed["nodes"]] == [["x/a.pt"]] * 3


def test_nodes_that_fetch_their_models_themselves(tmp_path: Path) -> None:
    found = only(checked(loads("DepthAnythingV2Preprocessor", "depth_anything_v2_vitl.pth", 512), tmp_path))
    assert found.severity is Severity.NOTICE


def test_what_the_workflow_says_of_the_folder_counts_for_unknown_loaders(tmp_path: Path) -> None:
    put(tmp_path, "detection/a.pt")
    assert codes(checked(told("a.pt", "UnknownLoader", directory="detection"), tmp_path)) == []
    assert only(checked(told("a.pt", "UnknownLoader", directory="else"), tmp_path)).code == "missing_model"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("lora_name_2", "loras"), ("ckpt_name", "checkpoints"), ("base_ckpt_name", "checkpoints"), ("vae", "vae"),
        ("unet_name", "diffusion_models"), ("clip_name1", "text_encoders"), ("control_net_name", "controlnet"),
        ("clip_vision_name", "clip_vision"), ("something", None),
    ],
)  # fmt: skip
def test_inputs_of_unknown_nodes_by_their_name(name: str, folder: str | None) -> None:
    (model,) = check_workflow(api(n1=("Unknown", {name: "a.pt"}))).models
    assert model.folder == folder


def test_names_in_unknown_nodes_are_put_right_as_well(tmp_path: Path) -> None:
    put(tmp_path, "anything/X/a.pt")
    report = checked(loads("Unknown", "x\\a.pt"), tmp_path)
    assert (only(report).code, only(report).severity) == ("model_path_style", Severity.WARNING)
    assert apply_fixes(report).workflow["nodes"][0]["widgets_values"] == ["X/a.pt"]
    for name in ("X/a.pt", "a.pt", "/data/models/anything/X/a.pt", "D:\\models\\anything\\X\\a.pt"):
        assert codes(checked(loads("Unknown", name), tmp_path)) == []


def test_rows_that_are_switched_off_do_not_count() -> None:
    rows = [{}, {"on": True, "lora": "a.pt", "strength": 1}, {"on": False, "lora": "b.pt"}]
    report = check_workflow(loads("Power Lora Loader (rgthree)", *rows))
    assert [(model.name, model.folder) for model in report.models] == [("a.pt", "loras")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a cat, embedding:easy, sky", ["easy"]),
        ("(embedding:sub/bad-hands:1.2), [EMBEDDING:x.pt]", ["sub/bad-hands", "x.pt"]),
        ("embedding:a embedding:a", ["a"]),
        ("embedding: nothing", []),
    ],
)
def test_embeddings_in_prompts(text: str, names: list[str], tmp_path: Path) -> None:
    report = checked(loads("CLIPTextEncode", text), tmp_path)
    assert [(model.name, model.folder) for model in report.models] == [(name, "embeddings") for name in names]
    assert {(found.code, found.severity) for found in report.problems} <= {("missing_embedding", Severity.WARNING)}
    put(tmp_path, *(f"embeddings/{name.removesuffix('.pt')}.pt" for name in names))
    assert codes(checked(loads("CLIPTextEncode", text), tmp_path)) == []


def test_a_missing_embedding_is_downloaded_with_its_suffix(tmp_path: Path) -> None:
    class Known(Nobody):
        def model_sources(self, name: str, folder: str | None) -> Sequence[ModelSource]:
            return [ModelSource(name, "https://h/easy.pt", folder)] if name == "easy.pt" else []

    found = only(checked(loads("CLIPTextEncode", "embedding:easy"), tmp_path, lookups=Known()))
    assert found.fix is not None
    assert found.fix.parameters["destination"] == "embeddings/easy.pt"
