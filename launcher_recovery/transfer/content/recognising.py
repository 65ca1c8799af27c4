"""Recognises by its first bytes what is not the file: a web page, an error message, a pointer, a broken header.

What is not recognised is let through: a file that is wrongly refused costs more than one that is found out later.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from launcher_recovery.errors import ErrorDocumentError, PointerFileError, UnexpectedContentError
from launcher_recovery.redaction import redact_url
from launcher_recovery.transfer.content import error_documents, pointers, web_pages
from launcher_recovery.transfer.content.model_headers import gguf_problem, safetensors_problem

ENOUGH_BYTES = 8 << 10
"""So many tell of most bodies what they are: the title of a web page, an error message that has to be whole."""

# What files may begin like, by the end of their names. Files that may begin like a web page:
_PAGES = frozenset({
    "html", "htm", "xhtml", "shtml", "mhtml", "xml", "xsl", "svg", "rss", "atom", "txt", "text", "md", "markdown",
    "rst", "log", "adoc", "tex", "eml", "php", "asp", "aspx", "jsp", "vue", "svelte", "astro", "hbs", "mustache", "ejs",
    "njk", "jinja", "jinja2", "j2", "tmpl", "tpl",
})  # fmt: skip
# Files that are never empty.
_MODELS = frozenset({"safetensors", "sft", "gguf", "ckpt", "pt", "pth", "pkl", "onnx"})
# Files that do not begin like text.
_BINARIES = _MODELS | {
    "bin", "ggml", "npz", "npy", "h5", "hdf5", "tflite", "engine", "trt", "zip", "7z", "rar", "gz", "tgz", "bz2", "xz",
    "zst", "tar", "whl", "png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "exr", "mp4", "webm", "mov", "mkv",
    "avi", "mp3", "wav", "flac", "ogg", "ttf", "otf", "woff", "woff2", "exe", "dll", "dylib", "msi", "parquet", "arrow",
}  # fmt: skip
_JSON = frozenset({"json", "jsonl", "ndjson", "json5", "geojson", "ipynb", "webmanifest", "map"})
# A message in plain text, such as "Entry not found".
_LONGEST_MESSAGE = 1024


def refuse_what_is_no_file(
    first: bytes, *, content_type: str | None, name: str, size: int | None, where: str, asked: str | None = None
) -> None:
    """Raise when a body is not the file that was asked for.

    Args:
        first: the first bytes of the body, `ENOUGH_BYTES` or some more or less of them, or all of it.
        content_type: the header Content-Type of the answer.
        name: the name that the file is to have; what may begin like text depends on it.
        size: bytes of the whole file, as the answer or the caller says; None: not known.
        where: the address that the body comes from, after all redirects.
        asked: the address that was asked for; None: the same.

    Raises:
        LoginRequiredError, CaptivePortalError, BrowserCheckError: it is a web page.
        ErrorDocumentError: it is an error message; it is quoted.
        PointerFileError: it is a Git LFS pointer.
        UnexpectedContentError: it is a page about the file, empty, or a model whose header is not one.
    """
    name = PurePosixPath(name.replace("\\", "/")).name
    suffix = PurePosixPath(name).suffix[1:].lower()
    name = error_documents.quoted(name)
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if not first:
        _refuse_emptiness(name, suffix, size, where)
        return
    is_binary = suffix in _BINARIES
    if suffix not in _PAGES:
        _refuse_pointer(first, name, where)
        if (is_binary or media_type in ("text/html", "application/xhtml+xml")) and web_pages.is_page(first):
            raise web_pages.why_it_came(first, name, where, asked or where)
        if suffix not in _JSON:
            _refuse_error_document(first, name, media_type, is_binary, where)
    if is_binary:
        _refuse_message(first, name, media_type, size, where)
    problem = None
    if suffix in ("safetensors", "sft"):
        problem = safetensors_problem(first, size)
    elif suffix == "gguf":
        problem = gguf_problem(first, size)
    if problem is not None:
        raise UnexpectedContentError(f"what {redact_url(where)} sends is not {name}: it {problem}")


def _refuse_emptiness(name: str, suffix: str, size: int | None, where: str) -> None:
    if size or suffix in _MODELS:
        expected = f"{size} bytes" if size else "a model"
        raise UnexpectedContentError(f"{redact_url(where)} sent nothing at all instead of {name}, which is {expected}")


def _refuse_pointer(first: bytes, name: str, where: str) -> None:
    pointer = pointers.read(first)
    if pointer is None:
        return
    raise PointerFileError(
        f"{redact_url(where)} gives the Git LFS pointer of {name}, not the file of {pointer.size} bytes; use its "
        f"download address: {_download_address(where)}"
    )


def _download_address(where: str) -> str:
    raw_on_github = "//raw.githubusercontent.com/"
    if raw_on_github in where:
        return redact_url(where.replace(raw_on_github, "//media.githubusercontent.com/media/"))
    if "/raw/" in where:
        return redact_url(where.replace("/raw/", "/resolve/", 1))
    return (
        "on Hugging Face the one with /resolve/, on GitHub the one that begins with media.githubusercontent.com/media"
    )


def _refuse_error_document(first: bytes, name: str, media_type: str, is_binary: bool, where: str) -> None:
    document = error_documents.read(first)
    if document is None:
        return
    # A file of a kind that is not known may be a document of this form itself.
    if is_binary or (document.is_nothing_else and media_type.endswith(("json", "xml"))):
        raise ErrorDocumentError(
            f"{redact_url(where)} answered with an error instead of {name}: {document.message}", document.status
        )


def _refuse_message(first: bytes, name: str, media_type: str, size: int | None, where: str) -> None:
    if len(first) == size and size <= _LONGEST_MESSAGE and media_type.startswith("text/") and web_pages.is_text(first):
        message = error_documents.quoted(first.decode("utf-8", "replace"))
        raise ErrorDocumentError(
            f"{redact_url(where)} answered with text instead of {name}: {message}",
            error_documents.status_of_phrase(message),
        )
