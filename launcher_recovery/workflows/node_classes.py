"""What the source of a node's class says of its inputs and outputs, as far as it says it literally.

There are two ways to write a node: a class with RETURN_TYPES and INPUT_TYPES, and one whose define_schema returns a
Schema (`comfy_api`). What is computed there, only running it would tell; it counts as not known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ANY = "*"
"""The type that fits all others; also where it is not known which type it is."""

_SIDES = ("RETURN_TYPES", "INPUT_TYPES")


@dataclass(frozen=True)
class Type:
    """A type in a schema, by the name of its class in `comfy_api`, such as "Model" for MODEL."""

    name: str


@dataclass(frozen=True)
class ClassCode:
    """One class, or one schema.

    Args:
        bases: names of the classes that it is made from.
        outputs: types in their order; None: it does not say so, or not literally.
        inputs: types by name, of those that are known; None: it does not say so.
        is_computed: whether it says of its outputs what only running it would tell.
    """

    bases: tuple[str, ...] = ()
    outputs: tuple[str | Type, ...] | None = None
    inputs: Mapping[str, str | Type] | None = None
    is_computed: bool = False


@dataclass
class Classes:
    """What the classes of one file say.

    Args:
        by_name: of classes; None: not known, or there are several of that name.
        schemas: by the node type that they are of.
        types: from the names of classes of `comfy_api` to the types that they stand for.
        is_certain: whether nothing changes them from outside.
    """

    by_name: dict[str, ClassCode | None] = field(default_factory=dict)
    schemas: dict[str, ClassCode] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    is_certain: bool = True

    def see(self, part: ast.AST) -> None:
        """Look at one part of a file."""
        if isinstance(part, ast.ClassDef):
            for decorator in part.decorator_list:
                self.types.update((part.name, name) for name in _io_type(decorator))
            self.by_name[part.name] = None if part.decorator_list or part.name in self.by_name else _class(part)
        elif isinstance(part, ast.Return) and isinstance(part.value, ast.Call):
            node_type = _text(_argument(part.value, "node_id"))
            if node_type is not None and _name(part.value.func) == "Schema":
                self.schemas[node_type] = _schema(part.value)
        elif isinstance(part, (ast.Assign, ast.AugAssign)):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(isinstance(target, ast.Attribute) and target.attr in _SIDES for target in targets):
                self.is_certain = False


def _class(part: ast.ClassDef) -> ClassCode:
    stated: ast.expr | None = None
    inputs: Mapping[str, str | Type] | None = None
    for member in part.body:
        if isinstance(member, (ast.Assign, ast.AnnAssign)):
            targets = member.targets if isinstance(member, ast.Assign) else [member.target]
            stated = member.value if any(_name(target) == "RETURN_TYPES" for target in targets) else stated
        elif isinstance(member, ast.FunctionDef) and member.name == "INPUT_TYPES":
            inputs = dict(_input_types(member))
    for member in part.body:
        # One that looks at the types itself takes what it likes (`validate_inputs` of ComfyUI's execution.py).
        if isinstance(member, ast.FunctionDef) and member.name == "VALIDATE_INPUTS":
            arguments = (*member.args.args, *member.args.kwonlyargs)
            inputs = {} if any(argument.arg == "input_types" for argument in arguments) else inputs
    bases = tuple(name for base in part.bases if (name := _name(base)) is not None)
    outputs = _return_types(stated)
    return ClassCode(bases, outputs, inputs, is_computed=stated is not None and outputs is None)


def _return_types(value: ast.expr | None) -> tuple[str, ...] | None:
    if not isinstance(value, (ast.Tuple, ast.List)) or any(isinstance(item, ast.Starred) for item in value.elts):
        return None
    return tuple(_text(item) or ANY for item in value.elts)


def _input_types(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    returned = [part for part in ast.walk(function) if isinstance(part, ast.Return)]
    if len(returned) != 1:
        return
    groups = dict(_entries(returned[0].value))
    for group in ("required", "optional"):
        for name, value in _entries(groups.get(group)):
            if isinstance(value, (ast.Tuple, ast.List)) and value.elts:
                kind = _text(value.elts[0])
                if kind is not None:
                    yield name, kind


def _entries(value: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """The entries of a dict that is written out; none of one that takes in another, which may have the same names."""
    if isinstance(value, ast.Dict) and None not in value.keys:
        for key, inner in zip(value.keys, value.values, strict=True):
            name = _text(key)
            if name is not None:
                yield name, inner


# -- schemas ------------------------------------------------------------------------------------------


def _schema(call: ast.Call) -> ClassCode:
    if any(keyword.arg is None for keyword in call.keywords):
        return ClassCode()
    outputs, inputs = _argument(call, "outputs"), _argument(call, "inputs")
    given: tuple[str | Type, ...] | None = None
    if outputs is None:
        given = ()
    elif isinstance(outputs, ast.List) and not any(isinstance(item, ast.Starred) for item in outputs.elts):
        given = tuple(_slot(item, "Output") for item in outputs.elts)
    taken: dict[str, str | Type] = {}
    for item in inputs.elts if isinstance(inputs, ast.List) else ():
        if isinstance(item, ast.Call):
            name = _text(item.args[0] if item.args else _argument(item, "id"))
            if name is not None:
                taken[name] = _slot(item, "Input")
    return ClassCode((), given, taken)


def _slot(item: ast.expr, side: str) -> str | Type:
    """The type of `io.Model.Input("model")`, or `io.Custom("MY_TYPE").Output()`."""
    if not isinstance(item, ast.Call) or not isinstance(item.func, ast.Attribute) or item.func.attr != side:
        return ANY
    owner = item.func.value
    if isinstance(owner, ast.Call):
        is_custom = _name(owner.func) == "Custom" and len(owner.args) == 1
        return (_text(owner.args[0]) if is_custom else None) or ANY
    name = _name(owner)
    return ANY if name is None or _argument(item, "widget_type") is not None else Type(name)


def _io_type(decorator: ast.expr) -> Iterator[str]:
    """The type that `@comfytype(io_type="MODEL")` gives to a class."""
    if isinstance(decorator, ast.Call) and _name(decorator.func) == "comfytype":
        kind = _text(_argument(decorator, "io_type"))
        if kind is not None:
            yield ANY if kind.startswith("COMFY_") else kind  # those depend on what is linked to them


# -- parts of source ----------------------------------------------------------------------------------


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _name(value: ast.expr) -> str | None:
    """The last part of a dotted name."""
    return value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else None


def _text(value: ast.expr | None) -> str | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
