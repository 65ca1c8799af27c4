"""Finds the node types that a source file declares, without running it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from launcher_recovery.workflows.node_classes import Classes

# Declared in Python as keys of NODE_CLASS_MAPPINGS (and of that of the names that are shown), or as `node_id`.
_MAPPING = re.compile(r"(NODE|CLASS).*MAPPINGS?", re.IGNORECASE)
_THE_MAPPING = "NODE_CLASS_MAPPINGS"
_WORDS = (b"MAPPING", b"node_id", b"RETURN_TYPES", b"comfytype")
# Declared in the page: LiteGraph.registerNodeType("name", ...).
_REGISTERED = re.compile(rb"registerNodeType\(\s*[\"'`]([^\"'`\n]{1,200})[\"'`]")


@dataclass
class Declared:
    """What a source file declares.

    Args:
        types: node types.
        is_opaque: whether there may be others that only running it would tell.
        class_of: names of the classes of node types; None: not known.
        classes: what classes in it say of inputs and outputs.
    """

    types: set[str] = field(default_factory=set)
    is_opaque: bool = False
    class_of: dict[str, str | None] = field(default_factory=dict)
    classes: Classes = field(default_factory=Classes)


def declared_in_python(source: bytes) -> Declared:
    """What a file of Python declares."""
    if not any(word in source for word in _WORDS):
        return Declared()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the source of others
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Declared(is_opaque=b"MAPPING" in source or b"node_id" in source)
    found = Declared()
    for part in ast.walk(tree):
        found.classes.see(part)
        if isinstance(part, ast.Call):
            found.types.update(_ids(part))
        for name, value in _assigned(part):
            keys, is_whole = _keys(value)
            found.types.update(keys)
            found.is_opaque |= not is_whole and name == _THE_MAPPING
            if name == _THE_MAPPING:
                for node_type, class_name in _classes(value):
                    known = found.class_of.setdefault(node_type, class_name)
                    found.class_of[node_type] = class_name if known == class_name else None
    return found


def declared_in_page(source: bytes) -> set[str]:
    """The node types that a script of the page registers."""
    if b"registerNodeType" not in source:
        return set()
    return {found[1].decode("utf-8", "replace") for found in _REGISTERED.finditer(source)}


def _assigned(part: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Mappings of node types that a statement fills, and with what."""
    if isinstance(part, (ast.Assign, ast.AnnAssign)) and part.value is not None:
        for target in part.targets if isinstance(part, ast.Assign) else [part.target]:
            if isinstance(target, ast.Name) and _MAPPING.search(target.id):
                yield target.id, part.value
            elif isinstance(target, ast.Subscript) and _is_mapping(target.value):
                yield _THE_MAPPING, ast.Dict(keys=[target.slice], values=[part.value])
    elif isinstance(part, ast.AugAssign) and _is_mapping(part.target):
        yield _THE_MAPPING, part.value
    elif isinstance(part, ast.Call) and part.args and _is_update(part.func):
        yield _THE_MAPPING, part.args[0]


def _is_update(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == "update" and _is_mapping(function.value)


def _is_mapping(value: ast.expr) -> bool:
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    return _MAPPING.search(name) is not None


def _keys(value: ast.expr) -> tuple[set[str], bool]:
    """The keys of a mapping, and whether they are all."""
    found: set[str] = set()
    is_whole = True
    for part in _operands(value):
        if not isinstance(part, ast.Dict):
            is_whole &= _is_mapping(part)
            continue
        for key, inner in zip(part.keys, part.values, strict=True):
            if key is None:  # **other, which is looked at where it is made
                is_whole &= _is_mapping(inner)
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                found.add(key.value)
            else:
                is_whole = False
    return found, is_whole


def _classes(value: ast.expr) -> Iterator[tuple[str, str | None]]:
    """The names of the classes in a mapping that is written out."""
    for part in _operands(value):
        for key, inner in zip(part.keys, part.values, strict=True) if isinstance(part, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                name = inner.id if isinstance(inner, ast.Name) else None
                yield key.value, inner.attr if isinstance(inner, ast.Attribute) else name


def _operands(value: ast.expr) -> Iterator[ast.expr]:
    """What a mapping is put together from with `|`, from left to right, however many there are."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr):
            waiting += (part.right, part.left)
        else:
            yield part


def _ids(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if (
            keyword.arg == "node_id"
            and isinstance(keyword.value, ast.Constant)
            and isinstance(keyword.value.value, str)
        ):
            yield keyword.value.value
