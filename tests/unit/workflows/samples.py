"""Small workflows to check, and the folders they are checked against."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

from launcher_recovery.workflows import Problem, Report, check_workflow

CONTENT = b"the real model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def node(identity: Any, kind: str, *values: Any, **members: Any) -> dict[str, Any]:
    """A node as the page saves it; `inputs` and `outputs` are (name, type, link or links) each."""
    inputs = [{"name": name, "type": kind, "link": link} for name, kind, link in members.pop("inputs", ())]
    outputs = [{"name": name, "type": kind, "links": links} for name, kind, links in members.pop("outputs", ())]
    return {
        "id": identity, "type": kind, "pos": [0, 0], "size": [1, 1], "flags": {}, "order": 0, "mode": 0,
        "inputs": inputs, "outputs": outputs, "properties": {}, "widgets_values": list(values), **members,
    }  # fmt: skip


def ui(*nodes: dict[str, Any], links: Any = (), **members: Any) -> dict[str, Any]:
    """A workflow of version 0.4."""
    return {
        "last_node_id": 99,
        "last_link_id": 99,
        "nodes": list(nodes),
        "links": list(links),
        "version": 0.4,
        **members,
    }


def subgraph(identity: str, *nodes: dict[str, Any], links: Any = (), **members: Any) -> dict[str, Any]:
    """The definition of a subgraph."""
    return {
        "id": identity, "name": f"sub {identity}", "version": 1, "nodes": list(nodes), "links": list(links),
        "inputNode": {"id": -10}, "outputNode": {"id": -20}, "inputs": [], "outputs": [], **members,
    }  # fmt: skip


def link(identity: int, origin: int, origin_slot: int, target: int, target_slot: int, kind: str) -> dict[str, Any]:
    """A link of version 1."""
    return {
        "id": identity, "origin_id": origin, "origin_slot": origin_slot, "target_id": target,
        "target_slot": target_slot, "type": kind,
    }  # fmt: skip


def nested(*subgraphs: dict[str, Any]) -> dict[str, Any]:
    """The member of a workflow that holds its subgraphs."""
    return {"definitions": {"subgraphs": list(subgraphs)}}


def api(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A workflow as it runs: numbers with an n before them to type and inputs."""
    return {key.lstrip("n"): {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def codes(report: Report) -> list[str]:
    """The codes of all problems."""
    return [problem.code for problem in report.problems]


def only(report: Report) -> Problem:
    """The only problem."""
    assert len(report.problems) == 1, codes(report)
    return report.problems[0]


def put(root: Path, *places: str, content: bytes = b"model") -> Path:
    """Write files below a folder."""
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks (no picture is looked at)."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", bytes(13)), *chunks, (b"IDAT", b"x"), (b"IEND", b"")):
        parts.append(len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big"))
    return b"".join(parts)


def loads(kind: str, *values: Any, **members: Any) -> dict[str, Any]:
    """A workflow of one node."""
    return ui(node(1, kind, *values, **members))


def told(name: str, kind: str = "VAELoader", **more: Any) -> dict[str, Any]:
    """A workflow that tells the checksum of its model."""
    model = {"name": name, "url": "https://h/x", "directory": "vae", "hash": SHA256, "hash_type": "SHA256", **more}
    return loads(kind, name, properties={"models": [model]})


def checked(workflow: dict[str, Any], root: Path, **more: Any) -> Report:
    """What is found with these models, where names are written with `/`."""
    return check_workflow(workflow, models=root, windows=False, **more)
