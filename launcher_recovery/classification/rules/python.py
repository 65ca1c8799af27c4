"""Python's own exceptions, and those of libraries that check what they are given."""

from __future__ import annotations

import errno

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_DOCS = "Python documentation"
_BUILD_TOOLS = frozenset({
    "cmake", "ninja", "make", "nmake", "gcc", "g++", "cc", "c++", "clang", "clang++", "cl", "link", "nvcc", "rustc", "cargo",
    "swig", "meson", "pkg-config", "gfortran", "hipcc", "msbuild",
})  # fmt: skip
_TOOLS = frozenset({
    "ffmpeg", "ffprobe", "python", "python3", "pip", "pip3", "uv", "conda", "node", "npm", "curl", "wget", "aria2c", "ssh",
    "docker", "nvidia-smi", "rocm-smi", "7z", "unzip", "tar", "magick", "convert", "bash", "sh", "powershell", "pwsh", "patch",
    "huggingface-cli", "hf", "espeak", "sox", "java", "redis-server", "celery", "comfy",
})  # fmt: skip
_NOT_THERE = frozenset({errno.ENOENT})
_NO_FILE = frozenset({"builtins.FileNotFoundError"})
_INTERRUPTED = frozenset({
    "builtins.KeyboardInterrupt", "builtins.GeneratorExit", "asyncio.exceptions.CancelledError",
    "concurrent.futures._base.CancelledError", "trio.Cancelled", "comfy.model_management.InterruptProcessingException",
    "nodes.InterruptProcessingException", "click.exceptions.Abort", "typer.Abort",
})  # fmt: skip

# Only as the error itself: `asyncio.wait_for` raises a TimeoutError that was caused by a CancelledError.
CANCELLED: tuple[Rule, ...] = (
    Rule(
        "interrupted", C.CANCELLED, R.NO, "It was cancelled.", "Python asyncio documentation",
        types=_INTERRUPTED, outermost=True,
    ),
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    # -- programs and packages that are missing --------------------------------------------------------
    Rule("no-git", C.DEPENDENCY, R.AFTER_FIX, "Git is not installed on this computer.", "subprocess", fix="install_git",
         types=_NO_FILE, errnos=_NOT_THERE, files={"git"}),
    Rule("no-git-lfs", C.DEPENDENCY, R.AFTER_FIX, "Git LFS is not installed on this computer.", "subprocess",
         fix="install_git_lfs", types=_NO_FILE, errnos=_NOT_THERE, files={"git-lfs"}),
    Rule("no-build-tool", C.DEPENDENCY, R.AFTER_FIX, "A tool for building packages is not installed on this computer.",
         "subprocess", fix="install_build_tools", types=_NO_FILE, errnos=_NOT_THERE, files=_BUILD_TOOLS),
    Rule("no-program", C.DEPENDENCY, R.AFTER_FIX, "A program that is needed is not installed on this computer.", "subprocess",
         fix="install_dependency", types=_NO_FILE, errnos=_NOT_THERE, files=_TOOLS),
    Rule("no-program-windows", C.DEPENDENCY, R.AFTER_FIX, "A program that is needed is not installed on this computer.",
         "subprocess, CreateProcess", fix="install_dependency", types=_NO_FILE, winerrors={2},
         message=r"^\[WinError 2\] [^:\n]{1,200}$"),
    Rule("versions-apart", C.DEPENDENCY, R.AFTER_FIX, "Two packages do not fit together in these versions.", "numpy, pkg_resources",
         fix="pin_dependency", types={
             "pkg_resources.VersionConflict", "pkg_resources.ContextualVersionConflict", "pkg_resources.UnknownExtra",
             "transformers.utils.versions.VersionConflict",
         }),
    Rule("versions-apart-told", C.DEPENDENCY, R.AFTER_FIX, "Two packages do not fit together in these versions.",
         "numpy, importlib", fix="pin_dependency",
         types={"builtins.ImportError", "builtins.AttributeError", "builtins.ValueError", "builtins.RuntimeError"}, message=any_of(
             r"^cannot import name '", r"^module '(numpy|pkgutil|torch|PIL\.Image|collections|inspect|asyncio)' has no attribute ",
             r"^numpy\.(dtype|ufunc|core\S*) size changed, may indicate binary incompatibility",
             r"^A module that was compiled using NumPy 1\.x cannot be run in", r"^numpy\.core\.multiarray failed to import",
             r"^module compiled against (ABI|API) version ", r"^\S{1,100}[<>=!]=?\S{1,60} is required for a normal functioning",
         )),
    Rule("no-package", C.DEPENDENCY, R.AFTER_FIX, "A Python package that is needed is not installed.", _DOCS,
         fix="install_dependency", types={
             "builtins.ImportError", "builtins.ModuleNotFoundError", "importlib.metadata.PackageNotFoundError",
             "importlib_metadata.PackageNotFoundError", "pkg_resources.DistributionNotFound",
         }),
    # -- what a person or a file has got wrong ----------------------------------------------------------
    Rule("requirement", C.VALIDATION, R.AFTER_FIX, "A requirement is not written as pip wants it.", "packaging",
         fix="fix_requirements", types={
             "packaging.requirements.InvalidRequirement", "packaging.version.InvalidVersion",
             "packaging.specifiers.InvalidSpecifier", "packaging.markers.InvalidMarker",
             "pkg_resources.extern.packaging.requirements.InvalidRequirement",
             "setuptools.extern.packaging.version.InvalidVersion",
         }),
    Rule("not-json", C.VALIDATION, R.AFTER_FIX, "The workflow, or another file that should be JSON, cannot be read.",
         "Python json", fix="fix_workflow",
         types={"json.decoder.JSONDecodeError", "simplejson.errors.JSONDecodeError", "simplejson.scanner.JSONDecodeError", "orjson.JSONDecodeError"}),
    Rule("wrong-shape", C.VALIDATION, R.AFTER_FIX, "Something in the workflow has another form than it should have.",
         "jsonschema, pydantic", fix="fix_workflow", types={
             "jsonschema.exceptions.ValidationError", "jsonschema.exceptions._Error", "pydantic_core._pydantic_core.ValidationError",
             "pydantic.error_wrappers.ValidationError", "pydantic.v1.error_wrappers.ValidationError", "fastjsonschema.exceptions.JsonSchemaValueException",
             "marshmallow.exceptions.ValidationError", "cerberus.validator.DocumentError", "fastapi.exceptions.RequestValidationError",
         }),
    Rule("settings-file", C.VALIDATION, R.AFTER_FIX, "A file with settings cannot be read.", "tomllib, configparser, PyYAML",
         fix="fix_settings", types={
             "tomllib.TOMLDecodeError", "tomli.TOMLDecodeError", "tomli._parser.TOMLDecodeError", "configparser.Error",
             "configparser.ParsingError", "yaml.error.YAMLError", "yaml.scanner.ScannerError", "yaml.parser.ParserError",
             "toml.decoder.TomlDecodeError", "jsonschema.exceptions.SchemaError",
         }),
    Rule("wrong-option", C.VALIDATION, R.AFTER_FIX, "A setting has a value that cannot be used.", "urllib3 util/timeout.py, http.client",
         fix="fix_settings", types={"builtins.ValueError", "builtins.TypeError", "requests.exceptions.InvalidHeader"}, message=any_of(
             r"^Timeout value (connect|read|total) was ", r"^Attempted to set (connect|read|total) timeout to ",
             r"^Timeout cannot be a boolean value", r"^Invalid timeout ", r"^Header value must be str or bytes",
             r"^Invalid header value ", r"^Invalid (leading whitespace|header name)", r"^Timeout value out of range",
             r"^timeout must be ", r"^[Ii]nvalid environment variable ",
         )),
    Rule("exists-already", C.VALIDATION, R.AFTER_FIX, "There is a file or folder of that name already.", _DOCS,
         fix="remove_existing_folder", types={"builtins.FileExistsError"}),
    Rule("permission", C.PERMISSION, R.AFTER_FIX, "Access was denied.", _DOCS,
         fix="fix_permissions", types={"builtins.PermissionError"}),
    Rule("missing-model", C.NOT_FOUND, R.AFTER_FIX, "A model file that is needed is not there.", _DOCS, fix="download_missing_model",
         types=_NO_FILE, message=r"\.(safetensors|sft|ckpt|pth|pt|bin|gguf|onnx)'$"),
    Rule("missing-file", C.NOT_FOUND, R.AFTER_FIX, "A file or program that is needed is not there.", _DOCS,
         types={"builtins.FileNotFoundError", "builtins.NotADirectoryError", "builtins.IsADirectoryError"}),
)  # fmt: skip

