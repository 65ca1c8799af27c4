"""Finds the node types that a source file declares, without running it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

# Declared in Python as keys of NODE_CLASS_MAPPINGS (and of that of the names that are shown), or as `node_id`.
_MAPPING = re.compile(r"(NODE|CLASS).*MAPPINGS?", re.IGNORECASE)
_THE_MAPPING = "NODE_CLASS_MAPPINGS"
# Declared in the page: LiteGraph.registerNodeType("name", ...).
_REGISTERED = re.compile(rb"registerNodeType\(\s*[\"'`]([^\"'`\n]{1,200})[\"'`]")


def declared_in_python(source: bytes) -> tuple[set[str], bool]:
    """The node types, and whether there may be others that only running it would tell."""
    if b"MAPPING" not in source and b"node_id" not in source:
        return set(), False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in the source of others
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), True
    found: set[str] = set()
    is_opaque = False
    for part in ast.walk(tree):
        if isinstance(part, ast.Call):
            found.update(_ids(part))
        for name, value in _assigned(part):
            keys, is_whole = _keys(value)
            found.update(keys)
            is_opaque |= not is_whole and name == _THE_MAPPING
    return found, is_opaque


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
    if isinstance(value, ast.Dict):
        found: set[str] = set()
        is_whole = True
        for key, inner in zip(value.keys, value.values, strict=True):
            if key is None:  # **other, which is looked at where it is made
                is_whole &= _is_mapping(inner)
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                found.add(key.value)
            else:
                is_whole = False
        return found, is_whole
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        left, right = _keys(value.left), _keys(value.right)
        return left[0] | right[0], left[1] and right[1]
    return set(), _is_mapping(value)


def _ids(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if (
            keyword.arg == "node_id"
            and isinstance(keyword.value, ast.Constant)
            and isinstance(keyword.value.value, str)
        ):
            yield keyword.value.value
