"""What the hub's repositories and packages contain: a node, something in the shape of ComfyUI, and what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A Python package with one module; `code` is that module."""

    name: str
    version: str
    code: str

    @property
    def module(self) -> str:
        """The name it is imported by."""
        return self.name.replace("-", "_")

    @property
    def wheel(self) -> str:
        """The name of its file."""
        return f"{self.module}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True)
class Commit:
    """A commit of a repository: `files` are those that it adds or changes, by path."""

    message: str
    files: Mapping[str, str]


HELPER = Package(
    "demo-node-helper",
    "1.0.0",
    '''"""What the demo node needs."""


def greet(name):
    """A greeting."""
    return f"Hello, {name}!"
''',
)

FRONTEND = Package(
    "demo-comfyui-frontend",
    "1.0.0",
    '''"""What the demo's ComfyUI needs."""

TITLE = "ComfyUI of the demo"
''',
)

PACKAGES = (HELPER, FRONTEND)
"""All that the index has."""

NODE_COMMITS = (
    Commit(
        "A node that greets",
        {
            "__init__.py": '''"""A custom node that greets; it is here to be installed."""


class DemoNode:
    """Gives a greeting back."""

    CATEGORY = "demo"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": "world"})}}

    def run(self, name):
        from demo_node_helper import greet

        return (greet(name),)


NODE_CLASS_MAPPINGS = {"DemoNode": DemoNode}
NODE_DISPLAY_NAME_MAPPINGS = {"DemoNode": "Demo node"}
'''
        },
    ),
    Commit("Say what it is", {"README.md": "# Demo node\n\nA custom node that greets.\n"}),
)
"""The demo node."""

COMFYUI_COMMITS = (
    Commit(
        "In the shape of ComfyUI",
        {
            "main.py": '''"""Stands in for ComfyUI: says what it has, and ends."""

from demo_comfyui_frontend import TITLE

from nodes import NODE_CLASS_MAPPINGS

if __name__ == "__main__":
    print(f"{TITLE}: {', '.join(sorted(NODE_CLASS_MAPPINGS))}")
''',
            "nodes.py": '''"""The nodes that come with it."""


class CheckpointLoaderSimple:
    """Loads a model."""

    CATEGORY = "loaders"
    FUNCTION = "load_checkpoint"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"ckpt_name": ("STRING", {})}}

    def load_checkpoint(self, ckpt_name):
        return (ckpt_name, ckpt_name, ckpt_name)


NODE_CLASS_MAPPINGS = {"CheckpointLoaderSimple": CheckpointLoaderSimple}
''',
            "folder_paths.py": '''"""Where models and nodes are."""

import os

base_path = os.path.dirname(os.path.realpath(__file__))
models_dir = os.path.join(base_path, "models")
custom_nodes_dir = os.path.join(base_path, "custom_nodes")
''',
            "custom_nodes/example_node.py.example": "# Nodes are folders beside this file.\n",
            "README.md": "# ComfyUI of the demo\n\nA few files in the shape of ComfyUI, to be imported.\n",
        },
    ),
)
"""Something in the shape of ComfyUI."""
