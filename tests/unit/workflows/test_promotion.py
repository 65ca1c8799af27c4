"""A widget that is linked, or shown outside a subgraph, gets its value from there."""

from __future__ import annotations

from typing import Any

from launcher_recovery.workflows import check_workflow
from tests.unit.workflows.samples import link, nested, node, subgraph, ui


def named(workflow: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(model.name, model.folder) for model in check_workflow(workflow).models]


def loader(identity: int, kind: str, name: str, value: str, linked: int | None) -> dict[str, Any]:
    """A loader whose widget is an input as well."""
    made = node(identity, kind, value, inputs=[(name, "COMBO", linked)])
    made["inputs"][0]["widget"] = {"name": name}
    return made


def test_the_value_of_a_linked_widget_does_not_count() -> None:
    primitive = node(1, "PrimitiveNode", "real.pt", "fixed", outputs=[("COMBO", "COMBO", [1])])
    workflow = ui(primitive, loader(2, "VAELoader", "vae_name", "stale.pt", 1), links=[[1, 1, 0, 2, 0, "COMBO"]])
    assert named(workflow) == [("real.pt", "vae")]
    workflow["nodes"][1]["inputs"][0]["link"] = None
    workflow["links"], workflow["nodes"] = [], workflow["nodes"][1:]
    assert named(workflow) == [("stale.pt", "vae")]


def shown(*values: str, **members: Any) -> dict[str, Any]:
    """A subgraph that shows the widgets of two loaders, used with these values."""
    inner = subgraph(
        "s", loader(1, "UNETLoader", "unet_name", "inside.pt", 1), loader(2, "VAELoader", "vae_name", "in.pt", 2),
        links=[link(1, -10, 1, 1, 0, "COMBO"), link(2, -10, 2, 2, 0, "COMBO")],
        inputs=[{"name": "image"}, {"name": "unet", "type": "COMBO"}, {"name": "vae", "type": "COMBO"}],
    )  # fmt: skip
    return ui(node(5, "s", *values, **members), **nested(inner))


def test_values_of_a_subgraph_are_those_of_its_inputs_that_are_widgets() -> None:
    assert named(shown("a.pt", "b.pt")) == [("a.pt", "diffusion_models"), ("b.pt", "vae")]


def test_without_values_outside_those_inside_count() -> None:
    assert named(shown()) == [("inside.pt", "diffusion_models"), ("in.pt", "vae")]


def test_an_older_subgraph_lists_the_widgets_it_shows() -> None:
    inner = subgraph("s", node(1, "UNETLoader", "inside.pt"), node(2, "VAELoader", "in.pt"))
    pairs = [["2", "vae_name"], ["1", "unet_name"]]
    outside = ui(node(5, "s", "a.pt", "b.pt", properties={"proxyWidgets": pairs}), **nested(inner))
    assert named(outside)[:2] == [("a.pt", "vae"), ("b.pt", "diffusion_models")]
    assert named(ui(node(5, "s", properties={"proxyWidgets": pairs}), **nested(inner))) == [
        ("inside.pt", "diffusion_models"), ("in.pt", "vae"),
    ]  # fmt: skip


def test_a_widget_shown_through_two_subgraphs() -> None:
    workflow = shown("x.pt", "y.pt")
    (inner,) = workflow["definitions"]["subgraphs"]
    middle = node(1, "s", "x.pt", "y.pt", inputs=[("unet", "COMBO", 1)])
    middle["inputs"][0]["widget"] = {"name": "unet"}
    outer = subgraph("o", middle, links=[link(1, -10, 0, 1, 0, "COMBO")], inputs=[{"name": "which", "type": "COMBO"}])
    assert named(ui(node(9, "o", "real.pt"), **nested(outer, inner))) == [
        ("real.pt", "diffusion_models"), ("y.pt", "vae"),
    ]  # fmt: skip


def test_what_the_workflow_says_goes_before_a_guess() -> None:
    """There are more values than widgets are known, so that which is which is not sure."""
    models = {"models": [{"name": "b.pt", "url": "https://h/b", "directory": "loras"}]}
    assert named(shown("a", "b.pt", "c", properties=models)) == [("b.pt", "loras")]
