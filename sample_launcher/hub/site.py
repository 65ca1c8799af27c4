"""The hub's tiny custom-node repository (dumb-HTTP git) and Python package index, made with real git."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

NODE_REPOSITORY = "demo-node.git"
HELPER = "demo-node-helper"
WHEEL = "demo_node_helper-1.0.0-py3-none-any.whl"

_NODE = '''"""A custom node that greets; it is here to be installed."""


class DemoNode:
    """Gives a greeting back."""

    CATEGORY = "demo"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": "world"})}}

    def run(self, name):
        from demo_node_helper import greet

        return (greet(name),)


NODE_CLASS_MAPPINGS = {"DemoNode": DemoNode}
NODE_DISPLAY_NAME_MAPPINGS = {"DemoNode": "Demo node"}
'''

_HELPER = '''"""What the demo node needs."""


def greet(name):
    """A greeting."""
    return f"Hello, {name}!"
'''

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


def _make_repository(folder: Path, bare: Path, index_url: str) -> None:
    work = folder / "work"
    work.mkdir()
    _git(work, "init", "--quiet", "--initial-branch=main")
    (work / "__init__.py").write_text(_NODE, encoding="utf-8")
    (work / "requirements.txt").write_text(
        f"--index-url {index_url}\n--trusted-host 127.0.0.1\n{HELPER}==1.0.0\n", encoding="utf-8"
    )
    _git(work, "add", "--all")
    _git(work, "commit", "--quiet", "--message=A node that greets")
    _git(work, "tag", "v1.0.0")
    (work / "README.md").write_text("# Demo node\n\nA custom node that greets.\n", encoding="utf-8")
    _git(work, "add", "--all")
    _git(work, "commit", "--quiet", "--message=Say what it is")
    _git(folder, "clone", "--quiet", "--bare", "work", str(bare))
    _git(bare, "update-server-info")


def _make_wheel(path: Path) -> None:
    info = "demo_node_helper-1.0.0.dist-info"
    files = {
        "demo_node_helper/__init__.py": _HELPER,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {HELPER}\nVersion: 1.0.0\n",
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


def build(folder: Path, url: str) -> Path:
    """Make the site below `folder` for a hub at `url`, and return it: a folder with `git` and `simple`.

    Raises OSError or subprocess.CalledProcessError when git is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    site = folder / "site"
    with tempfile.TemporaryDirectory(dir=folder) as name:
        fresh = Path(name) / "site"
        (fresh / "git").mkdir(parents=True)
        package = fresh / "simple" / HELPER
        package.mkdir(parents=True)
        _make_repository(Path(name), fresh / "git" / NODE_REPOSITORY, f"{url}/simple/")
        _make_wheel(package / WHEEL)
        digest = hashlib.sha256((package / WHEEL).read_bytes()).hexdigest()
        (package / "index.html").write_text(_page([(f"{WHEEL}#sha256={digest}", WHEEL)]), encoding="utf-8")
        (fresh / "simple" / "index.html").write_text(_page([(f"{HELPER}/", HELPER)]), encoding="utf-8")
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
