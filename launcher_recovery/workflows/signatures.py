"""What nodes give and take, for workflows that do not say so themselves (the API format)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from launcher_recovery.workflows.node_classes import ANY, ClassCode, Type
from launcher_recovery.workflows.slot_types import INPUTS, OUTPUTS
from launcher_recovery.workflows.source_code import Declared

_DEEPEST = 10  # classes that are made from one another


@dataclass(frozen=True)
class Signature:
    """What one node type gives and takes.

    Args:
        outputs: types in their order, `*` for one that is not known; None: not even their number is known.
        inputs: types by name, of those that are known.
        is_installed: whether it was read from the source that is installed.
    """

    outputs: tuple[str, ...] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    is_installed: bool = False


class Signatures:
    """What all node types give and take, of those that are known.

    Args:
        core: of ComfyUI itself; its types are its own, whatever packages declare.
        packages: of each package of custom nodes.
    """

    def __init__(
        self, core: Mapping[str, Signature] | None = None, packages: Iterable[Mapping[str, Signature | None]] = ()
    ) -> None:
        self._known: dict[str, Signature | None] = {}
        for package in packages:
            for node_type, signature in package.items():
                # Of two packages with one type, which one wins depends on the order in which they are loaded.
                is_new = node_type not in self._known or self._known[node_type] == signature
                self._known[node_type] = signature if is_new else None
        for node_type in {*OUTPUTS, *INPUTS}:
            self._known[node_type] = Signature(OUTPUTS.get(node_type), INPUTS.get(node_type, {}))
        self._known.update(core or {})

    def of(self, node_type: str) -> Signature:
        """What a node type gives and takes; of one that is not known nothing."""
        return self._known.get(node_type) or _UNKNOWN


_UNKNOWN = Signature()


def signatures_of(files: Iterable[Declared], types: Mapping[str, str]) -> dict[str, Signature | None]:
    """What the node types of one package, or of ComfyUI, give and take; None of those that cannot be known.

    Args:
        files: all of its source.
        types: from the names of classes of `comfy_api` to the types that they stand for.
    """
    declared = list(files)
    everywhere: dict[str, ClassCode | None] = {}
    for file in declared:
        for name, code in file.classes.by_name.items():
            everywhere[name] = None if name in everywhere else code
    found: dict[str, Signature | None] = {}
    for file in declared:
        resolve = _Resolver({**everywhere, **file.classes.by_name}, types)
        signatures = {
            **{node_type: resolve.signature(code) for node_type, code in file.classes.schemas.items()},
            **{node_type: resolve.of_class(name) for node_type, name in file.class_of.items()},
        }
        for node_type, signature in signatures.items():
            found[node_type] = signature if node_type not in found or found[node_type] == signature else None
    return found if all(file.classes.is_certain for file in declared) else dict.fromkeys(found)


class _Resolver:
    """Puts together what a class says and what it has from those it is made from."""

    def __init__(self, classes: Mapping[str, ClassCode | None], types: Mapping[str, str]) -> None:
        self._classes = classes
        self._types = types

    def of_class(self, name: str | None) -> Signature | None:
        code = self._classes.get(name) if name is not None else None
        return None if code is None else self.signature(code)

    def signature(self, code: ClassCode) -> Signature | None:
        outputs, inputs = code.outputs, code.inputs
        is_said = outputs is not None or code.is_computed
        for _ in range(_DEEPEST):
            base = self._classes.get(code.bases[0]) if len(code.bases) == 1 else None
            if base is None or (is_said and inputs is not None):
                break
            code = base
            outputs = outputs if is_said else code.outputs
            is_said = is_said or code.outputs is not None or code.is_computed
            inputs = code.inputs if inputs is None else inputs
        if outputs is None and not inputs:
            return None
        return Signature(
            None if outputs is None else tuple(map(self._type, outputs)),
            {name: self._type(kind) for name, kind in (inputs or {}).items()},
            is_installed=True,
        )

    def _type(self, kind: str | Type) -> str:
        return self._types.get(kind.name, ANY) if isinstance(kind, Type) else kind
