"""The first bytes of model files: whether a file can be what its name says."""

from __future__ import annotations

import json
from typing import Any

# The reference implementation refuses more (`MAX_HEADER_SIZE` in safetensors/src/tensor.rs of huggingface/safetensors).
_LONGEST_HEADER = 100_000_000
_LENGTH = 8

_KNOWN = (
    (b"PK\x03\x04", "a zip or PyTorch file"),
    (b"\x80\x02", "a PyTorch file"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
)


def safetensors_problem(first: bytes, size: int | None) -> str | None:
    """Why this cannot be the beginning of a safetensors file, in words that follow "it"; None when it can be.

    Args:
        first: the first bytes of the file, or all of it; a header that goes on behind them is not looked into.
        size: bytes of the whole file, if known.

    Source: the format in the README of https://github.com/huggingface/safetensors: 8 bytes with the length of the
    header (little-endian), the header (JSON that begins with `{`), and the tensors, which fill the rest without a gap.
    """
    if len(first) < _LENGTH:
        return "is too short to have a header" if size is not None and len(first) >= size else None
    length = int.from_bytes(first[:_LENGTH], "little")
    if not 2 <= length <= _LONGEST_HEADER or first[_LENGTH : _LENGTH + 1] not in (b"", b"{"):
        return f"does not begin with a safetensors header{_seems(first)}"
    data_start = _LENGTH + length
    if size is not None and data_start > size:
        return f"has {size} bytes, but announces a header of {length} bytes"
    if len(first) < data_start:
        return None
    described = _tensor_bytes(first[_LENGTH:data_start])
    if described is None:
        return "has a header that describes no tensors"
    if size is not None and described != size - data_start:
        return f"has {size - data_start} bytes of tensors, but its header describes {described}"
    return None


def gguf_problem(first: bytes, size: int | None) -> str | None:
    """The same of a GGUF file, which begins with these four letters.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    if first[:4] == b"GGUF" or (len(first) < 4 and (size is None or size > len(first))):
        return None
    return f"does not begin with the letters GGUF{_seems(first)}"


def _seems(first: bytes) -> str:
    for magic, what in _KNOWN:
        if first.startswith(magic):
            return f", but like {what}"
    return ""


def _tensor_bytes(header: bytes) -> int | None:
    """Where the last tensor ends, counted from the end of the header; None when that cannot be said."""
    try:
        members = json.loads(header.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    ends = [_end(tensor) for name, tensor in members.items() if name != "__metadata__"]
    known = [end for end in ends if end is not None]
    return max(known, default=0) if len(known) == len(ends) else None


def _end(tensor: Any) -> int | None:
    offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        return None
    begin, end = offsets
    return end if 0 <= begin <= end else None
