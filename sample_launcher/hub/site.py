"""The hub's tiny git repositories (dumb HTTP) and Python package index, made with real git."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .goods import COMFYUI_COMMITS, FRONTEND, HELPER, NODE_COMMITS, PACKAGES, Commit, Package

NODE_REPOSITORY = "demo-node.git"
COMFYUI_REPOSITORY = "comfyui.git"

_WHEN = "2026-01-01T00:00:00+00:00"


def _git(folder: Path, *arguments: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Demo",
        "GIT_AUTHOR_EMAIL": "demo@example.invalid",
        "GIT_AUTHOR_DATE": _WHEN,
        "GIT_COMMITTER_NAME": "Demo",
        "GIT_COMMITTER_EMAIL": "demo@example.invalid",
        "GIT_COMMITTER_DATE": _WHEN,
    }
    subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def _write(work: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text, encoding="utf-8")


def _make_repository(folder: Path, name: str, commits: Sequence[Commit], requirements: str) -> None:
    """Make the bare repository `name` below `folder`/git; its first commit has the tag v1.0.0."""
    work = folder / f"work-{name}"
    work.mkdir()
    _git(work, "init", "--quiet", "--initial-branch=main")
    _write(work, {"requirements.txt": requirements})
    for number, commit in enumerate(commits):
        _write(work, commit.files)
        _git(work, "add", "--all")
        _git(work, "commit", "--quiet", f"--message={commit.message}")
        if number == 0:
            _git(work, "tag", "v1.0.0")
    bare = folder / "site" / "git" / name
    _git(folder, "clone", "--quiet", "--bare", work.name, str(bare))
    _git(bare, "update-server-info")


def _make_wheel(path: Path, package: Package) -> None:
    info = f"{package.module}-{package.version}.dist-info"
    files = {
        f"{package.module}/__init__.py": package.code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: demo\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in files.items():
            data = text.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
            wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2026, 1, 1, 0, 0, 0)), record + f"{info}/RECORD,,\n")


def _page(links: list[tuple[str, str]]) -> str:
    body = "".join(f'<a href="{target}">{text}</a>\n' for target, text in links)
    return f"<!DOCTYPE html>\n<html><head><title>Simple index</title></head><body>\n{body}</body></html>\n"


def _make_index(simple: Path) -> None:
    """Make the package index with a page for each package."""
    for package in PACKAGES:
        folder = simple / package.name
        folder.mkdir(parents=True)
        _make_wheel(folder / package.wheel, package)
        digest = hashlib.sha256((folder / package.wheel).read_bytes()).hexdigest()
        (folder / "index.html").write_text(
            _page([(f"{package.wheel}#sha256={digest}", package.wheel)]), encoding="utf-8"
        )
    (simple / "index.html").write_text(
        _page([(f"{package.name}/", package.name) for package in PACKAGES]), encoding="utf-8"
    )


def build(folder: Path, url: str) -> Path:
    """Make the site below `folder` for a hub at `url`, and return it: a folder with `git` and `simple`.

    Raises OSError or subprocess.CalledProcessError when git is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    site = folder / "site"
    with tempfile.TemporaryDirectory(dir=folder) as name:
        fresh = Path(name) / "site"
        (fresh / "git").mkdir(parents=True)
        index = f"--index-url {url}/simple/\n--trusted-host 127.0.0.1\n"
        for repository, commits, package in (
            (NODE_REPOSITORY, NODE_COMMITS, HELPER),
            (COMFYUI_REPOSITORY, COMFYUI_COMMITS, FRONTEND),
        ):
            _make_repository(Path(name), repository, commits, f"{index}{package.name}=={package.version}\n")
        _make_index(fresh / "simple")
        if site.exists():
            shutil.rmtree(site)
        fresh.rename(site)
    return site


def find(site: Path, path: str) -> Path | None:
    """The file of the site that a URL path names, or None; never one outside of the site."""
    if path.endswith("/"):
        path += "index.html"
    parts = path.strip("/").split("/")
    if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        return None
    file = site.joinpath(*parts)
    return file if file.is_file() and not file.is_symlink() else None
