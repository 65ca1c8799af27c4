"""What can be woven of a host, read from its source without running it: functions, routes, states, calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILES = ("settings.py", "utils.py", "tasks.py", "server.py")
_METHODS = ("GET",)


@dataclass(frozen=True)
class Shape:
    """The shape of a host.

    Args:
        functions: module and name of each function at the top of a module, with its parameters and their defaults.
        routes: rule, methods and function of each address.
        errors: status and function of each page for errors.
        states: what the field "state" of a project is ever set to.
        constants: names in capitals at the top of a module.
        calls: by module and function, the functions of the host that are called in it, in the order of the source.
    """

    functions: dict[tuple[str, str], str]
    routes: set[tuple[str, tuple[str, ...], str]]
    errors: set[tuple[int, str]]
    states: set[str]
    constants: set[tuple[str, str]]
    calls: dict[tuple[str, str], list[str]]


def shape_of(server: Path) -> Shape:
    """The shape of the host whose modules are in the folder `server`."""
    trees = {name.removesuffix(".py"): ast.parse((server / name).read_text(encoding="utf-8")) for name in FILES}
    defined = {
        (module, node.name): node
        for module, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    own = {name for _, name in defined}
    decorated = [(node, call) for node in defined.values() for call in node.decorator_list]
    calls = [(node.name, call) for node, call in decorated if isinstance(call, ast.Call)]
    return Shape(
        functions={where: _parameters(node.args) for where, node in defined.items()},
        routes={(_text(call.args[0]), _methods(call), name) for name, call in calls if _name(call.func) == "route"},
        errors={(_number(call.args[0]), name) for name, call in calls if _name(call.func) == "errorhandler"},
        states={state for tree in trees.values() for state in _states(tree)},
        constants={(module, name) for module, tree in trees.items() for name in _constants(tree)},
        calls={where: [name for name in _called(node) if name in own] for where, node in defined.items()},
    )


def _parameters(args: ast.arguments) -> str:
    """Without annotations: only how it may be called."""
    names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    defaults = ["", *(f"={ast.unparse(value)}" for value in args.defaults)]
    plain = len(names) - len(args.defaults)
    return ", ".join(
        name + (defaults[number - plain + 1] if number >= plain else "") for number, name in enumerate(names)
    )


def _methods(call: ast.Call) -> tuple[str, ...]:
    for keyword in call.keywords:
        if keyword.arg == "methods":
            return tuple(ast.literal_eval(keyword.value))
    return _METHODS


def _name(node: ast.expr) -> str:
    """Of what is called, the last part."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr) -> str:
    return str(ast.literal_eval(node))


def _number(node: ast.expr) -> int:
    return int(ast.literal_eval(node))


def _states(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                is_state = isinstance(key, ast.Constant) and key.value == "state"
                if is_state and isinstance(value, ast.Constant):
                    yield str(value.value)


def _constants(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        yield from (one.id for one in targets if isinstance(one, ast.Name) and one.id.isupper() and one.id[0] != "_")


def _called(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield _name(node.func)
    for inner in ast.iter_child_nodes(node):
        yield from _called(inner)
