"""launcher-recovery check-workflow: what a workflow needs, what is wrong with it, and a mended copy of it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher_recovery.cli.command import Command, CommandLineError
from launcher_recovery.cli.words import printable

if TYPE_CHECKING:
    from launcher_recovery.workflows import Fixed, Lookups, Problem, Report


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a JSON file, or an image that ComfyUI made")
    parser.add_argument(
        "--models", metavar="FOLDER", type=Path, action="append", help="where ComfyUI has its models; may be repeated"
    )
    parser.add_argument(
        "--nodes", metavar="FOLDER", type=Path, action="append", help="ComfyUI's custom_nodes; may be repeated"
    )
    parser.add_argument(
        "--comfyui", metavar="FOLDER", type=Path,
        help="ComfyUI; its models and custom_nodes are looked at where they are not given",
    )  # fmt: skip
    parser.add_argument(
        "--model-paths", metavar="FILE", type=Path, action="append",
        help="a file in the form of extra_model_paths.yaml, beside that of ComfyUI; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--table", metavar="FILE", type=Path, action="append", default=[],
        help="a custom-node-list.json, extension-node-map.json or model-list.json of ComfyUI-Manager; may be repeated",
    )  # fmt: skip
    parser.add_argument("--fix", metavar="OUT", type=Path, help="write a copy in which is mended what is safe to mend")
    parser.add_argument("--quiet", action="store_true", help="show nothing but an error")
    parser.add_argument("--json", action="store_true", help="tell the result as JSON")


def _run(options: argparse.Namespace) -> None:
    from launcher_recovery.workflows import apply_fixes, check_workflow

    folders = [*(options.models or ()), *(options.nodes or ()), *([options.comfyui] if options.comfyui else [])]
    for folder in folders:
        if not folder.is_dir():
            raise CommandLineError(f"{folder} is not there, or no folder")
    lookups = _lookups(options.table)
    report = check_workflow(
        options.file,
        models=options.models,
        nodes=options.nodes,
        comfyui=options.comfyui,
        model_paths=options.model_paths,
        lookups=lookups,
    )
    fixed = None
    if options.fix is not None and report.format is not None:
        fixed = apply_fixes(report)
        _write(options.fix, fixed, report)
    if options.json:
        members = {**report.to_dict(), "path": str(options.file)}
        if fixed is not None:
            members.update(fixed=[problem.to_dict() for problem in fixed.applied], fixed_path=str(options.fix))
        print(json.dumps(members), flush=True)
    elif not options.quiet:
        _show(report, fixed)
    left = [problem for problem in report.errors if fixed is None or problem not in fixed.applied]
    if left:
        raise CommandLineError(_what_is_left(options.file, report, left, fixed))


def _lookups(tables: Sequence[Path]) -> Lookups:
    """Who knows where things can be had: the extensions, with the files named here and in the settings."""
    from launcher_recovery.config import load_config
    from launcher_recovery.defaults import builtin_extensions
    from launcher_recovery.manager import Extensions
    from launcher_recovery.workflows import Tables

    Tables(tables)  # one that is typed and cannot be read is refused; one of the settings is warned of
    config = load_config()
    config = config.merged({"workflow_tables": (*config.workflow_tables, *map(str, tables))})
    extensions = Extensions(config, builtin_extensions())
    extensions.load_entry_points()
    extensions.start()
    return extensions


def _write(path: Path, fixed: Fixed, report: Report) -> None:
    """Write the copy, whole or not at all."""
    from launcher_recovery.workflows.reading import dump

    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(dump(fixed.workflow, report.text), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _show(report: Report, fixed: Fixed | None) -> None:
    for problem in report.problems:
        mended = fixed is not None and problem in fixed.applied
        print(printable(f"{'mended' if mended else problem.severity.value}: {_where(problem)}{problem.message}"))
    if not report.problems:
        models, types = len(report.models), len(report.node_types)
        print(f"nothing is wrong: {models} models and {types} types of nodes are needed")


def _where(problem: Problem) -> str:
    return f"in {' > '.join(problem.path)}: " if problem.path else ""


def _what_is_left(file: Path, report: Report, left: list[Problem], fixed: Fixed | None) -> str:
    if report.format is None:
        return f"{file}: {left[-1].message}"
    what = "one problem keeps" if len(left) == 1 else f"{len(left)} problems keep"
    sentence = f"{what} {file} from running; the first: {left[0].message}"
    safe = sum(1 for problem in left if problem in report.fixable)
    if fixed is None and safe:
        sentence = f"{sentence.rstrip('.')}; --fix OUT mends {safe} of them"
    return sentence


COMMAND = Command("check-workflow", "Check a workflow of ComfyUI, and mend what is safe to mend.", _add_arguments, _run)
