"""Which folder of models the inputs of a node read, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from launcher_recovery.workflows.sources import LoaderInput, Lookups

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft", ".onnx", ".pkl", ".engine", ".patch")
"""How names of model files end."""


class Input(NamedTuple):
    """An input of a loader: its number among the node's widgets, and the folder."""

    widget: int
    folder: str


_I = Input

# Source: INPUT_TYPES of the nodes; a number is the position in `widgets_values`.
LOADERS: Mapping[str, Mapping[str, Input]] = {
    "CheckpointLoaderSimple": {"ckpt_name": _I(0, "checkpoints")},
    "CheckpointLoader": {"ckpt_name": _I(1, "checkpoints")},
    "unCLIPCheckpointLoader": {"ckpt_name": _I(0, "checkpoints")},
    "ImageOnlyCheckpointLoader": {"ckpt_name": _I(0, "checkpoints")},
    "LoraLoader": {"lora_name": _I(0, "loras")},
    "LoraLoaderModelOnly": {"lora_name": _I(0, "loras")},
    "CreateHookLora": {"lora_name": _I(0, "loras")},
    "CreateHookLoraModelOnly": {"lora_name": _I(0, "loras")},
    "CreateHookModelAsLora": {"ckpt_name": _I(0, "checkpoints")},
    "CreateHookModelAsLoraModelOnly": {"ckpt_name": _I(0, "checkpoints")},
    "VAELoader": {"vae_name": _I(0, "vae")},
    "CLIPLoader": {"clip_name": _I(0, "text_encoders")},
    "DualCLIPLoader": {"clip_name1": _I(0, "text_encoders"), "clip_name2": _I(1, "text_encoders")},
    "TripleCLIPLoader": {f"clip_name{number}": _I(number - 1, "text_encoders") for number in range(1, 4)},
    "QuadrupleCLIPLoader": {f"clip_name{number}": _I(number - 1, "text_encoders") for number in range(1, 5)},
    "UNETLoader": {"unet_name": _I(0, "diffusion_models")},
    "ControlNetLoader": {"control_net_name": _I(0, "controlnet")},
    "DiffControlNetLoader": {"control_net_name": _I(0, "controlnet")},
    "UpscaleModelLoader": {"model_name": _I(0, "upscale_models")},
    "LatentUpscaleModelLoader": {"model_name": _I(0, "latent_upscale_models")},
    "CLIPVisionLoader": {"clip_name": _I(0, "clip_vision")},
    "StyleModelLoader": {"style_model_name": _I(0, "style_models")},
    "GLIGENLoader": {"gligen_name": _I(0, "gligen")},
    "HypernetworkLoader": {"hypernetwork_name": _I(0, "hypernetworks")},
    "PhotoMakerLoader": {"photomaker_model_name": _I(0, "photomaker")},
    "ModelPatchLoader": {"name": _I(0, "model_patches")},
    "AudioEncoderLoader": {"audio_encoder_name": _I(0, "audio_encoders")},
    "LTXVAudioVAELoader": {"ckpt_name": _I(0, "checkpoints")},
    "LTXAVTextEncoderLoader": {"text_encoder": _I(0, "text_encoders"), "ckpt_name": _I(1, "checkpoints")},
    "LoadBackgroundRemovalModel": {"bg_removal_name": _I(0, "background_removal")},
    "FrameInterpolationModelLoader": {"model_name": _I(0, "frame_interpolation")},
    "OpticalFlowLoader": {"model_name": _I(0, "optical_flow")},
    "LoadMoGeModel": {"model_name": _I(0, "geometry_estimation")},
    "LoadDA3Model": {"model_name": _I(0, "geometry_estimation")},
    # -- custom nodes that many workflows use -------------------------------------------------------
    "IPAdapterModelLoader": {"ipadapter_file": _I(0, "ipadapter")},
    "InstantIDModelLoader": {"instantid_file": _I(0, "instantid")},
    "PulidModelLoader": {"pulid_file": _I(0, "pulid")},
    "PulidFluxModelLoader": {"pulid_file": _I(0, "pulid")},
    "ADE_LoadAnimateDiffModel": {"model_name": _I(0, "animatediff_models")},
    "ADE_AnimateDiffLoaderGen1": {"model_name": _I(0, "animatediff_models")},
    "ADE_AnimateDiffLoaderWithContext": {"model_name": _I(0, "animatediff_models")},
    "ADE_AnimateDiffLoRALoader": {"name": _I(0, "animatediff_motion_lora")},
    "ControlNetLoaderAdvanced": {"control_net_name": _I(0, "controlnet"), "cnet": _I(0, "controlnet")},
    "ACN_AdvancedControlNetLoader": {"control_net_name": _I(0, "controlnet")},
    "SAMLoader": {"model_name": _I(0, "sams")},
    "UltralyticsDetectorProvider": {"model_name": _I(0, "ultralytics")},
    "ONNXDetectorProvider": {"model_name": _I(0, "onnx")},
    "UnetLoaderGGUF": {"unet_name": _I(0, "diffusion_models")},
    "UnetLoaderGGUFAdvanced": {"unet_name": _I(0, "diffusion_models")},
    "CLIPLoaderGGUF": {"clip_name": _I(0, "text_encoders")},
    "DualCLIPLoaderGGUF": {"clip_name1": _I(0, "text_encoders"), "clip_name2": _I(1, "text_encoders")},
    "TripleCLIPLoaderGGUF": {f"clip_name{number}": _I(number - 1, "text_encoders") for number in range(1, 4)},
    "NunchakuFluxDiTLoader": {"model_path": _I(0, "diffusion_models")},
    "WanVideoModelLoader": {"model": _I(0, "diffusion_models")},
    "WanVideoVAELoader": {"model_name": _I(0, "vae")},
    "WanVideoLoraSelect": {"lora": _I(0, "loras")},
    "LoadWanVideoT5TextEncoder": {"model_name": _I(0, "text_encoders")},
    "FaceRestoreModelLoader": {"model_name": _I(0, "facerestore_models")},
    "ReActorFaceSwap": {"swap_model": _I(1, "insightface"), "face_restore_model": _I(3, "facerestore_models")},
    "LoraLoaderTagsQuery": {"lora_name": _I(0, "loras")},
    "CheckpointLoader|pysssss": {"ckpt_name": _I(0, "checkpoints")},
    "LoraLoader|pysssss": {"lora_name": _I(0, "loras")},
    "Efficient Loader": {
        "ckpt_name": _I(0, "checkpoints"), "vae_name": _I(1, "vae"), "lora_name": _I(3, "loras"),
    },
}  # fmt: skip

