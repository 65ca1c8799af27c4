"""How much is looked at: what is larger is refused in a sentence, so that no file takes all memory or time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one check.

    Args:
        text_bytes: of the text; of an image, of the text in it.
        image_bytes: of an image that are read.
        depth: levels of lists and objects within one another.
        values: of all kinds, in the whole document.
        nodes: in all graphs together.
        links: in all graphs together.
        problems: that are listed.
        models: files that are looked at below the folders of models.
        names: of models, that are looked for.
        hash_bytes: of files read to find one that was renamed or moved; 0: none are.
        source_files: of custom nodes that are read to find what they provide.
    """

    text_bytes: int = 32 << 20
    image_bytes: int = 256 << 20
    depth: int = 100
    values: int = 3_000_000
    nodes: int = 50_000
    links: int = 200_000
    problems: int = 1_000
    models: int = 200_000
    names: int = 20_000
    hash_bytes: int = 4 << 30
    source_files: int = 20_000


DEFAULT_LIMITS = Limits()
