"""What the setting up of a project is made of. It is meant to be as careless as the launchers that it stands for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import traceback
import unicodedata
from typing import Any
from urllib.parse import urlparse

import requests
from settings import PROJECT_MAX_PORT, PROJECT_MIN_PORT, PROJECTS_DIR

COMFYUI_REPO_URL = "https://github.com/comfyanonymous/ComfyUI.git"
MAX_DOWNLOAD_ATTEMPTS = 3
CUSTOM_NODES_TO_IGNORE_FROM_SNAPSHOTS = ["ComfyUI-ComfyWorkflows", "ComfyUI-Manager"]
CW_ENDPOINT = os.environ.get("CW_ENDPOINT", "http://127.0.0.1:9")
CONFIG_FILEPATH = "./config.json"
DEFAULT_CONFIG = {"credentials": {"civitai": {"apikey": ""}}}

_DEFAULT_NODES = (
    ("ComfyUI-Manager", "https://github.com/ltdrdata/ComfyUI-Manager"),
    ("ComfyUI-ComfyWorkflows", "https://github.com/thecooltechguy/ComfyUI-ComfyWorkflows"),
)
_MODEL_ENDS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_BLOCK = 10 << 10


# -- names, and what is asked for ---------------------------------------------------------------------


def check_url_structure(url):
    """Whether it is the page of a model on one of the two hubs that people may give addresses of."""
    hubs = (r"huggingface\.co/[\w-]+/[\w-]+/blob/[\w-]+\.(?:safetensors|bin|ckpt)", r"civitai\.com/models/\d+")
    return any(re.fullmatch(f"https://{hub}", url) for hub in hubs)


def slugify(value, allow_unicode=False):
    """The name of a project's folder."""
    text = unicodedata.normalize("NFKC" if allow_unicode else "NFKD", str(value))
    if not allow_unicode:
        text = "".join(letter for letter in text if letter.isascii())
    words = re.split(r"[-\s]+", "".join(letter for letter in text.lower() if re.match(r"[\w\s-]", letter)))
    return "-".join(words).strip("-_")


def is_launcher_json_format(import_json):
    return import_json.get("format") == "comfyui_launcher"


def get_launcher_json_for_workflow_json(workflow_json, resolved_missing_models, skip_model_validation):
    """Ask the site that knows where nodes and models come from."""
    asked = {
        "workflow": workflow_json,
        "isWindows": os.name == "nt",
        "resolved_missing_models": resolved_missing_models,
    }
    address = f"{CW_ENDPOINT}/api/comfyui-launcher/setup_workflow_json?skipModelValidation={skip_model_validation}"
    answer = requests.post(address, json=asked)
    assert answer.status_code in (200, 400), f"no launcher json for {workflow_json}"
    return answer.json()


