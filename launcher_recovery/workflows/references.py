"""Finds the models that the widgets and inputs of nodes name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from launcher_recovery.workflows.api_format import inputs_of, is_link
from launcher_recovery.workflows.graph import NOTES, Graph, Link, Node, Workflow
from launcher_recovery.workflows.loaders import Loaders, is_model, main_folder
from launcher_recovery.workflows.names import base, key, tidy
from launcher_recovery.workflows.problems import Pointer
from launcher_recovery.workflows.promotion import Promotions
from launcher_recovery.workflows.sources import ModelSource

_MOST = 1000  # embeddings that are looked for in one text, and files of one name that are told of
_LONGEST = 1024  # no path is longer on most systems; what is longer is a text
# SDTokenizer of ComfyUI: `embedding:name` in a prompt, with or without suffix; weights and brackets are around it.
_EMBEDDING = re.compile(r"embedding:([^\s,():<>\[\]{}|\"']{1,255})", re.IGNORECASE)
_HASHES = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, "autov2": 10}


@dataclass(frozen=True)
class ModelUse:
    """A model that a node names.

    Args:
        name: as it is written.
        folder: where the node looks for it; None: not known.
        is_certain: whether the folder is known for sure.
        node: the node.
        pointer: where the name is.
        known: what the workflow itself tells of the file.
        in_prompt: whether it is an embedding in the text of a prompt.
    """

    name: str
    folder: str | None
    is_certain: bool
    node: Node
    pointer: Pointer
    known: tuple[ModelSource, ...] = ()
    in_prompt: bool = False


def model_uses(workflow: Workflow, loaders: Loaders) -> Iterator[ModelUse]:
    """Every model that is named anywhere, in the order of the document.

    Args:
        loaders: which folders the inputs of nodes read.
    """
    known: dict[str, tuple[ModelSource, ...]] = {}
    for models in (workflow.graphs[0].raw.get("models"), *(node.properties.get("models") for node in workflow.nodes)):
        for name, sources in _listed(models).items():
            known[name] = tuple(dict.fromkeys((*known.get(name, ()), *sources)))[:_MOST]
    groups = set(workflow.groups.values())
    promotions = Promotions(workflow)
    for graph in workflow.graphs:
        # What a node of a group says is replaced by what the group node says.
        if graph in groups and promotions.has_values(graph):
            continue
        hints = _Hints(workflow, graph, promotions, loaders)
        for node in graph.nodes:
            if node.type not in NOTES:
                yield from _NodeUses(node, hints, known).all()


class _Hints:
    """What the widgets of the nodes of one graph are for, also of those that stand for others, or feed them."""

    def __init__(self, workflow: Workflow, graph: Graph, promotions: Promotions, loaders: Loaders) -> None:
        self._loaders = loaders
        self._workflow = workflow
        self._graph = graph
        self._promotions = promotions
        self._inside: dict[Graph, str | None] = {}
        self._leaving: dict[str, Link] = {}
        self._by_id = {str(link.id): link for link in graph.links}
        for link in graph.links:
            self._leaving.setdefault(link.origin, link)

    def is_linked(self, slot: Mapping[str, Any]) -> bool:
        """Whether the value of a widget comes through a link."""
        link = self._by_id.get(str(slot.get("link")))
        return link is not None and self._promotions.is_replaced(self._graph, link)

    def input_of(self, node: Node, widget: int) -> str | None:
        """The name of the input that a widget is, as far as it can be known."""
        inner = self._workflow.graph_of(node)
        if inner is None:
            return self._loaders.name_of_widget(node.type, widget)
        promoted = self._promotions.widget(node, inner, widget)
        return promoted.name if promoted is not None else None

    def folder(self, node: Node, name: str | None, widget: int | None) -> tuple[str | None, bool]:
        """The folder that a widget is about, and whether that is certain."""
        inner = self._workflow.graph_of(node)
        if inner is not None:
            promoted = self._promotions.widget(node, inner, widget) if widget is not None else None
            if promoted is not None:
                folder, is_certain = self._loaders.folder_of(promoted.node_type, promoted.input, None)
                return folder, is_certain and self._promotions.is_whole(node, inner)
            return self._only_folder(inner), False
        if node.type == "PrimitiveNode":
            link = self._leaving.get(node.key)
            target = self._graph.by_key.get(link.target) if link is not None else None
            slots = target.slots("inputs") if target is not None else []
            if link is None or target is None or not 0 <= link.target_slot < len(slots):
                return None, False
            return self._loaders.folder_of(target.type, _text(slots[link.target_slot].get("name")), None)
        return self._loaders.folder_of(node.type, name, widget)

    def _only_folder(self, inner: Graph) -> str | None:
        """The folder that the nodes inside read, if it is one."""
        if inner not in self._inside:
            folders = {self._loaders.folder_of(other.type, None, 0)[0] for other in inner.nodes} - {None}
            self._inside[inner] = folders.pop() if len(folders) == 1 else None
        return self._inside[inner]


class _NodeUses:
    """The models of one node."""

    def __init__(self, node: Node, hints: _Hints, known: Mapping[str, tuple[ModelSource, ...]]) -> None:
        self._node = node
        self._hints = hints
        self._known = known

    def all(self) -> Iterator[ModelUse]:
        """One after the other."""
        node = self._node
        if "class_type" in node.raw:
            for name, value in inputs_of(node).items():
                if not is_link(value):
                    yield from self._in(value, (*node.pointer, "inputs", name), name, None)
            return
        values = node.raw.get("widgets_values")
        widgets = [slot for slot in node.slots("inputs") if isinstance(slot.get("widget"), dict)]
        names = [_text(slot["widget"].get("name")) for slot in widgets]
        linked = {name for name, slot in zip(names, widgets, strict=True) if self._hints.is_linked(slot)}
        if isinstance(values, dict):
            for name, value in values.items():
                if name not in linked:
                    yield from self._in(value, (*node.pointer, "widgets_values", name), name, None)
        elif isinstance(values, list):
            are_all = len(names) == len(values)  # some widgets, such as what to do with a seed, are no inputs
            for number, value in enumerate(values):
                own = self._hints.input_of(node, number) or (names[number] if are_all else None)
                if own is not None and own in linked:
                    continue
                yield from self._in(value, (*node.pointer, "widgets_values", number), own, number)

    def _in(self, value: Any, pointer: Pointer, name: str | None, widget: int | None) -> Iterator[ModelUse]:
        if isinstance(value, str):
            yield from self._in_text(value, pointer, name, widget)
        elif isinstance(value, dict):
            if value.get("on") is False:  # a row of a list that is switched off (rgthree)
                return
            for inner_name, inner in value.items():
                yield from self._in(inner, (*pointer, inner_name), inner_name, widget)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                yield from self._in(inner, (*pointer, number), name, widget)

    def _in_text(self, text: str, pointer: Pointer, name: str | None, widget: int | None) -> Iterator[ModelUse]:
        if len(text) <= _LONGEST and is_model(text) and "\n" not in text.strip() and "://" not in text:
            known = self._known.get(key(base(tidy(text))), ())
            folder, is_certain = self._hints.folder(self._node, name, widget)
            if not is_certain:
                stated = next((source.folder for source in known if source.folder), None)
                folder, is_certain = (stated, True) if stated is not None else (folder, False)
            folder = None if folder is None else main_folder(folder)
            yield ModelUse(text, folder, is_certain, self._node, pointer, known)
        elif "embedding:" in text.lower():
            found_names = (found[1].rstrip(".;") for found in islice(_EMBEDDING.finditer(text), _MOST))
            for embedding in dict.fromkeys(found_names):
                known = self._known.get(key(base(tidy(embedding))), ())
                yield ModelUse(embedding, "embeddings", True, self._node, pointer, known, in_prompt=True)


def _listed(models: Any) -> dict[str, tuple[ModelSource, ...]]:
    """What a workflow tells of models (`models` of the schema), by the key of the file's name."""
    found: dict[str, tuple[ModelSource, ...]] = {}
    for model in models if isinstance(models, list) else ():
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            continue
        url, folder = model.get("url"), model.get("directory")
        checksum, algorithm = _checksum(model.get("hash"), model.get("hash_type"))
        size = model.get("size")
        source = ModelSource(
            tidy(model["name"]),
            url if isinstance(url, str) and url.startswith(("https://", "http://")) else "",
            tidy(folder) if isinstance(folder, str) and tidy(folder) else None,
            checksum,
            algorithm,
            size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None,
        )
        name = key(base(source.name))
        found[name] = (*found.get(name, ()), source)
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _checksum(value: Any, kind: Any) -> tuple[str | None, str]:
    algorithm = re.sub(r"[^a-z0-9]", "", kind.lower()) if isinstance(kind, str) else "sha256"
    text = value.strip().lower() if isinstance(value, str) else ""
    is_usable = len(text) == _HASHES.get(algorithm) and re.fullmatch(r"[0-9a-f]+", text) is not None
    return (text, algorithm) if is_usable else (None, "sha256")
