"""Creates a project: ComfyUI, a Python environment, custom nodes, models and a workflow, as one operation of others."""
