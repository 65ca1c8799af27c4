"""ComfyUI: its answers to POST /prompt, and its log."""

from __future__ import annotations

from launcher_recovery.classification.rule import Rule, any_of
from launcher_recovery.classification.verdict import ErrorCategory as C
from launcher_recovery.classification.verdict import Retry as R

_PROMPT = "ComfyUI execution.py, validate_prompt"
_NODES = "The workflow uses a kind of node that is not installed."
_MODEL = "The workflow names a model that is not installed."
_WRONG = "The workflow does not fit the nodes that are installed: an input is missing, or has another form."
_ENDING = r"\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|vae|engine|torchscript)"
_NO_NODE = any_of(r"Cannot execute because node .{1,200} does not exist", r"['\"]type['\"]: ['\"](missing_node_type|invalid_prompt)['\"].{0,200}\bnode\b",
                  r"Node '.{1,200}' not found\. The custom node may not be installed")  # fmt: skip
_NO_MODEL = (
    rf"Value not in list(?:: |['\"],? ?['\"]details['\"]: ['\"])[\w.]{{1,80}}: .{{0,400}}{_ENDING}.{{0,4}} not in "
)
_PROBLEM = any_of(
    r"Value not in list\b", r"Return type mismatch between linked nodes", r"Required input is missing", r"Bad linked input", r"Failed to convert an input value",
    r"Value -?[\d.e+]+ (smaller|bigger) than (min|max) of", r"Custom validation failed for node", r"Exception when validating (node|inner node)", r"Prompt has no outputs",
    r"Dependency cycle detected", r"Prompt outputs failed validation", r"No prompt provided",
)  # fmt: skip
_TYPES = any_of(
    r"\"type\": ?\"(invalid_prompt|prompt_no_outputs|prompt_outputs_failed_validation|no_prompt|missing_node_type|value_not_in_list|required_input_missing|dependency_cycle)\""
)

# A node that does not load does no harm to the others: what fails later counts.
_LAST = r"(?!(.|\n)*!!! Exception during processing)"

# Of a 400, before its status counts.
ANSWERS: tuple[Rule, ...] = (
    Rule("prompt-no-node", C.VALIDATION, R.AFTER_FIX, _NODES, _PROMPT, fix="install_missing_nodes", statuses=(400, 400), body=_NO_NODE),
    Rule("prompt-no-model", C.VALIDATION, R.AFTER_FIX, _MODEL, _PROMPT, fix="download_missing_model", statuses=(400, 400), body=_NO_MODEL),
    Rule("prompt-wrong", C.VALIDATION, R.AFTER_FIX, _WRONG, _PROMPT, fix="fix_workflow", statuses=(400, 400), body=_TYPES),
)  # fmt: skip

# Raised in a node, before what Python says of such exceptions in general.
ERRORS: tuple[Rule, ...] = (
    Rule("comfy-no-model-error", C.VALIDATION, R.AFTER_FIX, _MODEL, "ComfyUI nodes.py, folder_paths.py", fix="download_missing_model",
         types={"builtins.FileNotFoundError", "builtins.RuntimeError", "builtins.Exception"}, message=r"^Model in folder '.{1,200}' with filename '.{1,400}' not found"),
    Rule("comfy-no-node-error", C.VALIDATION, R.AFTER_FIX, _NODES, _PROMPT, fix="install_missing_nodes",
         types={"builtins.Exception", "builtins.KeyError"}, message=r"^Node (type )?'?.{1,200}'? (not found|does not exist)\b"),
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    Rule("comfy-port", C.RESOURCE, R.AFTER_FIX, "Another program, such as another ComfyUI, uses the same port already.", "aiohttp, asyncio", fix="close_other_program",
         output=r"\berror while attempting to bind on address \(.{1,120}\): "),
    Rule("comfy-no-node", C.VALIDATION, R.AFTER_FIX, _NODES, _PROMPT, fix="install_missing_nodes", output=rf"^(invalid prompt: )?.{{0,200}}(?:{_NO_NODE})"),
    Rule("comfy-no-model", C.VALIDATION, R.AFTER_FIX, _MODEL, _PROMPT, fix="download_missing_model", output=rf"^[ \t]{{0,24}}- {_NO_MODEL}"),
    Rule("comfy-wrong", C.VALIDATION, R.AFTER_FIX, _WRONG, _PROMPT, fix="fix_workflow",
         output=rf"^[ \t]{{0,24}}- (?:{_PROBLEM})|^(invalid prompt: \{{|Failed to validate prompt for output )"),
    Rule("comfy-import", C.DEPENDENCY, R.AFTER_FIX, "A node could not be loaded: something that it needs is not installed.", "ComfyUI nodes.py", fix="install_dependency",
         output=rf"^(\[.{{0,40}}\] )?Cannot import .{{1,400}} module for custom nodes: (No module named|cannot import name|DLL load failed){_LAST}"),
    Rule("comfy-import-other", C.INTERNAL, R.NO, "A node could not be loaded: it has an error of its own.", "ComfyUI nodes.py", fix="report_bug",
         output=rf"^(\[.{{0,40}}\] )?Cannot import .{{1,400}} module for custom nodes: {_LAST}"),
)  # fmt: skip
