"""Where nodes and models can be had: what tables and extensions answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class NodeSource:
    """A repository that provides a node type.

    Args:
        url: of the git repository, or of a single file.
        title: for people.
        id: its id in the registry of ComfyUI, if it has one.
        ref: the commit or version that the workflow was made with, if that is known.
    """

    url: str
    title: str = ""
    id: str | None = None
    ref: str | None = None


@dataclass(frozen=True)
class ModelSource:
    """A file that can be downloaded.

    Args:
        name: the file's name, with `/` for folders below `folder`.
        url: where it is.
        folder: the folder of models that it belongs into, such as "loras"; None: not known.
        checksum: hexadecimal; with its `algorithm`: sha256, sha512, sha1, md5, or autov2 (CivitAI).
        size: bytes.
    """

    name: str
    url: str
    folder: str | None = None
    checksum: str | None = None
    algorithm: str = "sha256"
    size: int | None = None


@dataclass(frozen=True)
class LoaderInput:
    """An input of a node that names a model.

    Args:
        name: of the input, such as "lora_name".
        folder: the folder of models that it reads, such as "loras".
        widget: its number among the widgets of the node, from 0; None: workflows that do not name it are guessed at.
    """

    name: str
    folder: str
    widget: int | None = None


class Lookups(Protocol):
    """Who is asked for sources, and for what loaders read."""

    def node_sources(self, node_type: str) -> Sequence[NodeSource]:
        """Repositories that provide a node type, best first."""
        ...

    def model_sources(self, name: str, folder: str | None) -> Sequence[ModelSource]:
        """Files of that name, best first; `folder` is where it is wanted, if that is known."""
        ...

    def loader_inputs(self, node_type: str) -> Sequence[LoaderInput]:
        """Inputs of a node type that name models, beside those that are known anyway."""
        ...


class Nobody:
    """Knows nothing."""

    def node_sources(self, node_type: str) -> Sequence[NodeSource]:
        """None."""
        return ()

    def model_sources(self, name: str, folder: str | None) -> Sequence[ModelSource]:
        """None."""
        return ()

    def loader_inputs(self, node_type: str) -> Sequence[LoaderInput]:
        """None."""
        return ()