# Names that a folder goes by: `folder_names_and_paths` of ComfyUI, old ones included.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "diffusion_models": ("diffusion_models", "unet"),
    "text_encoders": ("text_encoders", "clip"),
    "controlnet": ("controlnet", "t2i_adapter"),
    "ultralytics": ("ultralytics", "ultralytics/bbox", "ultralytics/segm"),
}
_MAIN = {name: main for main, names in ALIASES.items() for name in names}

# What an input of an unknown node reads by its name, as far as names are the same everywhere. First match wins.
_BY_INPUT = tuple(
    (re.compile(pattern, re.IGNORECASE), folder)
    for pattern, folder in (
        (r"(^|_)(ckpt|checkpoint)(_name|_\d+)?", "checkpoints"),
        (r"(^|_)lora(_name|_\d+)?", "loras"),
        (r"(^|_)clip_vision", "clip_vision"),
        (r"(^|_)(clip|text_encoder|t5|clip_l|clip_g)(_name)?\d*(_\d+)?$", "text_encoders"),
        (r"(^|_)vae(_name)?(_\d+)?$", "vae"),
        (r"(^|_)(unet|diffusion_model)(_name)?(_\d+)?$", "diffusion_models"),
        (r"(^|_)(control_?net)(_name|_\d+)?", "controlnet"),
        (r"(^|_)upscale_?(model|method)?_?(model)?(_name)?$", "upscale_models"),
        (r"(^|_)ip_?adapter(_file|_name)?", "ipadapter"),
        (r"(^|_)(style_model)(_name)?$", "style_models"),
        (r"(^|_)hypernetwork(_name)?", "hypernetworks"),
        (r"(^|_)gligen(_name)?", "gligen"),
        (r"(^|_)embedding(_name)?", "embeddings"),
    )
)

DOWNLOAD_THEMSELVES = re.compile(
    r"(Preprocessor|_Preprocessor|Detector|Segmentor|Captioner)$|^DownloadAndLoad|^Florence2"
)
"""Node types that fetch the models they name when they run."""


class Loaders:
    """What the inputs of nodes read: as the table says, and before that those who are asked.

    Args:
        lookups: those.
    """

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._known: dict[str, Mapping[str, LoaderInput]] = {}

    def of(self, node_type: str) -> Mapping[str, LoaderInput]:
        """The inputs of a node type that name models, by their names."""
        if node_type not in self._known:
            given = {found.name: found for found in reversed(self._lookups.loader_inputs(node_type)) if found.folder}
            taken = {found.widget for found in given.values()} - {None}
            for name, known in LOADERS.get(node_type, {}).items():
                if known.widget not in taken:
                    given.setdefault(name, LoaderInput(name, known.folder, known.widget))
            self._known[node_type] = given
        return self._known[node_type]

    def folder_of(self, node_type: str, name: str | None, widget: int | None) -> tuple[str | None, bool]:
        """The folder that an input reads, and whether that is certain; None: not known.

        Args:
            node_type: of the node.
            name: of the input, if it is known.
            widget: its number among the widgets, if it is one of them.
        """
        known = self.of(node_type)
        if name is not None and name in known:
            return known[name].folder, True
        for found in known.values() if widget is not None else ():
            if found.widget == widget:
                return found.folder, True
        for pattern, folder in _BY_INPUT if name is not None else ():
            if pattern.search(name or ""):
                return folder, False
        return next(iter(known.values())).folder if known else None, False

    def name_of_widget(self, node_type: str, widget: int) -> str | None:
        """The name of the input that a widget of a known loader is."""
        return next((name for name, found in self.of(node_type).items() if found.widget == widget), None)


def main_folder(folder: str) -> str:
    """The name that is used for a folder with several."""
    return _MAIN.get(folder, folder)


def is_model(text: str) -> bool:
    """Whether a text is the name of a model file."""
    return text.lower().rstrip().endswith(SUFFIXES)
