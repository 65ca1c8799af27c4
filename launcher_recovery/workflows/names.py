"""Names of model files as workflows write them: separators, case, and what is around them."""

from __future__ import annotations

import re
import unicodedata

_MODELS = re.compile(r"(^|.*/)models/", re.IGNORECASE)
_DRIVE = re.compile(r"^[A-Za-z]:")

GENERIC = frozenset(
    {"model", "pytorch_model", "diffusion_pytorch_model", "pytorch_lora_weights", "adapter_model", "ae", "vae", "lora"}
)
"""Names, without their suffix, that many different files have."""


def tidy(name: str) -> str:
    """The name with `/` between folders, without what means nothing: a drive, `.`, doubled separators, blanks.

    What is above the folder of models is left out; a name never leads out of it.
    """
    text = _DRIVE.sub("", name.strip().strip("\"'").replace("\\", "/"))
    text = _MODELS.sub("", text) if text.startswith("/") else text
    return "/".join(part for part in text.split("/") if part not in ("", ".", ".."))


def is_absolute(name: str) -> bool:
    """Whether a name as it is written is a path from the root of some machine."""
    return name.startswith(("/", "\\")) or _DRIVE.match(name) is not None


def key(name: str) -> str:
    """What names have in common that differ in case, or in how accents are written (macOS takes them apart)."""
    return unicodedata.normalize("NFC", name).casefold()


def base(name: str) -> str:
    """The last part of a tidy name."""
    return name.rpartition("/")[2]


def is_generic(name: str) -> bool:
    """Whether many different files have this name."""
    return key(base(name)).rpartition(".")[0] in GENERIC


def written(name: str, *, windows: bool) -> str:
    """A tidy name as ComfyUI lists it on this kind of machine (`os.path.relpath`)."""
    return name.replace("/", "\\") if windows else name
