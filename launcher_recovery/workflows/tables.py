"""Reads the tables that ComfyUI-Manager publishes: which repository has a node type, and where a model is.

They are recognised by what is in them: `extension-node-map.json` (an object from addresses to lists of node types),
`custom-node-list.json` ("custom_nodes") and `model-list.json` ("models").
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.workflows.loaders import main_folder
from launcher_recovery.workflows.names import base, key, tidy
from launcher_recovery.workflows.sources import LoaderInput, ModelSource, NodeSource

_LARGEST = 64 << 20
_WEB = ("https://", "http://")
# Patterns of a table are used on names in workflows: one repetition at most, so that none can take for ever.
_REPETITION = re.compile(r"(?<!\\)[*+{]|(?<!\\)\?(?![:=!])")

# `save_path` is "default" for most models, which means the folder of their type (`get_model_dir` of ComfyUI-Manager).
_FOLDER_OF_TYPE = {
    "checkpoint": "checkpoints", "checkpoints": "checkpoints", "unclip": "checkpoints",
    "text_encoders": "text_encoders", "clip": "text_encoders",
    "vae": "vae", "lora": "loras", "t2i-adapter": "controlnet", "t2i-style": "controlnet", "controlnet": "controlnet",
    "clip_vision": "clip_vision", "gligen": "gligen", "upscale": "upscale_models", "embedding": "embeddings",
    "embeddings": "embeddings", "unet": "diffusion_models", "diffusion_model": "diffusion_models",
    "taesd": "vae_approx",
}  # fmt: skip


class Tables:
    """What files of tables say.

    Args:
        paths: the files.

    Raises:
        RecoveryConfigError: one cannot be read, or is no such table.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]] = ()) -> None:
        self._by_type: dict[str, list[str]] = defaultdict(list)
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        self._first: dict[str, str] = {}
        self._packages: dict[str, NodeSource] = {}
        self._models: dict[str, list[ModelSource]] = defaultdict(list)
        for path in paths:
            self._read(Path(path))

    def node_sources(self, node_type: str) -> Sequence[NodeSource]:
        """Repositories that provide a node type, best first."""
        urls = [self._first[node_type]] if node_type in self._first else []
        urls += self._by_type.get(node_type, [])
        if len(node_type) <= 200:
            urls += [url for pattern, url in self._patterns if pattern.search(node_type)]
        return list(dict.fromkeys(self._packages.get(_url_key(url), NodeSource(url)) for url in urls))

    def model_sources(self, name: str, folder: str | None) -> Sequence[ModelSource]:
        """Files of that name, those for the folder first, and none that is for another one."""
        found = self._models.get(key(base(tidy(name))), [])
        fitting = [source for source in found if None in (folder, source.folder) or _same(source.folder, folder)]
        return sorted(fitting, key=lambda source: source.folder is None)

    def loader_inputs(self, node_type: str) -> Sequence[LoaderInput]:
        """None: such tables do not tell."""
        return ()

    # -- reading --------------------------------------------------------------------------------------

    def _read(self, path: Path) -> None:
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST} bytes")
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecoveryConfigError(f"{path} cannot be read as a table of nodes or models: {error}") from None
        if isinstance(content, dict) and isinstance(content.get("custom_nodes"), list):
            for entry in content["custom_nodes"]:
                self._add_package(entry)
        elif isinstance(content, dict) and isinstance(content.get("models"), list):
            for entry in content["models"]:
                self._add_model(entry)
        elif isinstance(content, dict) and any(url.startswith(_WEB) for url in content):
            for url, entry in content.items():
                self._add_types(url, entry)
        else:
            raise RecoveryConfigError(
                f"{path} is no table of nodes or models: it must be a custom-node-list.json, an "
                "extension-node-map.json or a model-list.json as ComfyUI-Manager publishes them"
            )

    def _add_package(self, entry: Any) -> None:
        files = entry.get("files") if isinstance(entry, dict) else None
        urls = [url for url in files if isinstance(url, str)] if isinstance(files, list) else []
        reference = _text(entry, "reference")
        url = urls[0] if urls else reference
        if not url.startswith(_WEB):
            return
        source = NodeSource(url, _text(entry, "title"), _text(entry, "id") or None)
        for known in (reference, *urls):
            if known:
                self._packages[_url_key(known)] = source
        self._add_rules(url, entry)

    def _add_types(self, url: str, entry: Any) -> None:
        if not url.startswith(_WEB) or not isinstance(entry, list) or not entry or not isinstance(entry[0], list):
            return
        for node_type in entry[0]:
            if isinstance(node_type, str):
                self._by_type[node_type].append(url)
        about = entry[1] if len(entry) > 1 else None
        title = _text(about, "title") or _text(about, "title_aux")
        self._packages.setdefault(_url_key(url), NodeSource(url, title, _text(about, "id") or None))
        self._add_rules(url, about)

    def _add_rules(self, url: str, about: Any) -> None:
        """Patterns of node types, and types of which this one has the real ones."""
        preemptions = about.get("preemptions") if isinstance(about, dict) else None
        for node_type in preemptions if isinstance(preemptions, list) else ():
            if isinstance(node_type, str):
                self._first.setdefault(node_type, url)
        pattern = _text(about, "nodename_pattern")
        if pattern and len(pattern) <= 200 and len(_REPETITION.findall(pattern)) <= 1:
            try:
                self._patterns.append((re.compile(pattern), url))
            except re.error:
                return

    def _add_model(self, entry: Any) -> None:
        name, url = _text(entry, "filename"), _text(entry, "url")
        if not name or not url.startswith(_WEB) or name == "<huggingface>":
            return
        place = _text(entry, "save_path")
        if place in ("", "default"):
            folder = _FOLDER_OF_TYPE.get(_text(entry, "type").lower())
        else:
            folder, _, rest = tidy(place).partition("/")
            name = f"{rest}/{name}" if rest else name
        checksum = _text(entry, "sha256").lower()
        is_checksum = re.fullmatch(r"[0-9a-f]{64}", checksum) is not None
        source = ModelSource(
            tidy(name), url, main_folder(folder) if folder else None, checksum if is_checksum else None
        )
        self._models[key(base(source.name))].append(source)


def _text(entry: Any, name: str) -> str:
    value = entry.get(name) if isinstance(entry, Mapping) else None
    return value.strip() if isinstance(value, str) else ""


def _same(folder: str | None, other: str | None) -> bool:
    return main_folder(folder or "") == main_folder(other or "")


def _url_key(url: str) -> str:
    return url.rstrip("/").removesuffix(".git").lower()
