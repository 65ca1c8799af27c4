"""A launcher in the shape of those without plugins: pages and API in this process, the work in a Celery worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

from celery import Celery, Task
from flask import Flask, jsonify, render_template, request
from settings import (
    ALLOW_OVERRIDABLE_PORTS_PER_PROJECT,
    CELERY_BROKER_DIR,
    CELERY_RESULTS_DIR,
    MODELS_DIR,
    PROJECT_MAX_PORT,
    PROJECT_MIN_PORT,
    PROJECTS_DIR,
    PROXY_MODE,
    SERVER_PORT,
    TEMPLATES_DIR,
)
from tasks import create_comfyui_project
from utils import (
    CONFIG_FILEPATH,
    DEFAULT_CONFIG,
    check_url_structure,
    get_config,
    get_launcher_json_for_workflow_json,
    get_launcher_state,
    get_project_port,
    is_launcher_json_format,
    is_port_in_use,
    run_command_in_project_comfyui_venv,
    set_config,
    set_launcher_state_data,
    slugify,
    update_config,
)

_PORT_IS_BOUND_WITHIN_S = 60


def celery_init_app(app: Flask) -> Celery:
    """The Celery application of a Flask application; its tasks run in the context of that."""

    class InContext(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    made = Celery(app.name, task_cls=InContext)
    made.config_from_object(app.config["CELERY"])
    made.set_default()
    app.extensions["celery"] = made
    return made


app = Flask(__name__, static_url_path="", static_folder="../web/dist", template_folder="../web/dist")
app.config.from_mapping(
    CELERY={
        "result_backend": f"file://{CELERY_RESULTS_DIR}",
        "broker_url": "filesystem://",
        "broker_transport_options": {"data_folder_in": CELERY_BROKER_DIR, "data_folder_out": CELERY_BROKER_DIR},
    },
    task_ignore_result=True,
)
celery_app = celery_init_app(app)


# -- the launcher -------------------------------------------------------------------------------------


@app.route("/api/open_models_folder")
def open_models_folder():
    return ""


@app.route("/api/settings")
def api_settings():
    return jsonify(
        {
            "PROJECT_MIN_PORT": PROJECT_MIN_PORT,
            "PROJECT_MAX_PORT": PROJECT_MAX_PORT,
            "ALLOW_OVERRIDABLE_PORTS_PER_PROJECT": ALLOW_OVERRIDABLE_PORTS_PER_PROJECT,
            "PROXY_MODE": PROXY_MODE,
        }
    )


@app.route("/api/get_config", methods=["GET"])
def api_get_config():
    return jsonify(get_config())


@app.route("/api/update_config", methods=["POST"])
def api_update_config():
    update_config(request.get_json())
    return jsonify({"success": True})


@app.route("/api/set_config", methods=["POST"])
def api_set_config():
    set_config(request.get_json())
    return jsonify({"success": True})


# -- projects -----------------------------------------------------------------------------------------


def _shown(id: str, state: dict) -> dict:
    path = os.path.join(PROJECTS_DIR, id)
    return {
        "id": id,
        "state": state,
        "project_folder_name": id,
        "project_folder_path": path,
        "last_modified": os.stat(path).st_mtime,
        "port": get_project_port(id),
    }


@app.route("/api/projects", methods=["GET"])
def list_projects():
    found = []
    for id in os.listdir(PROJECTS_DIR):
        path = os.path.join(PROJECTS_DIR, id)
        state = get_launcher_state(path)[0] if os.path.isdir(path) else {}
        if state:
            found.append(_shown(id, state))
    return jsonify(sorted(found, key=lambda project: project["last_modified"], reverse=True))


def _existing(id: str) -> str:
    path = os.path.join(PROJECTS_DIR, id)
    assert os.path.exists(path), f"There is no project {id}"
    return path


@app.route("/api/projects/<id>", methods=["GET"])
def get_project(id):
    state, _ = get_launcher_state(_existing(id))
    return jsonify(_shown(id, state))


def _queue(name: str, launcher_json: dict | None, port: int | None):
    """Make the folder of a new project, and leave the rest to the worker."""
    id = slugify(name)
    path = os.path.join(PROJECTS_DIR, id)
    os.makedirs(path)
    first = {"id": id, "name": name, "status_message": "Downloading ComfyUI...", "state": "download_comfyui"}
    set_launcher_state_data(path, first)
    result = create_comfyui_project.delay(
        path, MODELS_DIR, id=id, name=name, launcher_json=launcher_json, port=port, create_project_folder=False
    )
    with open(os.path.join(path, "setup_task_id.txt"), "w") as file:
        file.write(result.id)
    return jsonify({"success": True, "id": id})


def _assert_is_new(name: str) -> None:
    id = slugify(name)
    assert not os.path.exists(os.path.join(PROJECTS_DIR, id)), f"There is a project {id} already"


@app.route("/api/create_project", methods=["POST"])
def create_project():
    asked = request.get_json()
    _assert_is_new(asked["name"])
    template = os.path.join(TEMPLATES_DIR, asked.get("template_id", "empty"))
    launcher_json = None
    if os.path.exists(os.path.join(template, "launcher.json")):
        with open(os.path.join(template, "launcher.json")) as file:
            launcher_json = json.load(file)
    elif os.path.exists(os.path.join(template, "workflow.json")):
        with open(os.path.join(template, "workflow.json")) as file:
            found = get_launcher_json_for_workflow_json(json.load(file), [], True)
        if not (found["success"] and found["launcher_json"]):
            return jsonify({"success": False, "missing_models": [], "error": found["error"]})
        launcher_json = found["launcher_json"]
    return _queue(asked["name"], launcher_json, asked.get("port"))


@app.route("/api/import_project", methods=["POST"])
def import_project():
    asked = request.get_json()
    name, import_json, resolved = asked["name"], asked["import_json"], asked["resolved_missing_models"]
    skips = bool(asked["skipping_model_validation"])
    _assert_is_new(name)
    if is_launcher_json_format(import_json):
        return _queue(name, import_json, asked.get("port"))
    for model in resolved:
        source = model["source"]
        if source["file_id"] is None and (source["url"] is None or not check_url_structure(source["url"])):
            return jsonify({"success": False, "error": f"{model['filename']} cannot be had from there."})
    found = get_launcher_json_for_workflow_json(import_json, resolved, skips or bool(resolved))
    if found["success"] and found["launcher_json"]:
        return _queue(name, found["launcher_json"], asked.get("port"))
    missing = found.get("missing_models")
    return jsonify({"success": False, "error": found["error"], **({"missing_models": missing} if missing else {})})


@app.route("/api/projects/<id>/start", methods=["POST"])
def start_project(id):
    path = _existing(id)
    state, _ = get_launcher_state(path)
    assert state["state"] == "ready", f"Project {id} is not ready yet"
    port = get_project_port(id)
    assert port, "There is no free port"
    assert not is_port_in_use(port), f"Port {port} is in use"
    pid = run_command_in_project_comfyui_venv(
        path, f"exec python main.py --port {port} --listen 127.0.0.1 --cpu", in_bg=True
    )
    until = time.monotonic() + _PORT_IS_BOUND_WITHIN_S
    while not is_port_in_use(port) and time.monotonic() < until:
        time.sleep(0.1)
    set_launcher_state_data(path, {"state": "running", "status_message": "Running...", "port": port, "pid": pid})
    return jsonify({"success": True, "port": port})


@app.route("/api/projects/<id>/stop", methods=["POST"])
def stop_project(id):
    path = _existing(id)
    state, _ = get_launcher_state(path)
    assert state["state"] == "running", f"Project {id} does not run"
    try:
        os.kill(state["pid"], signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has ended by itself
    set_launcher_state_data(path, {"state": "ready", "status_message": "Ready", "port": None, "pid": None})
    return jsonify({"success": True})


@app.route("/api/projects/<id>/delete", methods=["POST"])
def delete_project(id):
    path = _existing(id)
    task_file = os.path.join(path, "setup_task_id.txt")
    if os.path.exists(task_file):
        with open(task_file) as file:
            task_id = file.read()
        try:
            celery_app.control.revoke(task_id, terminate=True)
        except Exception as error:
            print(f"The task of {id} could not be ended: {error}")
    state, _ = get_launcher_state(path)
    if state.get("state") == "running":
        stop_project(id)
    shutil.rmtree(path, ignore_errors=True)
    return jsonify({"success": True})


# -- pages --------------------------------------------------------------------------------------------


@app.route("/", defaults={"path": ""})
@app.route("/<path:path>")
@app.errorhandler(404)
def index(path):
    return render_template("index.html")


if __name__ == "__main__":
    os.makedirs(PROJECTS_DIR, exist_ok=True)
    os.makedirs(MODELS_DIR, exist_ok=True)
    if not os.path.exists(CONFIG_FILEPATH):
        set_config(DEFAULT_CONFIG)
    print(f"Open http://localhost:{SERVER_PORT} in your browser.")
    app.run(host="127.0.0.1", debug=False, port=SERVER_PORT)
