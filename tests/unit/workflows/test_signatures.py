"""What nodes give and take is read from their source, so that a link of the format that runs can be told not to fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.workflows import Report, Severity, check_workflow
from launcher_recovery.workflows.installed import installed_nodes
from launcher_recovery.workflows.limits import DEFAULT_LIMITS
from launcher_recovery.workflows.signatures import Signature
from tests.unit.workflows.samples import api, codes, only

NODES = """
class KSampler:
    RETURN_TYPES = ("LATENT",)
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"model": ("MODEL", {"tooltip": "x"}), "steps": ("INT",), "sampler": (SAMPLERS,)},
                "optional": {"extra": ("CLIP",)}, "hidden": {"prompt": "PROMPT"}}
class Special(KSampler):
    RETURN_TYPES = ("LATENT", "IMAGE")
NODE_CLASS_MAPPINGS = {"KSampler": KSampler, "Special": Special, "Odd ": nodes.KSampler}
"""
TYPES = """
@comfytype(io_type="MODEL")
class Model(ComfyTypeIO): pass
@comfytype(io_type="COMFY_MATCHTYPE_V3")
class MatchType(ComfyTypeIO): pass
"""
EXTRA = """
class Patch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Patch",
            inputs=[
                io.Model.Input("model"), io.Custom("THING").Input(id="thing"), io.MatchType.Input("any"),
                io.Int.Input("number", widget_type="SLIDER"), late(), *more, io.Model.Input(name),
            ],
            outputs=[io.Model.Output(), io.Custom("THING").Output(display_name="t"), io.MatchType.Output(), late],
        )
class Sink(io.ComfyNode):
    def define_schema(cls):
        return io.Schema(node_id="Sink", inputs=[io.Model.Input("model")])
class Open(io.ComfyNode):
    def define_schema(cls):
        return io.Schema(node_id="Open", outputs=[*them])
class Given(io.ComfyNode):
    def define_schema(cls):
        return io.Schema(node_id="Given", **rest)
"""


def comfyui(root: Path, package: str = "", **files: str) -> Path:
    """A ComfyUI with a package of custom nodes, and further files of that."""
    for place, text in {
        "nodes.py": NODES, "comfy_api/latest/_io.py": TYPES, "comfy_extras/nodes_patch.py": EXTRA,
        "custom_nodes/pack/__init__.py": package,
        **{f"custom_nodes/pack/{name}.py": text for name, text in files.items()},
    }.items():  # fmt: skip
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def known(root: Path, node_type: str) -> Signature:
    """What is read of a node type."""
    return installed_nodes([root / "custom_nodes"], DEFAULT_LIMITS, lambda: None).signatures.of(node_type)


def linked(origin: str, slot: int, target: str, name: str) -> dict[str, Any]:
    """One link."""
    return api(n1=(origin, {}), n2=(target, {name: ["1", slot]}))


def checked(workflow: dict[str, Any], root: Path) -> Report:
    return check_workflow(workflow, nodes=root / "custom_nodes")


def test_nodes_of_comfyui_are_known(tmp_path: Path) -> None:
    root = comfyui(tmp_path)
    inputs = {"model": "MODEL", "steps": "INT", "extra": "CLIP"}
    assert known(root, "KSampler") == Signature(("LATENT",), inputs, True)
    assert known(root, "Special") == Signature(("LATENT", "IMAGE"), inputs, True)
    assert known(root, "Odd ") == known(root, "KSampler")
    taken = {"model": "MODEL", "thing": "THING", "any": "*", "number": "*"}
    assert known(root, "Patch") == Signature(("MODEL", "THING", "*", "*"), taken, True)
    assert known(root, "Sink") == Signature((), {"model": "MODEL"}, True)
    assert known(root, "Open") == known(root, "Given") == known(root, "None") == Signature()
    assert known(root, "VAEDecode") == Signature(("IMAGE",), {"samples": "LATENT", "vae": "VAE"})


def test_a_link_that_does_not_fit_is_told(tmp_path: Path) -> None:
    root = comfyui(tmp_path)
    found = only(checked(linked("Patch", 1, "Special", "model"), root))
    assert (found.code, found.severity, found.node_id) == ("link_type_mismatch", Severity.ERROR, "2")
    assert found.message == "Model of Special (node 2) takes MODEL, but what is linked to it gives THING."
    assert codes(checked(linked("Patch", 0, "Special", "model"), root)) == []


@pytest.mark.parametrize(
    ("origin", "slot", "target", "name"),
    [
        ("Patch", 2, "KSampler", "model"), ("Patch", 3, "KSampler", "model"), ("KSampler", 0, "Patch", "any"),
        ("KSampler", 0, "KSampler", "sampler"), ("KSampler", 0, "KSampler", "new_input"),
        ("Open", 7, "KSampler", "model"), ("KSampler", 0, "Given", "x"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_told(tmp_path: Path, origin: str, slot: int, target: str, name: str) -> None:
    assert codes(checked(linked(origin, slot, target, name), comfyui(tmp_path))) == []


def test_an_output_that_the_installed_version_does_not_have(tmp_path: Path) -> None:
    """Newer versions of ComfyUI have added outputs to old nodes."""
    found = only(checked(linked("Sink", 0, "KSampler", "model"), comfyui(tmp_path)))
    assert (found.code, found.verdict.fix) == ("link_slot_installed", "update_comfyui")
    assert "output 0 of Sink (node 1), but as it is installed that has 0" in found.message


PACKAGE = "from .impl import Mine, Other\nNODE_CLASS_MAPPINGS = {'Mine': Mine, 'Other': Other}\n"
MINE = """
class Base:
    RETURN_TYPES = ["THING"]
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"thing": ("THING",)}}
class Mine(Base): pass
class Other(Base):
    %s
