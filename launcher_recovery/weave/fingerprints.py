"""What functions look like, read from a module's file without importing it, the same on every version of Python."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launcher_recovery.joinpoints import Fingerprint

# What does not change what a function does: positions are no fields, `ctx` follows from the place.
_LEFT_OUT = frozenset({"ctx", "type_comment"})
_WITH_BODY = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def fingerprints_in(path: str | os.PathLike[str]) -> Mapping[str, Fingerprint]:
    """The functions and methods of a file of Python, by dotted name; of two with one name the later.

    Raises:
        OSError, SyntaxError: it cannot be read.
    """
    status = os.stat(path)
    return _read(os.fspath(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=32)
def _read(path: str, _changed: int, _size: int) -> Mapping[str, Fingerprint]:
    with open(path, "rb") as file:
        return _Fingerprints(ast.parse(file.read(), path))


class _Fingerprints(Mapping[str, Fingerprint]):
    """Those of the functions of a module, each made when it is asked for: of a launcher's many only a few are."""

    def __init__(self, module: ast.Module) -> None:
        self._functions = dict(_functions(module, ""))
        self._made: dict[str, Fingerprint] = {}

    def __getitem__(self, name: str) -> Fingerprint:
        if name not in self._made:
            function = self._functions[name]
            self._made[name] = Fingerprint(tuple(_parameters(function.args)), _hash(function))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def fingerprint_of(source: str, function: str) -> Fingerprint:
    """What one function looks like in the text of its module.

    Raises:
        KeyError: it has no such function.
    """
    return _Fingerprints(ast.parse(source))[function]


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.stmt, ast.excepthandler)):  # in a branch of `if` or `try`
            yield from _functions(child, prefix)


def _parameters(arguments: ast.arguments) -> Iterable[str]:
    yield from (argument.arg for argument in arguments.posonlyargs)
    if arguments.posonlyargs:
        yield "/"
    yield from (argument.arg for argument in arguments.args)
    if arguments.vararg is not None:
        yield f"*{arguments.vararg.arg}"
    elif arguments.kwonlyargs:
        yield "*"
    yield from (argument.arg for argument in arguments.kwonlyargs)
    if arguments.kwarg is not None:
        yield f"**{arguments.kwarg.arg}"


def _hash(function: ast.AST) -> str:
    return hashlib.sha256(_text(function).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _text(value: Any) -> str:
    """A text of a part of the tree; `ast.dump` writes another one in each version of Python."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    if isinstance(value, ast.Constant):
        return f"Constant({value.value!r})"
    fields = [
        f"{name}={_text(item)}"
        for name, item in _fields(value)
        if name not in _LEFT_OUT and item is not None and item != []
    ]
    return f"{type(value).__name__}({','.join(fields)})"


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, item in ast.iter_fields(node):
        if name == "body" and isinstance(node, _WITH_BODY) and ast.get_docstring(node, clean=False) is not None:
            item = item[1:]
        yield name, item
