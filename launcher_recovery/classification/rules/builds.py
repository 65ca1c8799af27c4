"""What goes wrong when a package is built: compilers, CMake, Rust, CUDA, setuptools."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of, lines
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_TOOLS = "A package has to be built here, and the tools for that (compiler, headers) are not installed."
_BUILDING = any_of(lines(r"\[end of output\]"), r"\bFailed (building wheel for|to build) ", r"^ERROR: Command errored out with exit status \d+:",
                   r"^[ \t]{0,8}error: (subprocess-exited-with-error|metadata-generation-failed)")  # fmt: skip
_AUTHOR = "A package has to be built here, and does not fit the versions of what is installed."
_COMPILERS = r"(?:[^'\n]{0,300}[/\\])?(?:\S{0,40}-)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|cl(?:\.exe)?|gfortran|nvcc|rustc|cargo|swig|cmake|ninja|make|link\.exe)(?:-\d+)?"

MEMORY: tuple[Rule, ...] = (
    Rule("build-memory", C.RESOURCE, R.AFTER_FIX, "The memory ran out while a package was built.", "GCC, Linux Out of Memory Management",
         fix="free_memory", output=any_of(
             lines(r".{0,80}(fatal error: Killed signal terminated program|internal compiler error: Killed)", r"(cc1plus|cc1|ld|nvcc): out of memory",
                   r".{0,200}fatal error C1060: ", r"LLVM ERROR: out of memory", r"collect2: fatal error: ld terminated with signal 9"),
         )),
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    Rule("build-versions", C.DEPENDENCY, R.AFTER_FIX, _AUTHOR, "setuptools, CMake, PyTorch cpp_extension", fix="pin_dependency", output=lines(
        r"AttributeError: module 'pkgutil' has no attribute 'ImpImporter'", r"AttributeError: install_layout", r"AttributeError: cython_sources",
        r"Compatibility with CMake < [\d.]+ has been removed from CMake", r"CMake Error at .{0,300}:? ?\(?cmake_minimum_required",
        r"RuntimeError:?\s{0,3}The detected CUDA version \(", r"The detected CUDA version \([\d.]+\) mismatches the version that was used to compile",
        r"(error: )?[Uu]se_2to3 is invalid", r"ModuleNotFoundError: No module named '(distutils|imp|pkg_resources)", r"ImportError: cannot import name '\w+' from '(distutils|setuptools|pkg_resources)",
        r"error: Multiple top-level packages discovered", r"configuration error: `project", r".{0,80}ValueError: invalid pyproject\.toml config",
        r"error: the configured Python interpreter version \([\d.]+\) is newer than PyO3's maximum")),
    Rule("build-needs-package", C.DEPENDENCY, R.AFTER_FIX, "A package cannot be built without another one that is not installed.", "PEP 517",
         fix="install_dependency", output=lines(r"ModuleNotFoundError: No module named '", r"ImportError: No module named ", r"error: invalid command 'bdist_wheel'"),
         beside=_BUILDING),
    Rule("build-backend", C.DEPENDENCY, R.AFTER_FIX, "A package cannot be built, because what builds it (such as setuptools) is not there or does not "
         "work.", "PEP 517", fix="install_dependency", output=lines(r"(pip\._vendor\.)?pyproject_hooks\.\S{0,40}BackendUnavailable: Cannot import '")),
    Rule("build-tools", C.DEPENDENCY, R.AFTER_FIX, _TOOLS, "setuptools, CMake, Rust, GCC, MSVC", fix="install_build_tools", output=any_of(
        lines(r"(\S{1,300}: )?fatal error: .{1,300}: No such file or directory", r".{0,300}fatal error C1083: ",
              rf"error: command '{_COMPILERS}' failed", rf"error: \[(Errno 2|WinError 2)\].{{0,80}}'{_COMPILERS}'", r"error: Microsoft Visual C\+\+ \d+\.\d+ (or greater )?is required",
              r"error: Unable to find vcvarsall\.bat", r"unable to execute '.{1,200}': No such file or directory", rf"FileNotFoundError: \[Errno 2\] No such file or directory: '{_COMPILERS}'", r"distutils\.errors\.(DistutilsPlatformError|CompileError)|distutils\.compilers\.",
              r"(RuntimeError: )?CMake must be installed to build", r"CMake Error: (CMAKE_\w+_COMPILER not set|CMake was unable to find a build program|your \w+ compiler: )",
              rf"subprocess\.CalledProcessError: Command '\[?'?{_COMPILERS}'?[ ,\]]", r"CMake Error at ", r"-- Configuring incomplete, errors occurred!", r"(No|Could not find) (CMAKE_\w+_COMPILER|a suitable compiler)", r"(RuntimeError: )?Ninja is required to load C\+\+ extensions", r"ninja: (error|build stopped): ",
              r"error: can't find Rust compiler", r"error: (linker `.{1,60}` not found|could not compile `|could not find native static library)", r"Cargo, the Rust package manager, is not installed",
              r"(OSError|RuntimeError): CUDA_HOME environment variable is not set", r".{0,60}(nvcc|hipcc): (command )?not found", r"(\S{0,200}/)?ld: cannot find -l", r"LINK : fatal error LNK\d+: ",
              r".{0,80}\b(pkg-config|swig|cmake|gfortran|make|gcc|g\+\+|cc|c\+\+|clang|ninja|rustc|cargo): (command )?not found", r"(Exception|error|ERROR): .{0,80}(pkg-config is required|mysql_config not found|pg_config executable not found)",
              r"The headers or library files could not be found for "),
    )),
    Rule("build-failed", C.DEPENDENCY, R.AFTER_FIX, "A package could not be built here: a version that needs no building may help.", "pip _internal/exceptions.py",
         fix="install_build_tools", output=lines(
             r"ERROR: (Failed building wheel for|Could not build wheels for|Failed to build (installable wheels|'))", r"error: (failed-wheel-build-for-install|legacy-install-failure)",
             r"(\u00d7 )?Failed to build `", r"(Caused by: |cause: )?(The b|B)uild backend (failed to|returned an error)", r"ERROR: .{0,200}Getting requirements to build wheel did not run successfully", r"error: command '.{1,300}' failed with exit (code|status) \d+")),
    Rule("build-metadata", C.DEPENDENCY, R.AFTER_FIX, "A package cannot be prepared here: another version of it may help.", "pip _internal/exceptions.py",
         fix="pin_dependency", output=lines(
             r"error: (metadata-generation-failed|subprocess-exited-with-error|missing-pyproject-build-system-requires|invalid-pyproject-build-system-requires)",
             r"ERROR: Command errored out with exit status \d+:")),
)  # fmt: skip
