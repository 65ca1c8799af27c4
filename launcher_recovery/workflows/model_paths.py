"""Further folders of models, as ComfyUI reads them from `extra_model_paths.yaml` (utils/extra_config.py)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher_recovery.workflows.loaders import ALIASES, main_folder

FILE_NAME = "extra_model_paths.yaml"
"""The name of the file beside ComfyUI's main.py."""

NODES = "custom_nodes"
"""Under this name folders of custom nodes are listed in the same file."""

_OURS = "# Written by launcher-recovery for the models that all projects share. Without this line it is left alone."
_SECTION = "launcher"
# `folder_names_and_paths` of ComfyUI.
_OF_COMFYUI = frozenset(
    {
        *("audio_encoders", "checkpoints", "classifiers", "clip_vision", "configs", "controlnet", "diffusers"),
        *("diffusion_models", "embeddings", "gligen", "hypernetworks", "latent_upscale_models", "loras"),
        *("model_patches", "photomaker", "style_models", "text_encoders", "upscale_models", "vae", "vae_approx"),
    }
)
_LARGEST = 64 << 10
_MOST = 1000
_TAG = "tag:yaml.org,2002:"
# What packages call folders that lie in those of others.
_PLACES = {"ultralytics_bbox": "ultralytics/bbox", "ultralytics_segm": "ultralytics/segm"}


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose files count as being in a folder of models.

    Args:
        folder: that one, such as "loras".
        path: where it is; it need not be there.
        is_default: whether it goes before those of ComfyUI.
    """

    folder: str
    path: str
    is_default: bool = False


def read_model_paths(file: os.PathLike[str]) -> list[ModelFolder]:
    """The folders that a file lists, in their order.

    Raises:
        ValueError: it cannot be read, in a few words.
    """
    path = Path(file)
    try:
        with path.open(encoding="utf-8") as opened:
            text = opened.read(_LARGEST + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    if len(text) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} letters")
    if text.startswith(_OURS):
        return _written(text)
    try:
        import yaml  # only those need it who have such a file of their own
    except ImportError:
        raise ValueError("that takes PyYAML: pip install 'launcher-recovery[workflows]'") from None
    try:
        # Its nodes are looked at, not made into objects: there, aliases of aliases can grow without end.
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    found: list[ModelFolder] = []
    for name, section in _pairs(document):
        if not _is_nothing(section):
            if section.tag != f"{_TAG}map":
                raise ValueError(f"{name[:60]} must have names of folders and their paths below it")
            found += _folders(section, path.parent)
        if len(found) > _MOST:
            raise ValueError(f"it lists more than {_MOST} folders")
    return found


def write_model_paths(file: os.PathLike[str], models: os.PathLike[str], folders: Iterable[str] = ()) -> None:
    """Have a ComfyUI find the models below `models`, before its own; a file that somebody else wrote stays as it is.

    Args:
        file: `FILE_NAME` beside its main.py.
        folders: names of folders that it is to know, beside those that ComfyUI has itself.

    Raises:
        OSError: it cannot be read or written.
    """
    path, root = Path(file), os.path.abspath(models)
    with suppress(FileNotFoundError):
        if not path.read_text(encoding="utf-8", errors="replace").startswith(_OURS):
            return
    # Paths by themselves: in a `base_path` ComfyUI would expand what looks like a variable.
    lines = {
        name: "\n".join(os.path.join(root, part) for part in ALIASES.get(name, (name,)))
        for name in sorted({*_OF_COMFYUI, *folders} - {NODES})
    }
    section = {"is_default": True, **lines}
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # JSON is YAML as well.
        text = json.dumps({_SECTION: section}, indent=1, ensure_ascii=False)
        fresh.write_text(f"{_OURS}\n{text}\n", encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _written(text: str) -> list[ModelFolder]:
    """What a file of `write_model_paths` lists."""
    try:
        section = json.loads(text.partition("\n")[2])[_SECTION]
        lines = [(name, line) for name, paths in section.items() if name != "is_default" for line in paths.split("\n")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("it was changed by hand, and is not as it was written any more") from None
    return [ModelFolder(main_folder(name), os.path.normpath(line), is_default=True) for name, line in lines]


def _folders(section: Any, beside: Path) -> Iterator[ModelFolder]:
    """The folders of one section."""
    entries = dict(_pairs(section))
    base, default = entries.pop("base_path", None), entries.pop("is_default", None)
    root = os.path.abspath(beside)
    if base is not None and isinstance(base.value, str):
        # Only of this one ComfyUI expands `~` and variables.
        root = os.path.join(root, os.path.expandvars(os.path.expanduser(base.value)))
    is_default = default is not None and default.tag == f"{_TAG}bool" and default.value.lower() in ("true", "yes", "on")
    for name, paths in entries.items():
        if not isinstance(paths.value, str) or _is_nothing(paths):
            continue
        folder = _PLACES.get(name, main_folder(name))
        for line in filter(None, paths.value.split("\n")):
            if "\0" in root + line:
                raise ValueError("a path in it has a character that no path has")
            yield ModelFolder(folder, os.path.normpath(os.path.join(root, line)), is_default)


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a mapping; those that it takes over from another (`<<`) first."""
    pairs = node.value if node is not None and node.tag == f"{_TAG}map" else ()
    for key, value in pairs:
        if key.tag == f"{_TAG}merge" and value.tag == f"{_TAG}map":
            yield from ((inner.value, of) for inner, of in value.value if isinstance(inner.value, str))
    for key, value in pairs:
        if isinstance(key.value, str) and key.tag != f"{_TAG}merge":
            yield key.value, value


def _is_nothing(node: Any) -> bool:
    return bool(node.tag == f"{_TAG}null")
