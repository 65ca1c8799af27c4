"""The task of the worker: it sets a project up, and deletes it when anything fails."""

from __future__ import annotations

import json
import os
import shutil

from celery import shared_task
from utils import (
    COMFYUI_REPO_URL,
    create_symlink,
    create_virtualenv,
    install_default_custom_nodes,
    install_pip_reqs,
    normalize_model_filepaths_in_workflow_json,
    run_command,
    run_command_in_project_venv,
    set_default_workflow_from_launcher_json,
    set_launcher_state_data,
    setup_custom_nodes_from_snapshot,
    setup_files_from_launcher_json,
    setup_initial_models_folder,
)


@shared_task(ignore_result=False)
def create_comfyui_project(
    project_folder_path, models_folder_path, id, name, launcher_json=None, port=None, create_project_folder=True
):
    project_folder_path = os.path.abspath(project_folder_path)
    models_folder_path = os.path.abspath(models_folder_path)
    comfyui = os.path.join(project_folder_path, "comfyui")
    try:
        is_there = os.path.exists(project_folder_path)
        assert is_there is not create_project_folder, f"{project_folder_path} is there, or is not, unexpectedly"
        if create_project_folder:
            os.makedirs(project_folder_path)

        first = {"id": id, "name": name, "status_message": "Downloading ComfyUI...", "state": "download_comfyui"}
        set_launcher_state_data(project_folder_path, first)
        run_command(["git", "clone", COMFYUI_REPO_URL, comfyui])
        if launcher_json:
            commit = launcher_json["snapshot_json"]["comfyui"]
            if commit:
                run_command(["git", "checkout", commit], cwd=comfyui)
            launcher_json["workflow_json"] = normalize_model_filepaths_in_workflow_json(launcher_json["workflow_json"])

        page = os.path.join(comfyui, "web", "index.html")
        os.rename(page, os.path.join(comfyui, "web", "comfyui_index.html"))
        shutil.copy(os.path.join("web", "comfy_frame.html"), page)

        own_models = os.path.join(comfyui, "models")
        if os.path.exists(own_models):
            shutil.rmtree(own_models, ignore_errors=True)
        if not os.path.exists(models_folder_path):
            setup_initial_models_folder(models_folder_path)
        create_symlink(models_folder_path, own_models)

        set_launcher_state_data(
            project_folder_path, {"status_message": "Installing ComfyUI...", "state": "install_comfyui"}
        )
        create_virtualenv(os.path.join(project_folder_path, "venv"))
        requirements = os.path.join(comfyui, "requirements.txt")
        run_command_in_project_venv(project_folder_path, f"pip install -r {requirements}")

        set_launcher_state_data(
            project_folder_path, {"status_message": "Installing custom nodes...", "state": "install_custom_nodes"}
        )
        install_default_custom_nodes(project_folder_path, launcher_json)
        setup_custom_nodes_from_snapshot(project_folder_path, launcher_json)
        if launcher_json and "pip_requirements" in launcher_json:
            install_pip_reqs(project_folder_path, launcher_json["pip_requirements"])

        set_launcher_state_data(
            project_folder_path, {"status_message": "Downloading models & other files...", "state": "download_files"}
        )
        setup_files_from_launcher_json(project_folder_path, launcher_json)
        set_default_workflow_from_launcher_json(project_folder_path, launcher_json)

        if launcher_json:
            with open(os.path.join(project_folder_path, "launcher.json"), "w") as file:
                json.dump(launcher_json, file)
        if port is not None:
            with open(os.path.join(project_folder_path, "port.txt"), "w") as file:
                file.write(f"{port}")
        set_launcher_state_data(project_folder_path, {"status_message": "Ready", "state": "ready"})
    except:
        shutil.rmtree(project_folder_path, ignore_errors=True)
        raise
