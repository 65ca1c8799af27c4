"""A Python environment before and after: what is kept of it, how it changed, and what of that people should know."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from launcher_recovery.nodes.interpreter import Environment
from launcher_recovery.redaction import MASK, Redactor

_MOST_PACKAGES = 5000
# Many nodes depend on these, and on a version of them that fits the others; a change of one breaks them all.
_SHARED = frozenset(
    {
        *("torch", "torchaudio", "torchsde", "torchvision", "triton", "xformers", "flash-attn", "bitsandbytes"),
        *("accelerate", "diffusers", "huggingface-hub", "safetensors", "tokenizers", "transformers"),
        *("numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "protobuf", "scipy", "tensorflow", "mediapipe"),
        *("opencv-contrib-python", "opencv-python", "opencv-python-headless"),
    }
)
# As PyTorch names its builds, each of which has an index of its own: https://pytorch.org/get-started/previous-versions/
_TORCH_BUILD = re.compile(r"(?:cu\d{2,3}|cpu|xpu|rocm\d[\d.]*)")


@dataclass(frozen=True)
class Change:
    """A package that is not as it was; None for a version: it was, or is, not there."""

    name: str
    before: str | None
    after: str | None


def kept(environment: Environment, python: str, wanted: str) -> dict[str, Any]:
    """The environment as the result of a step: a line for each package, as of `pip freeze`, without secrets."""
    return {"wanted": wanted, "python": python, "packages": lines_of(environment)[:_MOST_PACKAGES]}


def lines_of(environment: Environment) -> list[str]:
    """What pip takes to have the same again, a line for each package, without secrets."""
    redactor, sources = Redactor(), environment.sources
    return [
        redactor.text(_line(name, version, sources.get(name))) for name, version in sorted(environment.versions.items())
    ]


def _line(name: str, version: str, source: str | None) -> str:
    if source is None:
        return f"{name}=={version}"
    # The name of an editable one cannot be written with it in another way.
    return f"{source}#egg={name}" if source.startswith("-e ") else f"{name} @ {source}"


def forget_halves(environment: Environment, before: Sequence[str]) -> bool:
    """Have pip not take for installed what it did not install to the end, because it was killed or the disk was full.

    Only what it says of the package is removed; its files are written over when it is installed.

    Args:
        before: lines of the packages that were there before, which are left alone.

    Returns:
        Whether there were any.
    """
    known = set(before)
    names = [name for name in environment.halves if f"{name}=={environment.versions[name]}" not in known]
    for name in names:
        shutil.rmtree(environment.halves[name], ignore_errors=True)
    return bool(names)


def can_be_had_again(line: str) -> bool:
    """Whether pip can follow the line; it cannot without the secret that was left out."""
    return MASK not in line


def name_of(line: str) -> str:
    """The name of the package in one of these lines."""
    if line.startswith("-e "):
        return line.rpartition("#egg=")[2]
    return re.split(r"==| @ ", line, maxsplit=1)[0]


def wording(line: str | None) -> str | None:
    """A line as a version for people."""
    if line is None:
        return None
    return line.partition("==")[2] or line.partition(" @ ")[2] or unquote(urlsplit(line.removeprefix("-e ")).path)


def changes(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """How lines of two moments differ, by name."""
    was, now = {name_of(line): line for line in before}, {name_of(line): line for line in after}
    names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    return [Change(name, wording(was.get(name)), wording(now.get(name))) for name in names]


def noteworthy(found: Sequence[Change]) -> list[Change]:
    """Those of packages that were there before and on which other nodes depend."""
    return [one for one in found if one.name in _SHARED and one.before is not None]


def sentence(node: str, change: Change) -> str:
    """What a node did to a package, as a sentence."""
    if change.after is None:
        return f"{node} removed {change.name} {change.before}."
    return f"{node} changed {change.name} {change.before} to {change.after}."


def indexes(lines: Sequence[str]) -> list[str]:
    """Addresses of the indexes that have builds which the usual one has not, such as torch 2.4.0+cu121."""
    builds = {line.rpartition("+")[2] for line in lines if "==" in line and "+" in line}
    return [f"https://download.pytorch.org/whl/{build}" for build in sorted(builds) if _TORCH_BUILD.fullmatch(build)]


def told(found: Sequence[Change]) -> list[Mapping[str, Any]]:
    """Changes as JSON values."""
    return [{"name": one.name, "before": one.before, "after": one.after} for one in found]
