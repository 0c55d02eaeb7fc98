"""What a config leaves out means what it means in MMSegmentation 1.2.2: the defaults of its constructors.

ResNeXt alone has others: 32 groups, the network of its paper, where the original's constructor has one group of width
4, which no published recipe uses. Arguments that are ours alone are here with what leaves everything as it was.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from intarsia import catalog
from intarsia.backbones.resnet import Bottleneck
from intarsia.layers.activation import GELU, RELU, Activation
from intarsia.layers.norm import BN, Norm

ALL = (0, 1, 2, 3)
HEAD = {"dropout_ratio": 0.1, "norm": None, "activation": RELU, "align_corners": False}
ONE_LEVEL = {"in_index": -1, **HEAD}
FULLY_CONVOLUTIONAL = {**ONE_LEVEL, "kernel_size": 3, "dilation": 1, "concat_input": True}
SEVERAL_LEVELS = {"in_index": ALL, **HEAD}
UNETS = {
    "in_index": (0, 1, 2, 3, 4), "decoder_channels": (256, 128, 64, 32, 16), "interpolation": "nearest",
    "dropout_ratio": 0.0, "norm": BN, "activation": RELU, "align_corners": False,
}  # fmt: skip
NNUNET = {
    "in_channels": 3, "channels": (32, 64, 128, 256, 512, 512, 512, 512), "kernel_sizes": 3,
    "strides": (1, 2, 2, 2, 2, 2, 2, 2), "checkpoint_activations": False,
}  # fmt: skip
"""What the planner chooses for images of 512 x 512."""
RESNET = {
    "in_channels": 3, "stem_channels": 64, "base_channels": 64, "num_stages": 4, "strides": (1, 2, 2, 2),
    "dilations": (1, 1, 1, 1), "out_indices": ALL, "style": "pytorch", "multi_grid": None, "contract_dilation": False,
    "frozen_stages": -1, "norm": BN, "norm_eval": False, "checkpoint_activations": False, "zero_init_residual": True,
}  # fmt: skip
PLAIN = {
    "img_size": 224, "patch_size": 16, "in_channels": 3, "embed_dims": 768, "num_layers": 12, "num_heads": 12,
    "mlp_ratio": 4, "out_indices": -1, "attn_drop_rate": 0.0, "drop_path_rate": 0.0, "norm": Norm("LN"),
    "activation": GELU, "patch_norm": False, "final_norm": False, "init_values": 0.1, "checkpoint_activations": False,
}  # fmt: skip
TWINS = {
    "in_channels": 3, "embed_dims": (64, 128, 256, 512), "patch_sizes": (4, 2, 2, 2), "strides": (4, 2, 2, 2),
    "mlp_ratios": (4, 4, 4, 4), "out_indices": ALL, "qkv_bias": False, "drop_rate": 0.0, "attn_drop_rate": 0.0,
    "norm": Norm("LN"), "sr_ratios": (8, 4, 2, 1), "checkpoint_activations": False,
}  # fmt: skip
TIMM = {
    "in_channels": 3, "out_indices": None, "output_stride": None, "img_size": None, "norm": False,
    "open_blocks": 0, "prefix": False, "tokens": None, "smp_encoder": False, "norm_eps": None,
    "drop_path_rate": None, "options": None, "checkpoint_activations": False,
}  # fmt: skip
QUERIES = {"in_index": ALL, "channels": 256, "mask_channels": 256, "num_queries": 100, "num_heads": 8, "hidden": 2048,
           "norm": Norm("GN", num_groups=32)}  # fmt: skip
PIXELS = {"class_weight": None, "ignore_index": 255}

DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "backbone": {
        "BEiT": {**PLAIN, "qv_bias": True},
        "BiSeNetV1": {
            "in_channels": 3, "spatial_channels": (64, 64, 64, 128), "context_channels": (128, 256, 512),
            "out_channels": 256, "out_indices": (0, 1, 2), "norm": BN, "activation": RELU,
            "checkpoint_activations": False},
        "BiSeNetV2": {
            "in_channels": 3, "detail_channels": (64, 64, 128), "semantic_channels": (16, 32, 64, 128),
            "semantic_expansion_ratio": 6, "bga_channels": 128, "out_indices": (0, 1, 2, 3, 4), "norm": BN,
            "activation": RELU, "align_corners": False, "checkpoint_activations": False},
        "CGNet": {
            "in_channels": 3, "num_channels": (32, 64, 128), "num_blocks": (3, 21), "dilations": (2, 4),
            "reductions": (8, 16), "norm": BN, "activation": Activation("PReLU"), "norm_eval": False,
            "checkpoint_activations": False},
        "ConvNeXt": {
            "arch": "tiny", "in_channels": 3, "stem_patch_size": 4, "drop_path_rate": 0.0,
            "layer_scale_init_value": 1e-6, "use_grn": False, "out_indices": -1, "frozen_stages": 0,
            "norm": Norm("LN2d", eps=1e-6), "activation": GELU, "checkpoint_activations": False},
        "DDRNet": {
            "in_channels": 3, "channels": 32, "ppm_channels": 128, "align_corners": False, "norm": BN,
            "activation": RELU, "checkpoint_activations": False},
        "ERFNet": {
            "in_channels": 3, "enc_downsample_channels": (16, 64, 128), "enc_stage_non_bottlenecks": (5, 8),
            "enc_non_bottleneck_dilations": (2, 4, 8, 16), "enc_non_bottleneck_channels": (64, 128),
            "dec_upsample_channels": (64, 16), "dec_stages_non_bottleneck": (2, 2),
            "dec_non_bottleneck_channels": (64, 16), "dropout_ratio": 0.1, "norm": Norm("BN", eps=1e-3),
            "activation": RELU, "checkpoint_activations": False},
        "FastSCNN": {
            "in_channels": 3, "downsample_dw_channels": (32, 48), "global_in_channels": 64,
            "global_block_channels": (64, 96, 128), "global_block_strides": (2, 2, 1), "global_out_channels": 128,
            "higher_in_channels": 64, "lower_in_channels": 128, "fusion_out_channels": 128, "out_indices": (0, 1, 2),
            "norm": BN, "activation": RELU, "dw_activation": None, "align_corners": False,
            "checkpoint_activations": False},
        "GCNet": {
            "in_channels": 3, "channels": 32, "ppm_channels": 128,
            "num_blocks_per_stage": (4, 4, (5, 4), (5, 4), (2, 2)), "align_corners": False, "norm": BN,
            "activation": RELU, "deploy": False, "checkpoint_activations": False},
        "HRNet": {
            "in_channels": 3, "channels": ((64,), (18, 36), (18, 36, 72), (18, 36, 72, 144)),
            "num_blocks": ((4,), (4, 4), (4, 4, 4), (4, 4, 4, 4)), "num_modules": (1, 1, 4, 3), "frozen_stages": -1,
            "norm": BN, "norm_eval": False, "checkpoint_activations": False},
        "MAE": PLAIN,
        "MixVisionTransformer": {
            "in_channels": 3, "embed_dims": 64, "num_stages": 4, "num_layers": (3, 4, 6, 3), "num_heads": (1, 2, 4, 8),
            "patch_sizes": (7, 3, 3, 3), "strides": (4, 2, 2, 2), "sr_ratios": (8, 4, 2, 1), "out_indices": ALL,
            "mlp_ratio": 4, "qkv_bias": True, "drop_rate": 0.0, "attn_drop_rate": 0.0, "drop_path_rate": 0.0,
            "activation": GELU, "norm": Norm("LN", eps=1e-6), "inner_eps": None,
            "checkpoint_activations": False},
        "ICNet": {
            "in_channels": 3, "layer_channels": (512, 2048), "light_branch_middle_channels": 32,
            "psp_out_channels": 512, "out_channels": (64, 256, 256), "pool_scales": (1, 2, 3, 6), "norm": BN,
            "activation": RELU, "align_corners": False, "checkpoint_activations": False},
        "MSCAN": {
            "in_channels": 3, "embed_dims": (64, 128, 256, 512), "mlp_ratios": (4, 4, 4, 4), "depths": (3, 4, 6, 3),
            "drop_rate": 0.0, "drop_path_rate": 0.0, "num_stages": 4,
            "attention_kernel_sizes": (5, (1, 7), (1, 11), (1, 21)),
            "attention_kernel_paddings": (2, (0, 3), (0, 5), (0, 10)), "norm": BN, "activation": GELU,
            "checkpoint_activations": False},
        "MobileNetV2": {
            "in_channels": 3, "widen_factor": 1.0, "strides": (1, 2, 2, 2, 1, 2, 1), "dilations": (1,) * 7,
            "out_indices": (1, 2, 4, 6), "frozen_stages": -1, "norm": BN, "activation": Activation("ReLU6"),
            "norm_eval": False, "checkpoint_activations": False},
        "MobileNetV3": {
            "arch": "small", "in_channels": 3, "out_indices": (0, 1, 12), "frozen_stages": -1, "reduction_factor": 1,
            "norm": BN, "norm_eval": False, "checkpoint_activations": False},
        "PCPVT": {
            **TWINS, "num_heads": (1, 2, 4, 8), "drop_path_rate": 0.0, "depths": (3, 4, 6, 3),
            "norm_after_stage": False},
        "PoolFormer": {
            "arch": "s12", "in_channels": 3, "pool_size": 3, "in_patch_size": 7, "in_stride": 4, "in_pad": 2,
            "down_patch_size": 3, "down_stride": 2, "down_pad": 1, "drop_rate": 0.0, "drop_path_rate": 0.0,
            "out_indices": -1, "frozen_stages": 0, "norm": Norm("GN", num_groups=1), "activation": GELU,
            "checkpoint_activations": False},
        "ResNeSt": {
            **{key: value for key, value in RESNET.items() if key != "zero_init_residual"},
            "groups": 1, "base_width": 4, "radix": 2, "reduction_factor": 4, "avg_down_stride": True},
        "ResNeXt": {**RESNET, "groups": 32, "base_width": 4, "deep_stem": False, "avg_down": False},
        "ResNet": {**RESNET, "groups": 1, "base_width": None, "deep_stem": False, "avg_down": False,
                   "bottleneck": Bottleneck},
        "ResNetV1c": RESNET,
        "ResNetV1d": RESNET,
        "SVT": {
            **TWINS, "num_heads": (2, 4, 8, 16), "drop_path_rate": 0.2, "depths": (2, 2, 10, 4),
            "window_sizes": (7, 7, 7, 7), "norm_after_stage": True},
        "PIDNet": {
            "in_channels": 3, "channels": 64, "ppm_channels": 96, "num_stem_blocks": 2, "num_branch_blocks": 3,
            "align_corners": False, "norm": BN, "activation": RELU, "checkpoint_activations": False},
        "RegSeg": {
            "arch": "base", "in_channels": 3, "norm": BN, "checkpoint_activations": False,
            "dilations": ((1,), (1, 2), *((1, 4),) * 4, *((1, 14),) * 7)},
        "SCTNet": {
            "in_channels": 3, "layer_nums": (2, 2, 2), "base_channels": 64, "spp_channels": 128, "num_heads": 8,
            "drop_rate": 0.0, "drop_path_rate": 0.1, "norm": BN, "checkpoint_activations": False},
        "STDCContextPathNet": {
            "last_in_channels": (1024, 512), "out_channels": 128, "ffm_in_channels": None, "ffm_out_channels": 256,
            "ffm_scale_factor": 4, "upsample_mode": "nearest", "align_corners": None, "norm": BN,
            "checkpoint_activations": False},
        "STDCNet": {
            "in_channels": 3, "channels": (32, 64, 256, 512, 1024), "bottleneck_type": "cat", "num_convs": 4,
            "with_final_conv": False, "count_include_pad": True, "norm": BN, "activation": RELU,
            "checkpoint_activations": False},
        "SwinTransformer": {
            "in_channels": 3, "embed_dims": 96, "patch_size": 4, "window_size": 7, "mlp_ratio": 4,
            "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24), "strides": (4, 2, 2, 2), "out_indices": ALL,
            "qkv_bias": True, "qk_scale": None, "patch_norm": True, "drop_rate": 0.0, "attn_drop_rate": 0.0,
            "drop_path_rate": 0.1, "use_abs_pos_embed": False, "pretrain_img_size": 224, "activation": GELU,
            "norm": Norm("LN"), "frozen_stages": -1, "checkpoint_activations": False},
        "HFBackbone": {"in_channels": None, "out_indices": None, "checkpoint_activations": False},
        "TIMM": TIMM,
        "TIMMBackbone": TIMM,
        "VisionTransformer": {
            "img_size": 224, "patch_size": 16, "patch_pad": "corner", "in_channels": 3, "embed_dims": 768,
            "num_layers": 12, "num_heads": 12, "mlp_ratio": 4, "out_origin": False, "out_indices": -1,
            "qkv_bias": True, "drop_rate": 0.0, "attn_drop_rate": 0.0, "drop_path_rate": 0.0, "with_cls_token": True,
            "output_cls_token": False, "norm": Norm("LN"), "activation": GELU, "patch_norm": False,
            "patch_bias": False, "pre_norm": False, "final_norm": False, "interpolate_mode": "bicubic",
            "frozen_exclude": ("all",), "checkpoint_activations": False},
        "VPD": {
            "pad_shape": None, "pad_val": 0.0, "class_embed_select": False, "num_class_embeddings": 27, "gamma": 1e-4,
            "attention_maps": ("up", "down"), "attention_stride": 16, "in_channels": 3,
            "first_stage_channels": 128, "first_stage_channel_mult": (1, 2, 4, 4),
            "first_stage_num_res_blocks": 2, "z_channels": 4, "embed_dim": 4, "model_channels": 320,
            "channel_mult": (1, 2, 4, 4), "num_res_blocks": 2, "attention_resolutions": (4, 2, 1), "num_heads": 8,
            "transformer_depth": 1, "context_dim": 768, "checkpoint_activations": False},
        "ViTAdapter": {
            "in_channels": 3, "interaction_indexes": None, "conv_channels": 64, "num_points": 4, "deform_num_heads": 6,
            "deform_ratio": 1.0, "ffn_ratio": 0.25, "extra_extractors": True, "add_trunk_levels": True,
            "prefix_tokens": True, "norm": BN, "drop_path_rate": None, "options": None,
            "checkpoint_activations": False},
        "PlainConvEncoder": {**NNUNET, "num_convs": (2,) * 8},
        "ResidualEncoder": {**NNUNET, "num_blocks": (1, 3, 4, 6, 6, 6, 6, 6)},
        "UNet": {
            "in_channels": 3, "base_channels": 64, "num_stages": 5, "strides": (1,) * 5, "enc_num_convs": (2,) * 5,
            "dec_num_convs": (2,) * 4, "downsamples": (True,) * 4, "enc_dilations": (1,) * 5,
            "dec_dilations": (1,) * 4, "upsample": "interpolation", "upsample_kernel_size": None,
            "upsample_conv_first": False, "upsample_align_corners": False, "norm": BN, "activation": RELU,
            "norm_eval": False, "checkpoint_activations": False},
    },
    "neck": {
        "Feature2Pyramid": {"rescales": (4, 2, 1, 0.5), "norm": BN},
        "ICNeck": {
            "in_channels": (64, 256, 256), "out_channels": 128, "norm": None, "activation": RELU,
            "align_corners": False},
        "FPN": {
            "in_strides": None, "start_level": 0, "end_level": -1, "add_extra_convs": False,
            "relu_before_extra_convs": False, "no_norm_on_lateral": False, "norm": None, "activation": None,
            "upsample_mode": "nearest"},
        "MLANeck": {"norm_layer": Norm("LN", eps=1e-6), "norm": None, "activation": None},
        "MultiLevelNeck": {"scales": (0.5, 1, 2, 4), "norm": None, "activation": None},
        "SimpleFeaturePyramid": {
            "out_channels": 256, "rescales": (4, 2, 1, 0.5), "in_index": -1, "norm": Norm("LN2d", eps=1e-6)},
        "JPU": {
            "in_channels": (512, 1024, 2048), "mid_channels": 512, "start_level": 0, "end_level": -1,
            "dilations": (1, 2, 4, 8), "align_corners": False, "norm": BN, "activation": RELU},
    },
    "head": {
        "ANNHead": {**HEAD, "in_index": (-2, -1), "query_scales": (1,), "key_pool_scales": (1, 3, 6, 8)},
        "CCHead": {**FULLY_CONVOLUTIONAL, "recurrence": 2},
        "DDRHead": {**HEAD, "in_index": (0, 1), "norm": BN},
        "RegSegHead": {
            "channels": 64, "fine_channels": 8, "in_index": (0, 1, 2), "dropout_ratio": 0.0, "norm": BN,
            "align_corners": False, "fusion_align_corners": None},
        "EfficientViTHead": {
            "in_index": (0, 1, 2), "num_blocks": 3, "expand_ratio": 4, "fused": False, "final_expand": 4,
            "dropout_ratio": 0.0, "norm": BN, "activation": Activation("HSwish"), "align_corners": False},
        "VWCityHead": {**SEVERAL_LEVELS, "channels": 512, "short_cut": False, "nheads": 1, "norm": BN},
        "VWHead": {**SEVERAL_LEVELS, "channels": 512, "short_cut": True, "nheads": 1, "norm": BN},
        "SCTHead": {"in_index": 0, "dropout_ratio": 0.1, "norm": BN, "align_corners": False},
        "GCNetHead": {**HEAD, "in_index": (0, 1), "norm": BN},
        "DAHead": ONE_LEVEL,
        "DNLHead": {
            **FULLY_CONVOLUTIONAL, "reduction": 2, "use_scale": True, "mode": "embedded_gaussian", "temperature": 0.05},
        "GCHead": {**FULLY_CONVOLUTIONAL, "ratio": 0.25, "pooling_type": "att", "fusion_types": ("channel_add",)},
        "ISAHead": {**ONE_LEVEL, "down_factor": (8, 8)},
        "NLHead": {**FULLY_CONVOLUTIONAL, "reduction": 2, "use_scale": True, "mode": "embedded_gaussian"},
        "APCHead": {**ONE_LEVEL, "pool_scales": (1, 2, 3, 6), "fusion": True},
        "ASPPHead": {**ONE_LEVEL, "dilations": (1, 6, 12, 18), "project": False},
        "DPTHead": {
            **SEVERAL_LEVELS, "norm": BN, "post_process_channels": (96, 192, 384, 768), "readout_type": "ignore"},
        "DepthwiseSeparableASPPHead": {**ONE_LEVEL, "dilations": (1, 6, 12, 18)},
        "DepthwiseSeparableFCNHead": {
            **ONE_LEVEL, "num_convs": 2, "kernel_size": 3, "concat_input": True, "dw_activation": None},
        "DMHead": {**ONE_LEVEL, "filter_sizes": (1, 3, 5, 7), "fusion": False},
        "EMAHead": {**ONE_LEVEL, "concat_input": True, "momentum": 0.1},
        "PIDHead": {**HEAD, "in_index": (0, 1, 2), "norm": BN},
        "STDCHead": {
            **ONE_LEVEL, "num_classes": 2, "input_transform": None, "num_convs": 2, "kernel_size": 3, "dilation": 1,
            "concat_input": True},
        "EncHead": {**HEAD, "in_index": (1, 2, 3), "num_codes": 32, "use_se_loss": True, "add_lateral": False},
        "EoMTHead": {
            "in_index": 0, "num_queries": 100, "num_blocks": 4, "num_upscales": 2, "annealing_start": None,
            "annealing_end": None},
        "PMTHead": {
            "in_index": (0, 1, 2, 3), "num_queries": 100, "num_blocks": 6, "num_heads": 16, "hidden_channels": 1024,
            "num_upscales": 2, "annealing_start": None, "annealing_end": None},
        "FCNHead": {
            **ONE_LEVEL, "input_transform": None, "num_convs": 2, "kernel_size": 3, "dilation": 1,
            "concat_input": True},
        "FPNHead": SEVERAL_LEVELS,
        "ImageClassHead": {
            "in_index": -1, "pooling": "avg", "dropout_ratio": 0.2, "in_tokens": False, "align_corners": False},
        "IterativeDecodeHead": {"num_stages": None},
        "LRASPPHead": {"in_index": (0, 1, 2), "branch_channels": (32, 64), **HEAD},
        "LinearHead": {"in_index": -1, "dropout_ratio": 0.1, "norm": BN, "align_corners": False},
        "LightHamHead": {
            "in_index": (1, 2, 3), "ham_channels": 512, "num_bases": 64, "train_steps": 6, "eval_steps": 7, **HEAD},
        "Mask2FormerHead": {
            **QUERIES, "num_layers": 9, "dropout": 0.0, "encoder_layers": 6, "encoder_heads": 8, "encoder_points": 4,
            "encoder_hidden": 1024},
        "MaskFormerHead": {**QUERIES, "num_layers": 6, "dropout": 0.1, "enforce_decoder_input_project": False},
        "OCRHead": {**ONE_LEVEL, "input_transform": None},
        "PSAHead": {
            **ONE_LEVEL, "psa_type": "bi-direction", "compact": False, "shrink_factor": 2, "normalization_factor": 1.0,
            "psa_softmax": True},
        "PPLiteSegHead": {
            **HEAD, "in_index": (0, 1, 2), "channels": (32, 64, 128), "aux_channels": 64, "context_channels": 128,
            "pool_scales": (1, 2, 4), "dropout_ratio": 0.0, "norm": BN},
        "PSPHead": {**ONE_LEVEL, "pool_scales": (1, 2, 3, 6)},
        "PointHead": {
            "in_index": (0,), "num_fcs": 3, "coarse_pred_each_layer": True, "dropout_ratio": 0.1, "activation": RELU,
            "align_corners": False, "num_points": 2048, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75,
            "scale_factor": 2, "subdivision_steps": 2, "subdivision_num_points": 8196},
        "SETRMLAHead": {**SEVERAL_LEVELS, "mla_channels": 128, "up_scale": 4},
        "SETRUPHead": {
            **ONE_LEVEL, "num_convs": 1, "up_scale": 4, "kernel_size": 3, "norm_layer": Norm("LN", eps=1e-6)},
        "SegformerHead": {
            **SEVERAL_LEVELS, "linear_projection": False, "fusion_level": 0, "logits_align_corners": None},
        "SegmenterMaskTransformerHead": {
            "in_index": -1, "mlp_ratio": 4, "drop_path_rate": 0.1, "drop_rate": 0.0, "attn_drop_rate": 0.0,
            "qkv_bias": True, "activation": GELU, "norm": Norm("LN"), "init_std": 0.02, "align_corners": False},
        "SideAdapterCLIPHead": {
            "clip_channels": 768, "in_index": (0, 1, 2, 3), "image_channels": 3, "embed_dims": 240, "patch_size": 16,
            "patch_bias": True, "num_queries": 100, "fusion_index": (0, 1, 2, 3), "num_layers": 8, "num_heads": 6,
            "mlp_ratio": 4, "norm": Norm("LN"), "bias_heads": 12, "bias_layers": 1, "mask_channels": 256,
            "mask_hidden": 256, "mask_layers": 3, "rescale_bias": True, "clip_layers": 3, "clip_heads": 12,
            "clip_mlp_ratio": 4, "clip_qkv_bias": True, "clip_norm": Norm("LN"), "clip_activation": GELU,
            "out_dims": 512, "final_norm": True, "deep_supervision_idxs": (7,), "frozen_exclude": (),
            "align_corners": False},
        "LinknetHead": {
            "in_index": (0, 1, 2, 3, 4), "num_blocks": 5, "channels": 32, "dropout_ratio": 0.0, "norm": BN,
            "activation": RELU, "align_corners": False},
        "NNUNetHead": {
            "in_index": tuple(range(8)), "kernel_sizes": 3, "strides": 2, "num_convs": 2, "align_corners": False},
        "MANetHead": {**UNETS, "attention_channels": 64},
        "PANHead": {
            **SEVERAL_LEVELS, "channels": 32, "interpolation": "bilinear", "dropout_ratio": 0.0, "norm": BN,
            "align_corners": True},
        "SmpASPPHead": {
            **SEVERAL_LEVELS, "in_index": (0, 3), "channels": 256, "c1_channels": 48, "dilations": (12, 24, 36),
            "separable": True, "dropout_ratio": 0.5, "norm": BN, "align_corners": True},
        "SmpDPTHead": {
            **SEVERAL_LEVELS, "feature_strides": (16, 16, 16, 16), "channels": 256,
            "post_process_channels": (256, 512, 1024, 1024), "readout_type": "project", "norm": BN,
            "align_corners": True},
        "SmpFPNHead": {
            **SEVERAL_LEVELS, "pyramid_channels": 256, "channels": 128, "merge": "add", "interpolation": "nearest",
            "dropout_ratio": 0.2, "norm": Norm("GN", num_groups=32), "align_corners": True},
        "SmpPSPHead": {
            **ONE_LEVEL, "channels": 512, "pool_scales": (1, 2, 3, 6), "dropout_ratio": 0.2, "norm": BN,
            "align_corners": True},
        "UNetPlusPlusHead": {**UNETS, "attention": None},
        "UNetHead": {**UNETS, "center": False, "attention": None},
        "UPerHead": {
            **SEVERAL_LEVELS, "pool_scales": (1, 2, 3, 6), "level_norms": False, "logits_align_corners": None},
        "VPDDepthHead": {
            "in_channels": (320, 640, 1280, 1280), "max_depth": 10.0, "embed_dim": 192, "feature_dim": 1536,
            "num_deconv_layers": 3, "num_deconv_filters": (32, 32, 32), "fmap_border": 0, "align_corners": False},
    },
    "text_encoder": {
        "CLIPTextEncoder": {
            "templates": "vild", "total_vocab_size": 49408, "context_length": 77, "embed_dims": 512,
            "output_dims": 512, "num_layers": 12, "num_heads": 8, "mlp_ratio": 4, "cache_feature": True, "cat_bg": True,
            "norm": Norm("LN")},
    },
    "head_part": {
        "KernelUpdateHead": {
            "in_channels": 256, "out_channels": None, "num_heads": 8, "num_mask_fcs": 3, "feedforward_channels": 2048,
            "dropout": 0.0, "feat_transform": False, "activation": RELU, "ffn_activation": RELU},
        "KernelUpdator": {
            "in_channels": 256, "feat_channels": 64, "out_channels": None, "norm": Norm("LN"), "activation": RELU},
    },
    "loss": {
        "BatchDiceLoss": {"background": 0, "eps": 1e-5, "ignore_index": 255},
        "CrossEntropyLoss": {
            **PIXELS, "use_sigmoid": False, "avg_non_ignore": False, "label_smoothing": 0.0, "reduction": "mean"},
        "DiceLoss": {
            "use_sigmoid": True, "activate": True, "naive_dice": False, "eps": 1e-3, "ignore_index": 255,
            "ignored": "left_out", "reduction": "mean"},
        "EachClass": {"ignore_index": 255},
        "RightAnswers": {"ignore_index": 255},
        "FocalLoss": {**PIXELS, "use_sigmoid": True, "gamma": 2.0, "alpha": 0.5, "reduction": "mean"},
        "LovaszLoss": {
            **PIXELS, "loss_type": "multi_class", "classes": "present", "per_image": False, "reduction": "mean"},
        "BoundaryLoss": {"ignore_index": 255},
        "HausdorffDistanceLoss": PIXELS,
        "HuasdorffDisstanceLoss": PIXELS,
        "KLDivLoss": {"temperature": 1.0, "reduction": "mean"},
        "SiLogLoss": {"eps": 1e-6, "reduction": "mean"},
        "MatthewsLoss": {"eps": 1e-5, "ignore_index": 255},
        "OhemCrossEntropy": {**PIXELS, "thres": 0.7, "min_kept": 100_000},
        "OverlapLoss": {
            "alpha": 1.0, "beta": 1.0, "gamma": 1.0, "smooth": 0.0, "log": False, "classes": None, "class_weight": None,
            "eps": 1e-7, "ignore_index": 255},
        "TverskyLoss": {**PIXELS, "alpha": 0.3, "beta": 0.7, "smooth": 1.0},
    },
    "objective": {
        "SetCriterion": {
            **PIXELS, "loss_weights": (2.0, 5.0, 5.0), "match_weights": (2.0, 5.0, 5.0), "mask_loss": "cross_entropy",
            "focal_alpha": 0.25, "focal_gamma": 2.0, "dice_eps": 1.0, "num_points": 12544, "oversample_ratio": 3.0,
            "importance_ratio": 0.75, "names": ("loss_cls", "loss_mask", "loss_dice"), "layers": None,
            "multi_label": False},
    },
    "sampler": {"OHEMPixelSampler": {"thresh": None, "min_kept": 100_000, "ignore_index": 255}},
    "metric": {
        "CityscapesMetric": {"num_classes": None, "classes": None, "ignore_index": 255},
        "DepthMetric": {
            "depth_metrics": None, "min_depth_eval": 0.0, "max_depth_eval": float("inf"), "crop_type": None},
        "Evaluator": {"prefixes": None},
        "MultiLabelMetric": {"classes": None, "ignore_index": 255, "metrics": ("mIoU",)},
        "IoUMetric": {
            "classes": None, "ignore_index": 255, "metrics": ("mIoU",), "beta": 1.0, "nan_to_num": None,
            "groups": None, "empty_images": "one"},
    },
    "norm": {
        "Norm": {"eps": None, "momentum": None, "num_groups": None, "affine": None, "requires_grad": True},
    },
    "activation": {"Activation": {"inplace": True, "negative_slope": None, "num_parameters": None}},
}  # fmt: skip
"""kind -> name -> argument -> default; arguments that a config must write are not here."""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in DEFAULTS.items() for name in names])
def test_defaults_are_the_originals(kind: str, name: str) -> None:
    parameters = inspect.signature(catalog.resolve(kind, name)).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    assert found == DEFAULTS[kind][name]


def test_every_part_of_the_catalogue_has_a_line() -> None:
    for kind, table in DEFAULTS.items():
        assert sorted(table) == sorted(catalog.TABLE[kind]), f"say what every {kind} is without arguments"
