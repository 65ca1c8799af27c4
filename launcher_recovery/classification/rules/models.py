"""Model files and the graphics card: PyTorch, CUDA, safetensors, archives, pictures."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_TORCH = "PyTorch"
_RUNTIME = frozenset({
    "builtins.RuntimeError", "builtins.AssertionError", "builtins.ValueError", "builtins.OSError", "torch.AcceleratorError",
    "builtins.ImportError", "builtins.Exception",
})  # fmt: skip
_DAMAGED = "The file is damaged, or not what its name says."

RULES: tuple[Rule, ...] = (
    # -- memory ----------------------------------------------------------------------------------------
    Rule("gpu-memory", C.RESOURCE, R.AFTER_FIX, "The graphics card ran out of memory: use a smaller picture or model, or close "
         "what else uses the card.", _TORCH, fix="free_memory", types={"torch.OutOfMemoryError"}),
    Rule("gpu-memory-told", C.RESOURCE, R.AFTER_FIX, "The graphics card ran out of memory: use a smaller picture or model, or "
         "close what else uses the card.", _TORCH, fix="free_memory", types=_RUNTIME, message=any_of(
             r"^(CUDA|HIP|XPU|NPU) out of memory\.", r"^CUDA error: out of memory", r"^MPS backend out of memory",
             r"^Allocation on device\b", r"^(CUDA error: )?CUBLAS_STATUS_ALLOC_FAILED", r"^cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
             r"^Could not allocate tensor with \d+ bytes\. There is not enough GPU video memory available",
             r"\bfailed to allocate memory for requested buffer of size \d+", r"^Invalid buffer size: [\d.]+ [GM]i?B",
         )),
    Rule("memory", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", "Python documentation",
         fix="free_memory", types={"builtins.MemoryError"}),
    Rule("memory-told", C.RESOURCE, R.AFTER_FIX, "The computer ran out of memory.", _TORCH, fix="free_memory", types=_RUNTIME,
         message=any_of(
             r"DefaultCPUAllocator: (can't allocate memory|not enough memory)", r"^(std::)?bad[_ ]alloc(ation)?\b",
             r"^Unable to allocate [\d.]+ [KMGT]?i?B for an array", r"\bCannot allocate memory \(os error 12\)",
             r"The paging file is too small for this operation to complete", r"^unable to mmap \d+ bytes from file .{1,900}: Cannot allocate memory",
         )),
    Rule("no-threads", C.RESOURCE, R.AFTER_FIX, "The system does not let the launcher start another thread.",
         "Python threading", fix="raise_limits", types={"builtins.RuntimeError"}, message=r"^can't (start|allocate) (new thread|lock)"),
    # -- the card and its driver -------------------------------------------------------------------------
    Rule("gpu-driver", C.DEPENDENCY, R.AFTER_FIX, "The driver of the graphics card is missing or too old for this PyTorch.",
         _TORCH, fix="install_dependency", types=_RUNTIME, message=any_of(
             r"^Found no NVIDIA driver on your system", r"^The NVIDIA driver on your system is too old",
             r"CUDA driver version is insufficient for CUDA runtime version", r"^No HIP GPUs are available",
             r"^No CUDA GPUs are available", r"^CUDA error: (unknown error|initialization error|system not yet initialized)",
             r"^CUDA unknown error - this may be due to an incorrectly set up environment",
             r"^Unexpected error from cudaGetDeviceCount\(\)",
         )),
    Rule("gpu-torch", C.DEPENDENCY, R.AFTER_FIX, "The PyTorch that is installed does not fit this graphics card.", _TORCH,
         fix="install_dependency", types=_RUNTIME, message=any_of(
             r"^Torch not compiled with (CUDA|MPS|ROCm) enabled", r"^CUDA error: no kernel image is available for execution",
             r"^Attempting to deserialize object on a CUDA device but torch\.cuda\.is_available\(\) is False",
             r"^operator torchvision::nms does not exist", r"^Couldn't load custom C\+\+ ops\.",
             r"^PyTorch and torchvision were compiled with different CUDA", r"^Could not run '.{1,200}' with arguments from the",
         )),
    Rule("gpu-broken", C.INTERNAL, R.ONCE, "The graphics card or its driver failed; ComfyUI has to be started again.", _TORCH,
         fix="report_bug", types=_RUNTIME, message=r"^CUDA error: (an illegal memory access|device-side assert|unspecified launch "
         r"failure|misaligned address|an illegal instruction|the launch timed out)|^cuDNN error: |^(CUDA error: )?CUBLAS_STATUS_"),
    # -- damaged files -------------------------------------------------------------------------------------
    Rule("model-missing-part", C.VALIDATION, R.AFTER_FIX, "The model file does not hold what the workflow wants of it.",
         "safetensors", fix="fix_workflow", types={"safetensors.SafetensorError"}, message=r"^File does not contain tensor "),
    Rule("model-damaged", C.INTEGRITY, R.ONCE, _DAMAGED, "safetensors tensor.rs", fix="redownload",
         types={"safetensors.SafetensorError"}),
    Rule("weights-unsafe", C.VALIDATION, R.AFTER_FIX, "The model file holds program code, which PyTorch does not run for safety: "
         "look for the same model as .safetensors.", "PyTorch torch/_weights_only_unpickler.py", fix="choose_mirror",
         types={"pickle.UnpicklingError", "builtins.RuntimeError"},
         message=r"Weights only load failed(.|\n){0,2000}Unsupported (global|class)\b"),
    Rule("pickle-damaged", C.INTEGRITY, R.ONCE, _DAMAGED, "Python pickle, PyTorch", fix="redownload",
         types={"pickle.UnpicklingError"}),
    Rule("weights-damaged", C.INTEGRITY, R.ONCE, _DAMAGED, "PyTorch caffe2/serialize", fix="redownload", types=_RUNTIME,
         message=any_of(
             r"^PytorchStreamReader failed\b", r"^unexpected EOF, expected \d+ more bytes\. The file might be corrupted",
             r"^Unable to load weights from pytorch checkpoint file for ", r"^Invalid magic number; corrupt file\?",
             r"^(Invalid|Bad) (GGUF )?magic\b", r"^GGUF magic invalid", r"^Tensor data out of bounds",
             r"^storage has wrong byte size: expected ", r"^Error while deserializing header: ", r"^Invalid model file: ",
             r"INVALID_PROTOBUF : Load model from .{1,900} failed:", r"^checkpoint .{1,300} is corrupt",
             r"^(invalid|corrupt) header or archive is corrupted|^invalid header or archive is corrupted",
             r"^unable to mmap \d+ bytes from file .{1,900}: Invalid argument",
         )),
    Rule("archive-damaged", C.INTEGRITY, R.ONCE, _DAMAGED, "Python zipfile, tarfile, gzip, zlib, lzma, shutil", fix="redownload",
         types={
             "zipfile.BadZipFile", "zipfile.LargeZipFile", "zipfile._path.BadZipFile", "tarfile.ReadError", "tarfile.HeaderError",
             "tarfile.TruncatedHeaderError", "tarfile.InvalidHeaderError", "tarfile.EmptyHeaderError", "tarfile.EOFHeaderError",
             "tarfile.CompressionError", "tarfile.StreamError", "gzip.BadGzipFile", "zlib.error", "_lzma.LZMAError", "lzma.LZMAError",
             "shutil.ReadError", "_zstd.ZstdError", "py7zr.exceptions.Bad7zFile", "rarfile.BadRarFile",
         }),
    Rule("archive-hostile", C.VALIDATION, R.NO, "The archive wants to write outside of its folder, and was refused.",
         "Python tarfile", fix="choose_mirror", types={
             "tarfile.FilterError", "tarfile.OutsideDestinationError", "tarfile.AbsolutePathError", "tarfile.AbsoluteLinkError",
             "tarfile.LinkOutsideDestinationError", "tarfile.SpecialFileError",
         }),
    Rule("archive-cut", C.INTEGRITY, R.ONCE, _DAMAGED, "Python gzip, bz2, lzma, pickle, zipfile", fix="redownload",
         types={"builtins.EOFError", "builtins.OSError"}, message=any_of(
             r"^Compressed file ended before the end-of-stream marker was reached", r"^Ran out of input$",
             r"^Invalid data stream$", r"^Not a gzipped file \(", r"^CRC check failed ", r"^Incorrect length of data produced",
         )),
    Rule("picture-damaged", C.INTEGRITY, R.ONCE, "The picture is damaged, or is none.", "Pillow", fix="redownload",
         types={"PIL.UnidentifiedImageError", "PIL.Image.UnidentifiedImageError"}),
    Rule("picture-damaged-told", C.INTEGRITY, R.ONCE, "The picture is damaged, or is none.", "Pillow ImageFile.py",
         fix="redownload", types={"builtins.OSError", "builtins.SyntaxError"},
         message=r"^(image file is truncated|broken PNG file|broken data stream when reading image file|cannot identify image file)"),
    # -- models that do not fit ------------------------------------------------------------------------------
    Rule("model-other-kind", C.VALIDATION, R.AFTER_FIX, "The model is of another kind than the workflow wants.",
         "PyTorch, ComfyUI", fix="fix_workflow", types=_RUNTIME, message=any_of(
             r"^Error\(s\) in loading state_dict for ", r"^ERROR: Could not detect model type of: ", r"^ERROR: clip input is invalid",
             r"^mat1 and mat2 shapes cannot be multiplied", r"^mat1 and mat2 must have the same dtype",
             r"^Given groups=\d+, weight of size ", r"^Sizes of tensors must match except in dimension ",
             r"^The size of tensor a \(\d+\) must match the size of tensor b",
         )),
)  # fmt: skip