def normalize_model_filepaths_in_workflow_json(workflow_json: dict) -> dict:
    """The workflow with the separators of this system in the paths of its models."""

    def normal(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: normal(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [normal(inner) for inner in value]
        if isinstance(value, str) and value.endswith(_MODEL_ENDS):
            return value.replace("/", "\\") if os.name == "nt" else value.replace("\\", "/")
        return value

    return normal(workflow_json)


# -- commands -----------------------------------------------------------------------------------------


def print_process_output(process):
    with process.stdout as output:
        for line in output:
            print(line.decode(), end="")


def run_command(cmd: list[str], cwd: str | None = None, bg: bool = False) -> None:
    """Run words, joined, in a shell, and print what they print; in the background: the process id of the shell."""
    line = " ".join(cmd)
    process = subprocess.Popen(line, cwd=cwd, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if bg:
        threading.Thread(target=print_process_output, args=(process,), daemon=True).start()
        return process.pid
    print_process_output(process)
    assert process.wait() == 0
    return None


def _activation(project_folder_path: str) -> list[str]:
    inside = ("Scripts", "activate.bat") if os.name == "nt" else ("bin", "activate")
    script = os.path.join(project_folder_path, "venv", *inside)
    assert os.path.exists(script), f"There is no environment in {project_folder_path}"
    return [script, "&&"] if os.name == "nt" else [".", script, "&&"]


def run_command_in_project_venv(project_folder_path, command):
    run_command([*_activation(project_folder_path), command])


def run_command_in_project_comfyui_venv(project_folder_path, command, in_bg=False):
    comfyui = os.path.join(project_folder_path, "comfyui")
    return run_command([*_activation(project_folder_path), "cd", comfyui, "&&", command], bg=in_bg)


def create_symlink(source, target):
    if os.name == "nt":
        run_command(["mklink", "/D", target, source])
        return
    os.symlink(source, target, target_is_directory=True)


def create_virtualenv(venv_path):
    run_command(["python", "-m", "venv", venv_path])


def _install_requirements(project_folder_path: str, path: str) -> None:
    run_command_in_project_venv(project_folder_path, f"pip install -r {path}")


def install_pip_reqs(project_folder_path, pip_reqs):
    if not pip_reqs:
        return
    lines = [req if isinstance(req, str) else f"{req['_key']}=={req['_version']}" for req in pip_reqs]
    path = os.path.join(project_folder_path, "requirements.txt")
    with open(path, "w") as file:
        file.writelines(f"{line}\n" for line in lines)
    _install_requirements(project_folder_path, path)


# -- ComfyUI and nodes --------------------------------------------------------------------------------


def install_default_custom_nodes(project_folder_path, launcher_json=None):
    for name, url in _DEFAULT_NODES:
        place = os.path.join(project_folder_path, "comfyui", "custom_nodes", name)
        run_command(["git", "clone", url, place])
        _install_requirements(project_folder_path, os.path.join(place, "requirements.txt"))


def setup_initial_models_folder(models_folder_path):
    assert not os.path.exists(models_folder_path), f"{models_folder_path} is there already"
    clone = os.path.join(os.path.dirname(models_folder_path), "tmp_comfyui")
    run_command(["git", "clone", COMFYUI_REPO_URL, clone])
    shutil.move(os.path.join(clone, "models"), models_folder_path)
    shutil.rmtree(clone)


def setup_custom_nodes_from_snapshot(project_folder_path, launcher_json):
    if not launcher_json:
        return
    nodes = os.path.join(project_folder_path, "comfyui", "custom_nodes")
    for url, info in launcher_json["snapshot_json"]["git_custom_nodes"].items():
        if info["disabled"] or any(ignored in url for ignored in CUSTOM_NODES_TO_IGNORE_FROM_SNAPSHOTS):
            continue
        place = os.path.join(nodes, url.rpartition("/")[2].replace(".git", ""))
        run_command(["git", "clone", url, place, "--recursive"])
        if info["hash"]:
            run_command(["git", "checkout", info["hash"]], cwd=place)
        for name in ("requirements.txt", "requirements_post.txt"):
            if os.path.exists(os.path.join(place, name)):
                _install_requirements(project_folder_path, os.path.join(place, name))
        script = os.path.join(place, "install.py")
        if os.path.exists(script):
            run_command_in_project_venv(project_folder_path, f"python {script}")


# -- files --------------------------------------------------------------------------------------------


def compute_sha256_checksum(file_path):
    digest = hashlib.sha256()
    with open(file_path, "rb") as file:
        while block := file.read(1024):
            digest.update(block)
    return digest.hexdigest()


def generate_incrementing_filename(filepath):
    """`filepath`, or the first of "name (1).end", "name (2).end", … that is not there yet."""
    start, end = os.path.splitext(filepath)
    number = 0
    while os.path.exists(filepath):
        number += 1
        filepath = f"{start} ({number}){end}"
    return filepath


def rename_file_in_launcher_json(launcher_json, old_filename, new_filename):
    text = json.dumps(launcher_json["workflow_json"])
    launcher_json["workflow_json"] = json.loads(text.replace(old_filename, new_filename))


def setup_files_from_launcher_json(project_folder_path, launcher_json):
    """Have the files of an import; those that are missing in the end are returned, and nobody looks at them."""
    if not launcher_json:
        return None
    missing: set[str] = set()
    config = get_config()
    for sources in launcher_json["files"]:
        if not any(_had_from(source, project_folder_path, launcher_json, config, missing) for source in sources):
            print(f"WARNING: no source had {sources[-1]['dest_relative_path']}")
    return missing


def _had_from(
    source: dict[str, Any], folder: str, launcher_json: dict[str, Any], config: dict[str, Any], missing: set[str]
) -> bool:
    """Whether a file is there, or could be had from one source."""
    url, wanted, name = source["download_url"], source["sha256_checksum"].lower(), source["dest_relative_path"]
    if not url:
        print(f"WARNING: nobody knows where {name} is to be had")
        missing.add(name)
        return False
    place = os.path.join(folder, "comfyui", name)
    if os.path.exists(place):
        if compute_sha256_checksum(place) == wanted:
            print(f"{place} is there already")
            return True
        other = generate_incrementing_filename(place)
        print(f"WARNING: {name} is there with another content, this one becomes {other}")
        rename_file_in_launcher_json(launcher_json, os.path.basename(place), os.path.basename(other))
        place = other
    os.makedirs(os.path.dirname(place), exist_ok=True)
    urls = [url]
    if "/comfyui-launcher/" in url:
        answer = requests.get(url)
        answer.raise_for_status()
        urls = answer.json()["urls"]
    print(f"Downloading {place}")
    for one in urls:
        for _ in range(MAX_DOWNLOAD_ATTEMPTS):
            if _fetched(one, place, wanted, config):
                missing.discard(name)
                print(f"Downloaded {name}")
                return True
    missing.add(name)
    return False


def _fetched(url: str, place: str, wanted: str, config: dict[str, Any]) -> bool:
    """Whether one attempt brought the right file; another one is removed."""
    try:
        headers = {}
        if urlparse(url).hostname == "civitai.com":
            headers["Authorization"] = f"Bearer {config['credentials']['civitai']['apikey']}"
        with (
            requests.get(url, headers=headers, allow_redirects=True, stream=True) as response,
            open(place, "wb") as file,
        ):
            for block in response.iter_content(chunk_size=_BLOCK):
                file.write(block)
        if compute_sha256_checksum(place) == wanted:
            return True
    except Exception:
        traceback.print_exc()
    if os.path.exists(place):
        os.remove(place)
    return False


def set_default_workflow_from_launcher_json(project_folder_path, launcher_json):
    if not launcher_json:
        return
    workflow, comfyui = launcher_json["workflow_json"], os.path.join(project_folder_path, "comfyui")
    with open(os.path.join(comfyui, "web", "scripts", "defaultGraph.js"), "w") as file:
        file.write(f"export const defaultGraph = {json.dumps(workflow, indent=2)};")
    with open(os.path.join(comfyui, "custom_nodes", "ComfyUI-ComfyWorkflows", "current_graph.json"), "w") as file:
        json.dump(workflow, file)


# -- what is kept -------------------------------------------------------------------------------------


def _read(path: str) -> Any:
    with open(path) as file:
        return json.load(file)


def _write(path: str, value: Any) -> None:
    with open(path, "w") as file:
        json.dump(value, file)


def get_config():
    return _read(CONFIG_FILEPATH)


def set_config(config):
    _write(CONFIG_FILEPATH, config)


def update_config(config_update):
    config = {**get_config(), **config_update}
    set_config(config)
    return config


def get_launcher_state(project_folder_path):
    """The state of a project, and the file that it is in; the folder of that file is made."""
    folder = os.path.join(project_folder_path, ".launcher")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "state.json")
    return (_read(path) if os.path.exists(path) else {}), path


def set_launcher_state_data(project_folder_path, data: dict):
    state, path = get_launcher_state(project_folder_path)
    _write(path, {**state, **data})


# -- ports --------------------------------------------------------------------------------------------


def get_project_port(id):
    path = os.path.join(PROJECTS_DIR, id, "port.txt")
    if os.path.exists(path):
        with open(path) as file:
            return int(file.read())
    return find_free_port(PROJECT_MIN_PORT, PROJECT_MAX_PORT)


def is_port_in_use(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find_free_port(start_port, end_port):
    for port in range(start_port, end_port + 1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return None
