"""Which outputs fit which inputs, and what the commonest nodes give and take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher_recovery.workflows.problems import short


def fits(given: Any, wanted: Any) -> bool:
    """Whether an output of one type may be linked to an input of another, as the page decides it.

    Types are compared without case; `*`, "" and 0 fit everything, a comma separates several that will do, and lists of
    choices fit one another.
    """
    outputs, inputs = _names(given), _names(wanted)
    return not outputs or not inputs or bool(outputs & inputs)


def _names(kind: Any) -> frozenset[str]:
    """The types of a slot; none: any will do."""
    if not isinstance(kind, str):
        return frozenset()  # a number (an event), a list of choices, or left out
    names = {name.strip().lower() for name in kind.split(",")}
    return frozenset() if names & {"", "*", "combo", "0", "-1"} else frozenset(names)


def shown(kind: Any) -> str:
    """The type for people."""
    return short(kind, 40) if isinstance(kind, str) else "another type"


# What the commonest nodes of ComfyUI give and take, for workflows that do not say so themselves (the API format).
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "CheckpointLoaderSimple": ("MODEL", "CLIP", "VAE"),
    "CheckpointLoader": ("MODEL", "CLIP", "VAE"),
    "ImageOnlyCheckpointLoader": ("MODEL", "CLIP_VISION", "VAE"),
    "unCLIPCheckpointLoader": ("MODEL", "CLIP", "VAE", "CLIP_VISION"),
    "LoraLoader": ("MODEL", "CLIP"),
    "LoraLoaderModelOnly": ("MODEL",),
    "UNETLoader": ("MODEL",),
    "CLIPLoader": ("CLIP",),
    "DualCLIPLoader": ("CLIP",),
    "TripleCLIPLoader": ("CLIP",),
    "CLIPSetLastLayer": ("CLIP",),
    "VAELoader": ("VAE",),
    "CLIPTextEncode": ("CONDITIONING",),
    "ConditioningCombine": ("CONDITIONING",),
    "ConditioningConcat": ("CONDITIONING",),
    "ConditioningZeroOut": ("CONDITIONING",),
    "FluxGuidance": ("CONDITIONING",),
    "ControlNetLoader": ("CONTROL_NET",),
    "ControlNetApply": ("CONDITIONING",),
    "ControlNetApplyAdvanced": ("CONDITIONING", "CONDITIONING"),
    "CLIPVisionLoader": ("CLIP_VISION",),
    "CLIPVisionEncode": ("CLIP_VISION_OUTPUT",),
    "StyleModelLoader": ("STYLE_MODEL",),
    "EmptyLatentImage": ("LATENT",),
    "EmptySD3LatentImage": ("LATENT",),
    "KSampler": ("LATENT",),
    "KSamplerAdvanced": ("LATENT",),
    "LatentUpscale": ("LATENT",),
    "LatentUpscaleBy": ("LATENT",),
    "VAEEncode": ("LATENT",),
    "VAEEncodeForInpaint": ("LATENT",),
    "VAEDecode": ("IMAGE",),
    "VAEDecodeTiled": ("IMAGE",),
    "LoadImage": ("IMAGE", "MASK"),
    "ImageScale": ("IMAGE",),
    "ImageScaleBy": ("IMAGE",),
    "UpscaleModelLoader": ("UPSCALE_MODEL",),
    "ImageUpscaleWithModel": ("IMAGE",),
}

INPUTS: Mapping[str, Mapping[str, str]] = {
    "LoraLoader": {"model": "MODEL", "clip": "CLIP"},
    "LoraLoaderModelOnly": {"model": "MODEL"},
    "CLIPSetLastLayer": {"clip": "CLIP"},
    "CLIPTextEncode": {"clip": "CLIP"},
    "ConditioningCombine": {"conditioning_1": "CONDITIONING", "conditioning_2": "CONDITIONING"},
    "ControlNetApply": {"conditioning": "CONDITIONING", "control_net": "CONTROL_NET", "image": "IMAGE"},
    "ControlNetApplyAdvanced": {
        "positive": "CONDITIONING", "negative": "CONDITIONING", "control_net": "CONTROL_NET", "image": "IMAGE",
    },
    "CLIPVisionEncode": {"clip_vision": "CLIP_VISION", "image": "IMAGE"},
    "KSampler": {
        "model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT",
    },
    "KSamplerAdvanced": {
        "model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT",
    },
    "LatentUpscale": {"samples": "LATENT"},
    "LatentUpscaleBy": {"samples": "LATENT"},
    "VAEEncode": {"pixels": "IMAGE", "vae": "VAE"},
    "VAEDecode": {"samples": "LATENT", "vae": "VAE"},
    "VAEDecodeTiled": {"samples": "LATENT", "vae": "VAE"},
    "ImageScale": {"image": "IMAGE"},
    "ImageScaleBy": {"image": "IMAGE"},
    "ImageUpscaleWithModel": {"upscale_model": "UPSCALE_MODEL", "image": "IMAGE"},
    "SaveImage": {"images": "IMAGE"},
    "PreviewImage": {"images": "IMAGE"},
}  # fmt: skip