GENERAL: tuple[Rule, ...] = (
    Rule("interrupted-within", C.CANCELLED, R.NO, "It was cancelled.", "Python asyncio documentation", types=_INTERRUPTED),
    Rule("asked-a-person", C.INTERNAL, R.NO, "The program waits for an answer at a keyboard, which it cannot get here.", _DOCS,
         fix="report_bug", types={"builtins.EOFError"}, message=r"^EOF when reading a line$"),
    Rule("cut-off", C.INTEGRITY, R.ONCE, "A file ends too early.", _DOCS, fix="redownload",
         types={"builtins.EOFError"}),
    Rule("programming", C.INTERNAL, R.NO, "The program has an error of its own.", _DOCS, fix="report_bug", types={
        "builtins.NameError", "builtins.AttributeError", "builtins.AssertionError", "builtins.NotImplementedError",
        "builtins.TypeError", "builtins.LookupError", "builtins.ArithmeticError", "builtins.RecursionError", "builtins.SyntaxError",
        "builtins.SystemError", "builtins.BufferError", "builtins.ReferenceError", "pickle.PicklingError", "asyncio.exceptions.InvalidStateError",
        "concurrent.futures._base.InvalidStateError", "requests.exceptions.StreamConsumedError", "urllib3.exceptions.ClosedPoolError",
        "http.client.ImproperConnectionState", "http.client.CannotSendRequest", "http.client.ResponseNotReady",
        "httpx.StreamError", "httpx.LocalProtocolError", "httpcore.LocalProtocolError",
    }),
    Rule("programming-told", C.INTERNAL, R.NO, "The program has an error of its own.", "asyncio, PyTorch", fix="report_bug",
         types={"builtins.RuntimeError"}, message=any_of(
             r"^Event loop is closed$", r"^There is no current event loop", r"^asyncio\.run\(\) cannot be called from a running",
             r"^dictionary changed size during iteration", r"^Expected all tensors to be on the same device",
             r"^cannot schedule new futures after ", r"^generator (raised StopIteration|already executing)",
             r"^This event loop is already running", r"^threads can only be started once", r"^Working outside of (application|request) context",
             r"^Cannot re-initialize CUDA in forked subprocess",
         )),
    Rule("missing-errno", C.NOT_FOUND, R.AFTER_FIX, "A file or folder that is needed is not there.", "errno(3)", errnos=_NOT_THERE),
    Rule("invalid-value", C.VALIDATION, R.AFTER_FIX, "Something that was given is not valid.", _DOCS,
         fix="fix_workflow", types={"builtins.ValueError"}),
)  # fmt: skip
