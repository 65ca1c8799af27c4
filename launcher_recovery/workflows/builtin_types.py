"""Node types that ComfyUI brings along, for where it cannot be looked at.

Newer versions have more; workflows saved by them say so of each node (`cnr_id` is "comfy-core").
"""

from __future__ import annotations

from launcher_recovery.workflows.graph import PAGE_ONLY

_NAMES = """
    AddNoise AlignYourStepsScheduler APG AudioEncoderLoader BasicGuider BasicScheduler BetaSamplingScheduler
    Canny CaseConverter CFGGuider CFGNorm CFGZeroStar CheckpointLoader CheckpointLoaderSimple CheckpointSave
    CLIPAttentionMultiply CLIPLoader CLIPMergeAdd CLIPMergeSimple CLIPMergeSubtract CLIPSave CLIPSetLastLayer
    CLIPTextEncode CLIPTextEncodeControlnet CLIPTextEncodeFlux CLIPTextEncodeHiDream CLIPTextEncodeHunyuanDiT
    CLIPTextEncodeLumina2 CLIPTextEncodePixArtAlpha CLIPTextEncodeSD3 CLIPTextEncodeSDXL
    CLIPTextEncodeSDXLRefiner CLIPVisionEncode CLIPVisionLoader CombineHooks2 CombineHooks4 CombineHooks8
    ConditioningAverage ConditioningCombine ConditioningConcat ConditioningSetArea ConditioningSetAreaPercentage
    ConditioningSetAreaStrength ConditioningSetDefaultCombine ConditioningSetMask ConditioningSetProperties
    ConditioningSetPropertiesAndCombine ConditioningSetTimestepRange ConditioningStableAudio
    ConditioningTimestepsRange ConditioningZeroOut ControlNetApply ControlNetApplyAdvanced ControlNetApplySD3
    ControlNetInpaintingAliMamaApply ControlNetLoader CosmosImageToVideoLatent CreateHookKeyframe
    CreateHookKeyframesFromFloats CreateHookKeyframesInterpolated CreateHookLora CreateHookLoraModelOnly
    CreateHookModelAsLora CreateHookModelAsLoraModelOnly CreateVideo CropMask DiffControlNetLoader
    DifferentialDiffusion DiffusersLoader DisableNoise DualCFGGuider DualCLIPLoader EasyCache
    EmptyAceStepLatentAudio EmptyCosmosLatentVideo EmptyHunyuanLatentVideo EmptyImage EmptyLatentAudio
    EmptyLatentHunyuan3Dv2 EmptyLatentImage EmptyLTXVLatentVideo EmptyMochiLatentVideo EmptySD3LatentImage
    ExponentialScheduler FeatherMask FlipSigmas FluxDisableGuidance FluxGuidance FluxKontextImageScale
    FluxKontextMultiReferenceLatentMethod FreeU FreeU_V2 GetImageSize GetVideoComponents GITSScheduler
    GLIGENLoader GLIGENTextBoxApply GrowMask Hunyuan3Dv2Conditioning Hunyuan3Dv2ConditioningMultiView
    HunyuanImageToVideo HypernetworkLoader HyperTile ImageAddNoise ImageBatch ImageBlend ImageBlur
    ImageColorToMask ImageCompositeMasked ImageCrop ImageFlip ImageFromBatch ImageInvert
    ImageOnlyCheckpointLoader ImageOnlyCheckpointSave ImagePadForOutpaint ImageQuantize ImageRotate ImageScale
    ImageScaleBy ImageScaleToMaxDimension ImageScaleToTotalPixels ImageSharpen ImageStitch ImageToMask
    ImageUpscaleWithModel InpaintModelConditioning InstructPixToPixConditioning InvertMask JoinImageWithAlpha
    KarrasScheduler KSampler KSamplerAdvanced KSamplerSelect LaplaceScheduler LatentAdd LatentApplyOperation
    LatentApplyOperationCFG LatentBatch LatentBatchSeedBehavior LatentBlend LatentComposite
    LatentCompositeMasked LatentCrop LatentFlip LatentFromBatch LatentInterpolate LatentMultiply
    LatentOperationSharpen LatentOperationTonemapReinhard LatentRotate LatentSubtract LatentUpscale
    LatentUpscaleBy LatentUpscaleModelLoader LazyCache Load3D Load3DAnimation LoadAudio LoadImage LoadImageMask
    LoadImageOutput LoadLatent LoadVideo LoraLoader LoraLoaderModelOnly LoraSave LTXVAddGuide LTXVConditioning
    LTXVCropGuides LTXVImgToVideo LTXVPreprocess LTXVScheduler Mahiro MaskComposite MaskPreview MaskToImage
    ModelMergeAdd ModelMergeBlocks ModelMergeFlux1 ModelMergeSD1 ModelMergeSD2 ModelMergeSD3_2B ModelMergeSDXL
    ModelMergeSimple ModelMergeSubtract ModelPatchLoader ModelSamplingAuraFlow ModelSamplingContinuousEDM
    ModelSamplingContinuousV ModelSamplingDiscrete ModelSamplingFlux ModelSamplingLTXV ModelSamplingSD3
    ModelSamplingStableCascade ModelSave Morphology PairConditioningCombine PairConditioningSetDefaultCombine
    PairConditioningSetProperties PairConditioningSetPropertiesAndCombine PatchModelAddDownscale PerpNeg
    PerpNegGuider PerturbedAttentionGuidance PhotoMakerEncode PhotoMakerLoader PolyexponentialScheduler
    PorterDuffImageComposite Preview3D Preview3DAnimation PreviewAny PreviewAudio PreviewImage PrimitiveBoolean
    PrimitiveFloat PrimitiveInt PrimitiveString PrimitiveStringMultiline QuadrupleCLIPLoader
    QwenImageDiffsynthControlnet RandomNoise RebatchImages RebatchLatents RecordAudio ReferenceLatent
    RegexExtract RegexMatch RegexReplace RenormCFG RepeatImageBatch RepeatLatentBatch RescaleCFG
    ResizeAndPadImage SamplerCustom SamplerCustomAdvanced SamplerDPMAdaptative SamplerDPMPP_2M_SDE
    SamplerDPMPP_2S_Ancestral SamplerDPMPP_3M_SDE SamplerDPMPP_SDE SamplerEulerAncestral
    SamplerEulerAncestralCFGPP SamplerLCMUpscale SamplerLMS SaveAnimatedPNG SaveAnimatedWEBP SaveAudio
    SaveAudioMP3 SaveAudioOpus SaveGLB SaveImage SaveImageWebsocket SaveLatent SaveSVGNode SaveVideo SaveWEBM
    SD_4XUpscale_Conditioning SDTurboScheduler SelfAttentionGuidance SetClipHooks SetHookKeyframes
    SetLatentNoiseMask SetUnionControlNetType SkipLayerGuidanceDiT SkipLayerGuidanceDiTSimple
    SkipLayerGuidanceSD3 SolidMask SplitImageWithAlpha SplitSigmas SplitSigmasDenoise
    StableCascade_EmptyLatentImage StableCascade_StageB_Conditioning StableCascade_StageC_VAEEncode
    StableCascade_SuperResolutionControlnet StableZero123_Conditioning StableZero123_Conditioning_Batched
    StringCompare StringConcatenate StringContains StringLength StringReplace StringSubstring StringTrim
    StyleModelApply StyleModelLoader SV3D_Conditioning SVD_img2vid_Conditioning TCFG TextEncodeAceStepAudio
    TextEncodeHunyuanVideo_ImageToVideo TextEncodeQwenImageEdit TextEncodeQwenImageEditPlus ThresholdMask
    TomePatchModel TorchCompileModel TrimAudioDuration TrimVideoLatent TripleCLIPLoader unCLIPCheckpointLoader
    unCLIPConditioning UNetCrossAttentionMultiply UNETLoader UNetSelfAttentionMultiply
    UNetTemporalAttentionMultiply UpscaleModelLoader VAEDecode VAEDecodeAudio VAEDecodeHunyuan3D VAEDecodeTiled
    VAEEncode VAEEncodeAudio VAEEncodeForInpaint VAEEncodeTiled VAELoader VAESave VideoLinearCFGGuidance
    VideoTriangleCFGGuidance VoxelToMesh VoxelToMeshBasic VPScheduler Wan22ImageToVideoLatent WanCameraEmbedding
    WanCameraImageToVideo WanFirstLastFrameToVideo WanFunControlToVideo WanFunInpaintToVideo WanImageToVideo
    WanPhantomSubjectToVideo WanVaceToVideo WebcamCapture
"""

_WITH_BLANKS = frozenset({"ConditioningAverage ", "Epsilon Scaling", "Video Slice"})

BUILT_IN = frozenset(_NAMES.split()) | _WITH_BLANKS | PAGE_ONLY
