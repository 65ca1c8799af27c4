"""Where the host imports from: repositories and packages on one server, a model on another; both fail when told to."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.nodes import Far, Source, noise, wheel
from tests.origin import Behaviour, File, Origin

MODEL = "model.safetensors"
MODEL_FOLDER = "checkpoints"
PACKAGE, NODE_PACKAGE = "frontend", "helper"

# What the host clones is written in it; git finds it on our server.
_INSTEAD = {
    "https://github.com/comfyanonymous/ComfyUI.git": "comfyui.git",
    "https://github.com/ltdrdata/ComfyUI-Manager": "manager.git",
    "https://github.com/thecooltechguy/ComfyUI-ComfyWorkflows": "comfyworkflows.git",
}
_PROGRAM = """import argparse
from http.server import HTTPServer, SimpleHTTPRequestHandler

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--listen")
parser.add_argument("--cpu", action="store_true")
args = parser.parse_args()
HTTPServer(("127.0.0.1", args.port), SimpleHTTPRequestHandler).serve_forever()
"""


class _UntilReleased(threading.Event):
    """A server that hangs does so until it is closed."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait()


class World:
    """Two servers on 127.0.0.1, and a context manager.

    Args:
        folder: for repositories, and pip's cache.
        size: of the model, in bytes.
    """

    def __init__(self, folder: Path, size: int = 1 << 20) -> None:
        self.folder = folder
        self.file = File(size, name=MODEL)
        self._sha256 = self.file.sha256
        (folder / "git").mkdir(parents=True)
        self.far = Far(folder / "git")
        self.far.released = _UntilReleased()
        self.origin = Origin()
        self.model_url = self.model()
        self.far.offer(wheel(PACKAGE, "1.0", size=200_000), wheel(NODE_PACKAGE, "1.0", size=20_000))
        self._comfyui = self._repository(
            "comfyui.git",
            {
                "main.py": _PROGRAM,
                "requirements.txt": f"{PACKAGE}\n",
                "web/index.html": "<!DOCTYPE html><title>ComfyUI</title>\n",
                "web/scripts/defaultGraph.js": "export const defaultGraph = {};\n",
                "custom_nodes/example": "",
                f"models/{MODEL_FOLDER}/put_checkpoints_here": "",
                "data": noise(300_000, "comfyui"),
            },
        )
        self._repository("manager.git", {"requirements.txt": ""})
        self._repository("comfyworkflows.git", {"requirements.txt": ""})
        node = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "requirements.txt": f"{NODE_PACKAGE}\n"}
        script = "print('the script of the node')\n"
        self._node = self._repository("node.git", {**node, "install.py": script, "data": noise(300_000, "node")})
        (folder / "gitconfig").write_text(
            "".join(
                f'[url "{self.far.url}/git/{name}"]\n    insteadOf = {original}\n'
                for original, name in _INSTEAD.items()
            )
        )

    def _repository(self, name: str, content: Mapping[str, str | bytes]) -> str:
        """Serve a repository; its only commit."""
        source = Source(self.folder / f"work-{name}")
        commit = source.commit(content)
        self.far.serve(source, name)
        return commit

    def model(self, *behaviours: Behaviour) -> str:
        """Have the model, with these behaviours of its server; its address."""
        return self.origin.add(self.file, *behaviours, path=f"/{MODEL}")

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs so that its git and pip find this world, and nothing else."""
        return {
            "GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"{self.far.url}/simple",
            "PIP_CACHE_DIR": str(self.folder / "pip"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    @property
    def node_url(self) -> str:
        return f"{self.far.url}/git/node.git"

    def launcher_json(self, **of_file: Any) -> dict[str, Any]:
        """An import of ComfyUI at a commit, a node and the model; arguments replace what is said of its file."""
        file = {
            "download_url": self.model_url,
            "dest_relative_path": f"models/{MODEL_FOLDER}/{MODEL}",
            "sha256_checksum": self._sha256,
            **of_file,
        }
        loader = {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": [MODEL]}
        return {
            "format": "comfyui_launcher",
            "workflow_json": {"nodes": [loader], "links": [], "version": 0.4},
            "snapshot_json": {
                "comfyui": self._comfyui,
                "git_custom_nodes": {
                    self.node_url: {"hash": self._node, "disabled": False},
                    # Some snapshots name what is there already, or what was switched off.
                    "https://github.com/ltdrdata/ComfyUI-Manager": {"hash": "0" * 40, "disabled": False},
                    f"{self.far.url}/git/nowhere.git": {"hash": "", "disabled": True},
                },
            },
            "files": [[file]],
            "pip_requirements": [],
        }

    def __enter__(self) -> World:
        self.origin.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.far.close()
        self.origin.__exit__(kind, error, trace)
