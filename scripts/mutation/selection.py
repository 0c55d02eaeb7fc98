"""Which tests look at which file: for each, the groups of tests that are run one after the other until one fails."""

from __future__ import annotations

from dataclasses import dataclass

ROOMS = ("layers", "losses", "metrics", "necks", "backbones", "methods", "models", "tasks", "inference/logits",
         "inference/tta.py", "inference/threshold.py", "inference/predictor.py", "engine/optim/schedules.py",
         "engine/optim/schedule_curves.py")  # fmt: skip
"""What is broken unless `--only` says something else."""


@dataclass(frozen=True)
class Group:
    """Files of tests, and which tests of theirs, in pytest's words; all but the slow ones unless said."""

    files: tuple[str, ...]
    keyword: str | None = None

    def arguments(self) -> list[str]:
        """For pytest."""
        return [*self.files, "-m", "not slow", *(("-k", self.keyword) if self.keyword else ())]


def group(*files: str, k: str | None = None) -> Group:
    """A group, by files below `tests/`."""
    return Group(tuple(f"tests/{file}" for file in files), k)


STARTS, DROPS, FIGURES, MODELS = (
    "contracts/test_starts.py",
    "contracts/test_drops.py",
    "golden/test_figures.py",
    "contracts/test_models.py",
)


def of_part(part: str, *own: str, figure: str = "", also: str = "") -> list[Group]:
    """Tests of a part of the catalogue: its own files, its figures, and what all parts owe."""
    words = f"{part} or {also}" if also else part
    return [
        group(STARTS, DROPS, k=words),
        *([group(*own)] if own else []),
        *([group(FIGURES, k=figure)] if figure else []),
        group(MODELS, k=f"({part}) and not captured and not exported"),
        group(MODELS, k=f"({part}) and (captured or exported)"),
    ]


SHARED_LAYERS = [
    group("layers"),
    group(STARTS, DROPS),
    group(FIGURES, k="small"),
]
LOSSES = [group("losses"), group("tasks/test_semantic.py", "tasks/test_mask_classification.py")]

LOGITS = [
    group("inference/test_postprocess.py", "inference/test_lazy.py", "inference/test_sliding.py", k="not memory"),
    group("inference/test_tta.py", "inference/test_reference.py", "inference/test_predictor.py"),
    group("inference/test_postprocess.py", "inference/test_memory.py", "inference/test_one_meaning.py"),
]