"""


@pytest.mark.parametrize(
    ("member", "outputs", "inputs"),
    [
        ("pass", ("THING",), {"thing": "THING"}),
        ("RETURN_TYPES: tuple = ('A', ANY)", ("A", "*"), {"thing": "THING"}),
        ("RETURN_TYPES = tuple(found())", None, {"thing": "THING"}),
        ("RETURN_TYPES = ('A', *found())", None, {"thing": "THING"}),
        ("RETURN_TYPES = ('A')", None, {"thing": "THING"}),
        ("def INPUT_TYPES(cls): return found()", ("THING",), {}),
        ("def INPUT_TYPES(cls): return {'required': {'a': ('A',), **more}, 'optional': {'b': ('B',), c: 1}}",
         ("THING",), {"b": "B"}),
        ("def INPUT_TYPES(cls):\n        if x: return {}\n        return {'required': {'a': ('A',)}}", ("THING",), {}),
        ("def VALIDATE_INPUTS(cls, input_types): return True", ("THING",), {}),
        ("def VALIDATE_INPUTS(cls, thing): return True", ("THING",), {"thing": "THING"}),
    ],
)  # fmt: skip
def test_a_package_is_known_as_far_as_it_is_written_out(
    tmp_path: Path, member: str, outputs: tuple[str, ...] | None, inputs: dict[str, str]
) -> None:
    root = comfyui(tmp_path, PACKAGE, impl=MINE % member)
    assert known(root, "Mine") == Signature(("THING",), {"thing": "THING"}, True)
    assert known(root, "Other") == Signature(outputs, inputs, True)


@pytest.mark.parametrize(
    ("package", "impl"),
    [
        (PACKAGE + "Mine.RETURN_TYPES = ('B',)\n", MINE % "pass"),
        (PACKAGE + "Mine.RETURN_TYPES += ('B',)\n", MINE % "pass"),
        (PACKAGE, MINE % "pass" + "@changed\nclass Mine(Base): pass\n"),
        (PACKAGE, MINE % "pass" + "class Mine(Base): RETURN_TYPES = ('B',)\n"),
        (PACKAGE + "NODE_CLASS_MAPPINGS['Mine'] = Other\n", MINE % "RETURN_TYPES = ('B',)"),
        ("NODE_CLASS_MAPPINGS = {'Mine': made(Mine)}\n", MINE % "pass"),
        ("NODE_CLASS_MAPPINGS = {'Mine': Unknown}\n", MINE % "pass"),
        (PACKAGE, "class Mine(A, B): pass\n"),
        (PACKAGE, "class Mine(Mine): pass\n"),
    ],
)
def test_what_may_be_otherwise_is_not_known(tmp_path: Path, package: str, impl: str) -> None:
    assert known(comfyui(tmp_path, package, impl=impl), "Mine") == Signature()


def test_of_two_packages_with_one_type_neither_counts_unless_they_agree(tmp_path: Path) -> None:
    root = comfyui(tmp_path, PACKAGE, impl=MINE % "pass")
    other = "class A:\n  RETURN_TYPES = ('%s',)\nNODE_CLASS_MAPPINGS = {'Mine': A, 'KSampler': A} | {'More': A}\n"
    (root / "custom_nodes" / "other.py").write_text(other % "THING")
    assert known(root, "Mine") == Signature()
    assert known(root, "More").outputs == ("THING",)
    assert known(root, "KSampler").outputs == ("LATENT",)
    (root / "custom_nodes" / "same.py").write_text((other % "THING").replace("Mine", "M"))
    assert known(root, "More").outputs == ("THING",)


def test_a_file_is_read_anew_when_it_has_changed(tmp_path: Path) -> None:
    root = comfyui(tmp_path, PACKAGE, impl=MINE % "pass")
    file = root / "custom_nodes/pack/impl.py"
    assert known(root, "Mine").outputs == ("THING",)
    file.write_text((MINE % "pass").replace('["THING"]', '["OTHER"]'))
    os.utime(file, ns=(1, 1))
    assert known(root, "Mine").outputs == ("OTHER",)


def test_nothing_of_it_is_run(tmp_path: Path) -> None:
    root = comfyui(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n{PACKAGE}", impl=MINE % "pass")
    assert known(root, "Mine").outputs == ("THING",)
    assert not (tmp_path / "ran").exists()
