"""What a ComfyUI workflow needs, and what of it is missing here."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

MODEL_SUFFIXES = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"})

BUILT_IN = frozenset(
    {
        "KSampler",
        "KSamplerAdvanced",
        "CheckpointLoaderSimple",
        "CheckpointLoader",
        "CLIPTextEncode",
        "CLIPSetLastLayer",
        "CLIPLoader",
        "DualCLIPLoader",
        "UNETLoader",
        "VAELoader",
        "VAEDecode",
        "VAEEncode",
        "VAEEncodeForInpaint",
        "VAEDecodeTiled",
        "EmptyLatentImage",
        "LatentUpscale",
        "LatentUpscaleBy",
        "SaveImage",
        "PreviewImage",
        "LoadImage",
        "LoadImageMask",
        "ImageScale",
        "ImageScaleBy",
        "ImageUpscaleWithModel",
        "UpscaleModelLoader",
        "LoraLoader",
        "LoraLoaderModelOnly",
        "ControlNetLoader",
        "ControlNetApply",
        "ControlNetApplyAdvanced",
        "ConditioningCombine",
        "ConditioningConcat",
        "ConditioningSetArea",
        "StyleModelLoader",
        "CLIPVisionLoader",
        "CLIPVisionEncode",
        "unCLIPConditioning",
        "Note",
        "MarkdownNote",
        "Reroute",
        "PrimitiveNode",
    }
)
"""Node types that ComfyUI or its page brings along."""


def validate(workflow: object, models: Path, nodes: Path) -> dict[str, Any]:
    """Say what `workflow` needs and which of it is neither below `models` nor provided by `nodes`.

    Returns {"valid", "node_types", "models", "problems"}. Raises ValueError when it is no workflow.
    """
    types, names = _read(workflow)
    provided = BUILT_IN | _provided(nodes)
    files = _files(models)
    problems: list[dict[str, str]] = [
        {
            "code": "missing_node",
            "message": f"No installed custom node provides {kind}.",
            "node_type": kind,
        }
        for kind in sorted(types - provided)
    ]
    for name in sorted(names):
        wanted = name.replace("\\", "/").lstrip("/")
        if not any(file == wanted or file.endswith("/" + wanted) for file in files):
            problem = {"code": "missing_model", "message": f"The model {name} is missing.", "model": name}
            problems.append(problem)
    return {
        "valid": not problems,
        "node_types": sorted(types),
        "models": sorted(names),
        "problems": problems,
    }


def _read(workflow: object) -> tuple[set[str], set[str]]:
    """Node types and model names of a workflow in either format."""
    if isinstance(workflow, (str, bytes)):
        try:
            workflow = json.loads(workflow)
        except ValueError as problem:
            raise ValueError(f"The workflow is not JSON: {problem}.") from problem
    if not isinstance(workflow, dict):
        raise ValueError(f"A workflow must be a JSON object, not {type(workflow).__name__}.")
    if "nodes" in workflow:
        return _read_ui(workflow)
    types: set[str] = set()
    names: set[str] = set()
    for key, node in workflow.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        inputs = node.get("inputs", {}) if isinstance(node, dict) else None
        if not isinstance(kind, str) or not isinstance(inputs, dict):
            raise ValueError(f"This is no workflow: entry {key!r} must be an object with a 'class_type' and 'inputs'.")
        types.add(kind)
        names.update(_model_names(inputs))
    return types, names


def _read_ui(workflow: dict[str, Any]) -> tuple[set[str], set[str]]:
    definitions = workflow.get("definitions")
    parts = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    graphs = [workflow, *(part for part in parts or () if isinstance(part, dict))]
    # A subgraph is used as a node whose type is the subgraph's id.
    own = {part.get("id") for part in graphs[1:]}
    types: set[str] = set()
    names: set[str] = set()
    for graph in graphs:
        nodes = graph.get("nodes")
        if not isinstance(nodes, list):
            raise ValueError(f"A workflow's 'nodes' must be a list, not {type(nodes).__name__}.")
        for number, node in enumerate(nodes):
            kind = node.get("type") if isinstance(node, dict) else None
            if not isinstance(node, dict) or not isinstance(kind, str):
                raise ValueError(f"This is no workflow: node {number} must be an object with a 'type'.")
            if kind not in own:
                types.add(kind)
            names.update(_model_names(node.get("widgets_values")))
    return types, names


def _model_names(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if PurePosixPath(value).suffix.lower() in MODEL_SUFFIXES and "\n" not in value:
            yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _model_names(inner)


def _files(models: Path) -> set[str]:
    return {Path(folder, name).relative_to(models).as_posix() for folder, _, names in os.walk(models) for name in names}


def _provided(nodes: Path) -> set[str]:
    """Node types that the custom nodes declare, read from their source without running it."""
    found: set[str] = set()
    for file in nodes.glob("*/__init__.py"):
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for statement in ast.walk(tree):
            found.update(_mapping_keys(statement))
    return found


def _mapping_keys(statement: ast.AST) -> Iterator[str]:
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    for target in targets:
        keys: list[ast.expr | None] = []
        if isinstance(target, ast.Name) and target.id == "NODE_CLASS_MAPPINGS":
            keys = statement.value.keys if isinstance(statement.value, ast.Dict) else []
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            keys = [target.slice] if target.value.id == "NODE_CLASS_MAPPINGS" else []
        for key in keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value