TABLE: dict[str, list[Group]] = {
    "intarsia/layers/norm.py": [
        *SHARED_LAYERS,
        group(
            "engine/test_groups.py", "engine/test_safeguards.py", "config/test_build.py", "tasks/test_norm_errors.py"
        ),
    ],
    "intarsia/layers/activation_checkpointing.py": [
        group(MODELS, k="checkpointed or (captured and MixVision)"),
        group("backbones"),
    ],
    "intarsia/layers/aspp.py": [group("layers"), group(FIGURES, k="deeplabv3"), group(STARTS, DROPS, k="ASPP")],
    "intarsia/layers/attention.py": [*SHARED_LAYERS, *of_part("MixVisionTransformer", figure="segformer")],
    "intarsia/layers/fcn.py": of_part("FCNHead or GCHead", "methods/test_heads.py", figure="fcn_r18 or gcnet_small"),
    "intarsia/layers/global_response.py": [group("backbones/test_convnext.py")],
    "intarsia/layers/global_context.py": of_part("GCHead", "methods/test_attention_heads.py", figure="gcnet_small"),
    "intarsia/layers/non_local.py": of_part("NLHead", "layers/test_non_local.py", figure="nonlocal_small"),
    "intarsia/layers/self_attention.py": of_part("ISAHead or OCRHead", "methods", figure="isanet_small or ocrnet"),
    "intarsia/layers/inverted_residual.py": [
        group("layers"),
        *of_part("FastSCNN", figure="fast_scnn"),
        *of_part("MobileNetV", figure="mobilenetv3"),
    ],
    "intarsia/layers/matrix_decomposition.py": [group("layers"), *of_part("LightHamHead", figure="segnext")],
    "intarsia/layers/squeeze_excite.py": [group("layers"), *of_part("MobileNetV3", figure="mobilenetv3")],
    "intarsia/layers/stages.py": [
        group("backbones/test_resnet.py", "backbones/test_mobilenet_v2.py"),
        group(MODELS, k="levels_that_do_not_exist"),
    ],
    "intarsia/layers/upsample.py": [group("layers"), *of_part("UNet", "methods/test_unet.py", figure="unet_small")],
    "intarsia/layers/activation.py": [*SHARED_LAYERS],
    "intarsia/layers/adaptive_pooling.py": [group("layers/test_adaptive_pooling.py")],
    "intarsia/layers/clip/": [group("layers/test_clip.py"), group("backbones/test_clip_text.py")],
    "intarsia/layers/encoding.py": [group("layers/test_encoding.py"), *of_part("EncHead", figure="encnet_small")],
    "intarsia/layers/pyramid_pooling.py": [group("layers"), *of_part("PSPHead", figure="upernet_small")],
    "intarsia/layers/levels.py": [*SHARED_LAYERS, group("methods", "config/test_check.py"), group(FIGURES, k="hr18")],
    "intarsia/layers/conv.py": [*SHARED_LAYERS, group(FIGURES, k="fast_scnn or bisenetv2")],
    "intarsia/layers/points.py": [group("layers/test_points.py"), group("methods/test_point_rend.py"), *LOSSES],
    "intarsia/layers/": [*SHARED_LAYERS, group(MODELS, k="Mask2FormerHead or MaskFormerHead or IterativeDecodeHead")],
    "intarsia/layers/patch_embed.py": [
        group("layers/test_patch_embed.py"),
        *of_part("SwinTransformer or MixVisionTransformer", figure="swin_small or segformer"),
    ],
    "intarsia/layers/position_embedding.py": [
        group("layers/test_position_embedding.py"),
        *of_part("SwinTransformer or VisionTransformer", "backbones/test_swin.py", figure="swin_small or vit_small"),
    ],
    "intarsia/layers/precision.py": [*SHARED_LAYERS, *LOSSES],
    "intarsia/layers/distributed.py": [group("losses"), group("engine/test_processes.py")],
    "intarsia/layers/layer_scale.py": [
        group("layers/test_layer_scale.py"),
        *of_part("ConvNeXt or PoolFormer or BEiT", figure="convnext_small or poolformer or beit_small"),
    ],
    "intarsia/layers/spatial_reduction_attention.py": of_part(
        "MixVisionTransformer or PCPVT", "backbones/test_mit.py", figure="segformer or pcpvt_small"
    ),
    "intarsia/layers/windows.py": of_part(
        "SwinTransformer or SVT", "layers/test_windows.py", figure="swin_small or svt_small"
    ),
    "intarsia/layers/transformer.py": [
        group("layers/test_transformer.py"),
        *of_part("VisionTransformer or SegmenterMask", figure="segmenter or vit_small"),
    ],
    "intarsia/layers/residual.py": of_part("DDRNet or PIDNet", "layers/test_residual.py", figure="ddrnet or pidnet"),
    "intarsia/layers/decoder_block.py": of_part("UNetHead", "methods/test_unet_decoders.py"),
    "intarsia/layers/deep_pyramid_pooling.py": of_part(
        "DDRNet or PIDNet", "methods/test_ddrnet_pidnet.py", figure="ddrnet or pidnet"
    ),
    "intarsia/layers/attention_refinement.py": of_part("BiSeNetV1 or STDC", figure="bisenetv1 or stdc1"),
    "intarsia/layers/diffusion_unet.py": [group("layers/test_stable_diffusion.py"), *of_part("VPD")],
    "intarsia/layers/latent_encoder.py": [group("layers/test_stable_diffusion.py"), *of_part("VPD")],
    "intarsia/losses/boundary.py": [*LOSSES, group(FIGURES, k="pidnet")],
    "intarsia/losses/hausdorff.py": [*LOSSES, group("losses/test_hausdorff.py")],
    "intarsia/losses/kl_divergence.py": [group("losses/test_kl_divergence.py"), *LOSSES],
    "intarsia/losses/silog.py": [group("losses/test_silog.py"), *LOSSES],
    "intarsia/losses/from_teacher.py": [group("losses/test_from_teacher.py", "tasks/test_taught.py")],
    "intarsia/losses/": LOSSES,
    "intarsia/metrics/best_threshold.py": [
        group("metrics/test_best_threshold.py"),
        group("engine/test_devices.py", k="threshold"),
    ],
    "intarsia/metrics/foreground.py": [group("metrics/test_foreground.py")],
    "intarsia/metrics/cityscapes.py": [group("metrics/test_cityscapes_metric.py")],
    "intarsia/metrics/depth.py": [group("metrics/test_depth_metric.py")],
    "intarsia/metrics/": [group("metrics"), group("evaluation", "engine/test_evaluate.py", "workflows/test_score.py")],
    "intarsia/necks/jpu.py": of_part("JPU", "necks/test_jpu.py", figure="fastfcn_small"),
    "intarsia/necks/fpn.py": of_part("FPN", "necks", figure="semantic_fpn_small"),
    "intarsia/necks/multi_level.py": of_part("MultiLevelNeck", "necks/test_multi_level.py", figure="vit_small"),
    "intarsia/necks/simple_feature_pyramid.py": of_part("SimpleFeaturePyramid", "necks/test_simple_feature_pyramid.py"),
    "intarsia/necks/feature2pyramid.py": of_part(
        "Feature2Pyramid", "necks/test_feature2pyramid.py", figure="beit_small"
    ),
    "intarsia/backbones/beit.py": of_part("BEiT or MAE", "backbones/test_beit.py", figure="beit_small or mae_small"),
    "intarsia/backbones/clip_text.py": of_part("CLIPTextEncoder", "backbones/test_clip_text.py", figure="san_small"),
    "intarsia/backbones/hf.py": [group("backbones/test_hf.py", "workflows/test_hf_weights.py")],
    "intarsia/backbones/hf_sizes.py": [group("backbones/test_hf.py")],
    "intarsia/layers/adapter.py": of_part("ViTAdapter", "backbones/test_vit_adapter.py"),
    "intarsia/backbones/vit_adapter.py": of_part("ViTAdapter", "backbones/test_vit_adapter.py"),
    "intarsia/tasks/from_features.py": [group("engine/test_cached_features.py")],
    "intarsia/backbones/timm.py": [group("backbones/test_timm.py", k="not every_family_trains")],
    "intarsia/backbones/timm_positions.py": [group("export/test_any_size.py", k="positions_of_timm")],
    "intarsia/backbones/timm_blocks.py": [group("methods/test_eomt.py")],
    "intarsia/backbones/timm_smp.py": [group("weights/test_maps_smp_encoders.py", "weights/test_maps_smp_decoders.py")],
    "intarsia/backbones/timm_sizes.py": [group("backbones/test_timm.py", k="not every_family_trains")],
    "intarsia/backbones/convnext.py": of_part("ConvNeXt", "backbones/test_convnext.py", figure="convnext_small"),
    "intarsia/backbones/hrnet.py": of_part("HRNet", "backbones/test_hrnet.py", figure="fcn_hr18"),
    "intarsia/backbones/mae.py": of_part("MAE", "backbones/test_beit.py", figure="mae_small"),
    "intarsia/backbones/mit.py": of_part(
        "MixVisionTransformer",
        "backbones/test_mit.py",
        figure="segformer",
        also="mit or mixed or linearly or spatial_reduction",
    ),
    "intarsia/backbones/mobilenet_v2.py": of_part(
        "MobileNetV2", "backbones/test_mobilenet_v2.py", figure="mobilenetv2"
    ),
    "intarsia/backbones/resnest.py": of_part("ResNeSt", "backbones/test_resnest.py", figure="resnest_small"),
    "intarsia/backbones/poolformer.py": of_part(
        "PoolFormer", "backbones/test_poolformer.py", figure="semantic_fpn_poolformer"
    ),
    "intarsia/backbones/resnet.py": of_part(
        "ResNe", "backbones/test_resnet.py", figure="upernet_small or fcn_r18 or maskformer_small", also="shortcuts"
    ),
    "intarsia/backbones/swin.py": of_part(
        "SwinTransformer", "backbones/test_swin.py", figure="swin_small", also="swin or linearly or position or only_in"
    ),
    "intarsia/methods/efficientvit.py": of_part("EfficientViTHead", "methods/test_efficientvit.py"),
    "intarsia/methods/image_class_head.py": of_part("ImageClassHead", "methods/test_image_class_head.py"),
    "intarsia/methods/golden_cudgel.py": of_part("GCNet", "methods/test_golden_cudgel.py"),
    "intarsia/methods/offset_learning.py": [group("contracts/test_offset_learning.py")],
    "intarsia/methods/ppliteseg.py": of_part("PPLiteSegHead", "methods/test_ppliteseg.py"),
    "intarsia/methods/regseg.py": of_part("RegSeg", "methods/test_regseg.py"),
    "intarsia/methods/sctnet.py": of_part("SCTNet or SCTHead", "methods/test_sctnet.py"),
    "intarsia/methods/vwformer.py": of_part("VWHead or VWCityHead", "methods/test_vwformer.py"),
    "intarsia/methods/smp_": [group("methods/test_smp_heads.py"), group("weights/test_maps_smp_decoders.py")],
    "intarsia/methods/ann.py": of_part("ANNHead", "methods/test_attention_heads.py", figure="ann_small"),
    "intarsia/methods/ccnet.py": of_part("CCHead", "methods/test_attention_heads.py", figure="ccnet_small"),
    "intarsia/methods/danet.py": of_part("DAHead", "methods/test_attention_heads.py", figure="danet_small"),
    "intarsia/methods/dnlnet.py": of_part("DNLHead", "methods/test_attention_heads.py", figure="dnlnet_small"),
    "intarsia/methods/gcnet.py": of_part("GCHead", "methods/test_attention_heads.py", figure="gcnet_small"),
    "intarsia/methods/isanet.py": of_part("ISAHead", "methods/test_attention_heads.py", figure="isanet_small"),
    "intarsia/methods/nonlocal_net.py": of_part("NLHead", "methods/test_attention_heads.py", figure="nonlocal_small"),
    "intarsia/backbones/twins.py": of_part(
        "PCPVT or SVT", "backbones/test_twins.py", figure="pcpvt_small or svt_small"
    ),
    "intarsia/backbones/vit.py": of_part(
        "VisionTransformer", "backbones/test_vit.py", figure="vit_small or segmenter or dpt_small", also="only_in"
    ),
    "intarsia/methods/apcnet.py": of_part("APCHead", "methods/test_apcnet.py", figure="apcnet_small"),
    "intarsia/methods/bisenetv1.py": of_part("BiSeNetV1", figure="bisenetv1"),
    "intarsia/methods/bisenetv2.py": of_part("BiSeNetV2", figure="bisenetv2"),
    "intarsia/methods/cgnet.py": of_part("CGNet", "methods/test_cgnet.py", figure="cgnet"),
    "intarsia/methods/deeplabv3.py": of_part("ASPPHead", "methods/test_context_heads.py", figure="deeplabv3_r18b"),
    "intarsia/methods/deeplabv3plus.py": of_part(
        "DepthwiseSeparableASPPHead", "methods/test_context_heads.py", figure="deeplabv3plus"
    ),
    "intarsia/methods/dpt.py": of_part("DPTHead", "methods/test_dpt.py", figure="dpt_small"),
    "intarsia/methods/eomt.py": [group(MODELS, k="EoMTHead"), group("methods/test_eomt.py")],
    "intarsia/methods/pmt.py": [group(MODELS, k="PMTHead"), group("methods/test_pmt.py")],
    "intarsia/methods/erfnet.py": of_part("ERFNet", "methods/test_erfnet.py", figure="erfnet"),
    "intarsia/methods/ddrnet.py": of_part("DDR", "methods/test_ddrnet_pidnet.py", figure="ddrnet"),
    "intarsia/methods/icnet.py": of_part("ICN", "methods/test_icnet.py", figure="icnet_small"),
    "intarsia/methods/pidnet.py": of_part("PIDNet or PIDHead", "methods/test_ddrnet_pidnet.py", figure="pidnet"),
    "intarsia/methods/stdc.py": of_part("STDC", "methods/test_stdc.py", figure="stdc1"),
    "intarsia/methods/dmnet.py": of_part("DMHead", "methods/test_dmnet.py", figure="dmnet_small"),
    "intarsia/methods/emanet.py": of_part("EMAHead", "methods/test_emanet.py", figure="emanet_small"),
    "intarsia/methods/encnet.py": of_part("EncHead", "methods/test_encnet.py", figure="encnet_small"),
    "intarsia/methods/fast_scnn.py": of_part(
        "FastSCNN or DepthwiseSeparableFCNHead", "methods/test_heads.py", figure="fast_scnn"
    ),
    "intarsia/methods/fcn.py": of_part("FCNHead", "methods/test_heads.py", figure="fcn_r18 or fcn_hr18"),
    "intarsia/methods/linear_head.py": of_part("LinearHead", "methods/test_linear_head.py"),
    "intarsia/methods/knet.py": of_part(
        "IterativeDecodeHead or KernelUpd", "methods/test_knet.py", figure="knet_small"
    ),
    "intarsia/methods/mask2former.py": of_part(
        "Mask2FormerHead", "models/test_mask_classifier.py", figure="mask2former_small", also="decoder or mask"
    ),
    "intarsia/methods/maskformer.py": of_part(
        "MaskFormerHead", "models/test_mask_classifier.py", figure="maskformer_small", also="decoder"
    ),
    "intarsia/methods/mobilenet_v3.py": of_part(
        "MobileNetV3 or LRASPPHead", "methods/test_mobilenet_v3.py", figure="mobilenetv3"
    ),
    "intarsia/methods/ocrnet.py": of_part("OCRHead", "methods/test_context_heads.py", figure="ocrnet"),
    "intarsia/methods/point_rend.py": of_part("PointHead", "methods/test_point_rend.py", figure="pointrend_small"),
    "intarsia/methods/psanet.py": of_part("PSAHead", "methods/test_psanet.py", figure="psanet_small"),
    "intarsia/methods/pspnet.py": of_part("PSPHead", "methods/test_context_heads.py", figure="pspnet"),
    "intarsia/methods/san.py": of_part("SideAdapterCLIPHead", "methods/test_san.py", figure="san_small"),
    "intarsia/methods/segformer.py": of_part("SegformerHead", "methods/test_heads.py", figure="segformer"),
    "intarsia/methods/segmenter.py": of_part(
        "SegmenterMaskTransformerHead", "methods/test_segmenter.py", figure="segmenter"
    ),
    "intarsia/methods/semantic_fpn.py": of_part("FPNHead", "methods/test_semantic_fpn.py", figure="semantic_fpn_small"),
    "intarsia/methods/setr.py": of_part(
        "SETRUPHead or SETRMLAHead or MLANeck", "methods/test_setr.py", figure="setr_pup_small or setr_mla_small"
    ),
    "intarsia/methods/segnext.py": of_part("MSCAN or LightHamHead", "methods/test_segnext.py", figure="segnext"),
    "intarsia/methods/unet.py": of_part("UNet", "methods/test_unet.py", figure="unet_small"),
    "intarsia/methods/nnunet.py": of_part("PlainConvEncoder or ResidualEncoder or NNUNet", "methods/test_nnunet.py"),
    "intarsia/losses/batch_dice.py": [group("methods/test_nnunet.py")],
    "intarsia/weights/maps/nnunet.py": [group("weights/test_maps_nnunet.py")],
    "intarsia/weights/maps/nnunet_plans.py": [group("weights/test_maps_nnunet.py")],
    "intarsia/methods/linknet.py": of_part("LinknetHead", "methods/test_unet_decoders.py"),
    "intarsia/methods/manet.py": of_part("MANetHead", "methods/test_unet_decoders.py"),
    "intarsia/methods/pan.py": of_part("PANHead", "methods/test_unet_decoders.py"),
    "intarsia/methods/unetplusplus.py": of_part("UNetPlusPlusHead", "methods/test_unet_decoders.py"),
    "intarsia/methods/unet_head.py": of_part("UNetHead", "methods/test_unet_decoders.py"),
    "intarsia/methods/vpd.py": of_part("VPD", "methods/test_vpd.py"),
    "intarsia/methods/upernet.py": of_part("UPerHead", "methods/test_context_heads.py", figure="upernet_small"),
    "intarsia/data/annotations/": [group("data/annotations"), group("redteam/test_annotations.py")],
    "intarsia/data/scenes/": [group("data/scenes", k="not train_evaluate"), group("inference/test_rasters.py")],
    "intarsia/data/band_indices.py": [group("data/scenes/test_band_indices.py")],
    "intarsia/data/nifti.py": [group("data/test_slices.py"), group("data/test_volumes.py")],
    "intarsia/data/slices.py": [group("data/test_slices.py")],
    "intarsia/data/dicom.py": [group("data/test_dicom.py"), group("data/annotations/test_dicom_seg.py")],
    "intarsia/data/transforms/albu.py": [group("data/test_albu.py")],
    **{
        f"intarsia/data/transforms/{file}.py": [
            group("data/test_volumes.py"),
            group("contracts/test_catalog.py", k="Transform and Bio"),
            group("golden/test_golden_transforms.py", k="Bio"),
        ]
        for file in ("load_volumes", "noise", "volumes")
    },
    **{
        f"intarsia/data/transforms/{file}.py": [
            group(f"data/{tests}.py"),
            group("contracts/test_catalog.py", k="Transform"),
            group("data/test_rotate.py", "golden/test_golden_transforms.py"),
        ]
        for file, tests in {
            "affine": "test_warps",
            "blur": "test_degrading",
            "brightness": "test_degrading",
            "degrade": "test_degrading",
            "elastic": "test_warps",
            "mixing": "test_mixing_transforms",
            "warp": "test_warps",
        }.items()
    },
    "intarsia/data/transforms/": [
        group("data/test_rotate.py", "data/test_values.py", "data/test_mosaic.py"),
        group("data/test_warps.py", "data/test_degrading.py", "data/test_mixing_transforms.py"),
        group("data/test_transforms.py", "data/test_colour.py", "data/test_edge_maps.py"),
        group("contracts/test_catalog.py", k="Transform"),
        group("golden/test_golden_transforms.py"),
    ],
    "intarsia/models/": [
        group("models"),
        group(FIGURES, k="small"),
        group(MODELS, k="EncoderDecoder or MaskClassifier"),
        group("config/test_check.py"),
    ],
    "intarsia/tasks/": [group("tasks"), group(FIGURES, k="small"), group("losses"), group("config/test_build.py")],
    "intarsia/inference/class_names.py": [group("inference/test_predictor.py", "inference/test_class_counts.py")],
    "intarsia/inference/depth_": [
        group("inference/test_depth_prediction.py"),
        group("cli/test_predict_depth.py", "tasks/test_depth.py", k="not published"),
    ],
    "intarsia/inference/explain.py": [group("inference/test_explain.py")],
    "intarsia/inference/inputs/arrays.py": [
        group("inference/test_predictor.py", "inference/test_value_contract.py", "inference/test_image_modes.py"),
        group("inference/test_bad_input.py", "inference/test_scale_by_percentiles.py", "data/test_stack.py"),
    ],
    "intarsia/inference/inputs/finding.py": [group("inference/test_inputs.py", "inference/test_bad_input.py")],
    "intarsia/inference/inputs/images.py": [
        group("inference/test_inputs.py", "inference/test_predictor.py", "inference/test_bad_input.py")
    ],
    "intarsia/inference/inputs/image_frames.py": [group("inference/test_inputs.py")],
    "intarsia/inference/inputs/video": [group("inference/test_video.py"), group("cli/test_predict_video.py")],
    "intarsia/inference/logits/": LOGITS,
    "intarsia/inference/logits/lazy.py": [
        group("inference/test_lazy.py"),
        group("inference/test_sliding.py", "inference/test_postprocess.py", k="not memory"),
        group("inference/test_tta.py", "inference/test_reference.py"),
    ],
    "intarsia/inference/logits/scratch.py": [group("inference/test_outputs.py"), group("cli/test_predict_outputs.py")],
    "intarsia/inference/logits/sliding.py": [
        group("inference/test_sliding.py", "inference/test_predictor.py", "inference/test_tta.py", k="not memory"),
        group("inference/test_rasters.py", "inference/test_reference.py"),
    ],
    "intarsia/inference/logits/triton_argmax.py": [group("inference/test_triton_argmax.py")],
    "intarsia/inference/memory.py": [group("inference/test_memory.py"), group("inference/test_network.py")],
    "intarsia/inference/network.py": [
        group("inference/test_network.py", "inference/test_threads.py", "evaluation/test_small_images.py"),
    ],
    "intarsia/inference/network_input.py": [group("inference/test_memory.py", "evaluation/test_part_scores.py")],
    "intarsia/inference/outputs/": [
        group("inference/test_outputs.py", "inference/test_class_counts.py", "inference/test_polygons.py"),
        group("cli/test_predict_outputs.py"),
    ],
    "intarsia/inference/outputs/coco.py": [
        group(
            "inference/test_polygons.py", "inference/test_multi_label_predictions.py", "data/annotations/test_coco.py"
        ),
        group("cli/test_predict_outputs.py"),
    ],
    "intarsia/inference/outputs/depth_files.py": [
        group("inference/test_depth_prediction.py"),
        group("cli/test_predict_depth.py"),
        group("inference/test_bad_input.py", k="depth"),
    ],
    "intarsia/inference/outputs/geojson.py": [group("inference/test_polygons.py", "inference/test_ground.py")],
    "intarsia/inference/outputs/ground.py": [group("inference/test_ground.py", "inference/test_polygons.py")],
    "intarsia/inference/outputs/image_files.py": [
        group("inference/test_outputs.py"),
        group("cli/test_predict_outputs.py", "cli/test_predict_video.py"),
    ],
    "intarsia/inference/outputs/label_values.py": [
        group("inference/test_outputs.py", "inference/test_class_counts.py"),
        group("workflows/test_submission.py", "cli/test_predict_outputs.py"),
    ],
    "intarsia/inference/outputs/manifest.py": [
        group("inference/test_raster_folders.py", "inference/test_bad_input.py"),
        group("cli/test_predict_outputs.py", "cli/test_predict_inputs.py"),
    ],
    "intarsia/inference/outputs/parts.py": [group("inference/test_parts.py"), group("cli/test_predict_parts.py")],
    "intarsia/inference/outputs/polygons.py": [
        group("inference/test_polygons.py", "inference/test_multi_label_predictions.py", "inference/test_ground.py"),
        group("cli/test_predict_raster.py"),
    ],
    "intarsia/inference/outputs/video.py": [group("inference/test_video.py"), group("cli/test_predict_video.py")],
    "intarsia/inference/outputs/writer.py": [
        group("inference/test_outputs.py", "inference/test_multi_label_predictions.py"),
        group("cli/test_predict_outputs.py", "cli/test_predict_video.py"),
    ],
    "intarsia/inference/prediction.py": [
        group("inference/test_prediction.py", "inference/test_outputs.py", "inference/test_multi_label_predictions.py")
    ],
    "intarsia/inference/predictions.py": [group("inference/test_predictor.py", "inference/test_bad_input.py")],
    "intarsia/inference/predictor.py": [
        group("inference/test_predictor.py", "inference/test_tta.py", "inference/test_multi_label_predictions.py"),
        group("inference/test_network.py", "inference/test_memory.py", "evaluation/test_part_scores.py"),
        group("inference/test_sliding.py", "inference/test_reference.py"),
    ],
    "intarsia/inference/raster/": [group("inference/test_rasters.py"), group("cli/test_predict_raster.py")],
    "intarsia/inference/tta.py": [group("inference/test_tta.py"), *LOGITS],
    "intarsia/inference/threshold.py": [
        group("inference/test_predictor.py", "workflows/test_views.py", k="threshold"),
        group("inference/test_multi_label_predictions.py"),
        group("workflows/test_thresholds.py"),
    ],
    "intarsia/weights/origins.py": [group("weights/test_origins.py", "workflows/test_model_card.py")],
    "intarsia/workflows/thresholds.py": [group("workflows/test_thresholds.py")],
    "intarsia/workflows/hub.py": [group("workflows/test_hub.py"), group("workflows/test_share_weights.py")],
    "intarsia/workflows/model_card.py": [group("workflows/test_model_card.py", "workflows/test_share_weights.py")],
    "intarsia/workflows/share_weights.py": [group("workflows/test_share_weights.py"), group("workflows/test_hub.py")],
    "intarsia/engine/optim/schedule": [group("engine/test_schedules.py"), group("engine/test_train.py")],
    "intarsia/engine/optim/": [
        group("engine/test_optimizers.py", "engine/test_groups.py", "engine/test_batch_plan.py"),
        group("engine/test_duration.py", "engine/test_find.py", "engine/test_schedules.py"),
        group("engine/test_train.py"),
    ],
}
"""Beginning of a file's path -> groups; the longest beginning counts."""


def groups_for(path: str) -> list[Group]:
    """The groups of a file. Raises ValueError for one that the table says nothing about."""
    fitting = [beginning for beginning in TABLE if path.startswith(beginning)]
    if not fitting:
        raise ValueError(f"no tests are listed for {path}; add a line to TABLE in scripts/mutation/selection.py")
    return TABLE[max(fitting, key=len)]
