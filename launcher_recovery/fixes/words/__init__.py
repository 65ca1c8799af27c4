"""Sentences of fixes in the languages there are, by id and what their placeholders stand for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from launcher_recovery.fixes.words import chinese, english

if TYPE_CHECKING:
    from launcher_recovery.fixes.fix import Say

LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": english.TEXTS, "zh": chinese.TEXTS}
_NONE: Mapping[str, Mapping[str, str]] = MappingProxyType({})


def spoken(language: str) -> str:
    """The language there is for one that is asked for ("zh-CN"); English where there is none."""
    name = language.lower().partition("-")[0]
    return name if name in LANGUAGES else "en"


class _About(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"


def worded(
    say: Say, language: str = "en", texts: Mapping[str, Mapping[str, str]] = _NONE, short: str | None = None
) -> str:
    """The sentence in a language ("en", "zh", also with a region, as in "zh-CN"), else in English.

    Args:
        texts: those of a fix of an extension, by language; they go first.
        short: the id of the text there, if it differs.
    """
    spoken = language.lower().partition("-")[0]
    for id, where in ((short or say.id, texts), (say.id, LANGUAGES)):
        for name in (spoken, "en"):
            text = where.get(name, {}).get(id)
            if text is not None:
                return text.format_map(_About(say.about))
    return say.id.rpartition(".")[2].replace("_", " ")
