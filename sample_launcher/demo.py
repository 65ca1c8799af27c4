"""The demo project: an import file for what the model hub has on offer."""

from __future__ import annotations

from typing import Any

import requests

from .imports import FORMAT

MODEL = "demo-model.safetensors"


def import_json(hub_url: str) -> dict[str, Any]:
    """The demo's import file for the hub at `hub_url`; asks the hub for the model's size and SHA-256.

    Raises requests.RequestException when the hub does not answer.
    """
    # The first SHA-256 of 256 MB takes the hub a second on a slow machine.
    response = requests.get(f"{hub_url}/_hub/models/{MODEL}", timeout=30)
    response.raise_for_status()
    model = response.json()
    return {
        "format": FORMAT,
        "comfyui": {"url": f"{hub_url}/git/comfyui.git"},
        "nodes": [{"url": f"{hub_url}/git/demo-node.git"}],
        "models": [
            {
                "url": model["url"],
                "path": f"checkpoints/{MODEL}",
                "sha256": model["sha256"],
                "size": model["size"],
            }
        ],
        "workflow": {
            "nodes": [
                {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": [MODEL]},
                {"id": 2, "type": "DemoNode", "widgets_values": ["world"]},
            ],
            "links": [],
            "version": 0.4,
        },
    }
