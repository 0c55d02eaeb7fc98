"""What every backbone, neck, head and network of the catalogue owes. A new one inherits it by a line in a table below.

The line has the arguments of its constructor, as few and as small as they can be. `promises.py` has what is owed.
"""

from __future__ import annotations

import inspect
import itertools
import shutil
from collections.abc import Callable
from typing import Any

import promises
import pytest
from cases import LEVELS, OPEN, PLAIN, PLAIN_WITH_TOKENS, PREFIXED, VECTORS, Case, Tables, Use, build

from intarsia import catalog
from intarsia.layers.norm import BN, Norm

BACKBONES: dict[str, dict[str, Any]] = {
    "BEiT": {"img_size": (64, 96), "embed_dims": 8, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2,
             "out_indices": (0, 1)},
    "BiSeNetV1": {"backbone": Use("backbone", "ResNet"), "out_channels": 32,
                  "spatial_channels": (8, 8, 8, 16), "context_channels": (16, 32, 64)},
    "BiSeNetV2": {"detail_channels": (8, 8, 16), "semantic_channels": (4, 8, 8, 16), "bga_channels": 16},
    "CGNet": {"num_channels": (4, 8, 16), "num_blocks": (2, 2), "reductions": (4, 8)},
    "DDRNet": {"channels": 4, "ppm_channels": 4},
    "ERFNet": {"enc_downsample_channels": (8, 12, 16), "enc_stage_non_bottlenecks": (1, 4),
               "enc_non_bottleneck_channels": (12, 16), "dec_upsample_channels": (12, 8),
               "dec_non_bottleneck_channels": (12, 8), "dropout_ratio": 0.0},
    "ConvNeXt": {"arch": {"depths": (1, 1, 2, 1), "channels": (8, 12, 16, 24)}, "out_indices": (0, 1, 2, 3)},
    "FastSCNN": {},
    "GCNet": {"channels": 4, "ppm_channels": 4, "num_blocks_per_stage": (1, 2, (2, 2), (3, 2), (2, 2))},
    "HFBackbone": {"config": {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4,
                              "num_attention_heads": 2, "patch_size": 16, "image_size": 64, "layerscale_value": 0.5}},
    "HRNet": {"channels": ((4,), (4, 8), (4, 8, 16), (4, 8, 16, 32)), "num_modules": (1, 1, 2, 1),
              "num_blocks": ((1,), (1, 1), (1, 1, 1), (1, 1, 1, 1))},
    "MixVisionTransformer": {"embed_dims": 8, "num_layers": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4)},
    "ICNet": {"backbone": Use("backbone", "ResNet", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
              "layer_channels": (16, 64), "light_branch_middle_channels": 4, "psp_out_channels": 8,
              "out_channels": (8, 12, 16)},
    "MSCAN": {"embed_dims": (8, 8, 12, 16), "depths": (1, 1, 2, 1)},
    "MobileNetV2": {"widen_factor": 0.1},
    "MobileNetV3": {},
    "ResNeSt": {"depth": 50, "base_channels": 4, "stem_channels": 8, "strides": (1, 2, 2, 1),
                "dilations": (1, 1, 1, 2), "contract_dilation": True},
    "PlainConvEncoder": {"channels": (4, 6, 8), "kernel_sizes": (3, (1, 3), 3), "strides": (1, 2, 2),
                         "num_convs": (1, 2, 1)},
    "ResidualEncoder": {"channels": (4, 6, 8), "kernel_sizes": (3, (1, 3), 3), "strides": (1, 2, 2),
                        "num_blocks": (1, 2, 1)},
    "PIDNet": {"channels": 4, "ppm_channels": 4, "num_branch_blocks": 2},
    "MAE": {"img_size": (64, 96), "embed_dims": 8, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2,
            "out_indices": (0, 1)},
    "PCPVT": {"embed_dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1), "num_heads": (1, 2, 3, 4), "qkv_bias": True},
    "PoolFormer": {"arch": {"layers": (1, 1, 2, 1), "embed_dims": (8, 12, 16, 24)}, "frozen_stages": -1,
                   "out_indices": (0, 2, 4, 6)},
    "SVT": {"embed_dims": (8, 16, 24, 32), "depths": (2, 1, 2, 1), "num_heads": (1, 2, 3, 4),
            "window_sizes": (7, 5, 3, 2), "qkv_bias": True, "drop_path_rate": 0.0},
    "ResNeXt": {"depth": 50, "base_channels": 16, "base_width": 2, "groups": 4, "stem_channels": 16},
    "ResNet": {"depth": 18, "base_channels": 8, "stem_channels": 8},
    "ResNetV1c": {"depth": 50, "base_channels": 4, "stem_channels": 8, "strides": (1, 2, 1, 1),
                  "dilations": (1, 1, 2, 4), "contract_dilation": True},
    "ResNetV1d": {"depth": 18, "base_channels": 8, "stem_channels": 8, "strides": (1, 2, 2, 1),
                  "dilations": (1, 1, 1, 2)},
    "RegSeg": {"dilations": ((1,), (1, 2), (1, 3))},
    "SCTNet": {"base_channels": 4, "spp_channels": 4, "drop_path_rate": 0.0},
    "STDCContextPathNet": {"backbone": Use("backbone", "STDCNet"), "last_in_channels": (32, 24), "out_channels": 8,
                           "ffm_out_channels": 16},
    "STDCNet": {"stdc_type": "STDCNet1", "channels": (4, 8, 16, 24, 32)},
    "SwinTransformer": {"embed_dims": 8, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4), "window_size": 2,
                        "drop_path_rate": 0.0},
    "TIMM": {"model_name": "test_convnext"},
    "TIMMBackbone": {"model_name": "test_resnet"},
    "ViTAdapter": {"model_name": "test_vit", "conv_channels": 8, "deform_num_heads": 2},
    "VisionTransformer": {"img_size": (64, 96), "embed_dims": 8, "num_layers": 4, "num_heads": 2, "mlp_ratio": 2,
                          "out_indices": (0, 1, 2, 3)},
    "UNet": {"base_channels": 4},
    "VPD": {"first_stage_channels": 32, "first_stage_channel_mult": (1, 1, 1, 2), "first_stage_num_res_blocks": 1,
            "model_channels": 64, "channel_mult": (1, 1, 1, 2), "num_heads": 4, "context_dim": 16,
            "num_class_embeddings": 3},
}  # fmt: skip
NECKS: dict[str, dict[str, Any]] = {
    "FPN": {"in_channels": (8, 16, 24, 32), "out_channels": 8, "num_outs": 4},
    "ICNeck": {"in_channels": (8, 16, 24), "out_channels": 8, "norm": BN},
    "Feature2Pyramid": {"embed_dim": 8},
    "MLANeck": {"in_channels": (8, 8, 8, 8), "out_channels": 8},
    "MultiLevelNeck": {"in_channels": (8, 8, 8, 8), "out_channels": 8, "scales": (4, 2, 1, 0.5)},
    "JPU": {"in_channels": (8, 16, 24, 32), "mid_channels": 8, "start_level": 1, "dilations": (1, 2)},
    "SimpleFeaturePyramid": {"embed_dim": 8, "out_channels": 8},
}
HEADS: dict[str, dict[str, Any]] = {
    "ANNHead": {"in_channels": (16, 24), "in_index": (1, 2), "channels": 8, "project_channels": 6, "num_classes": 5,
                "query_scales": (1, 2), "key_pool_scales": (1, 2), "norm": BN},
    "CCHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "DAHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "pam_channels": 4, "norm": BN},
    "DNLHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "APCHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "ASPPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "dilations": (1, 2, 3), "norm": BN},
    "DDRHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "in_index": (1, 3)},
    "DPTHead": {"in_channels": (8, 8, 8, 8), "channels": 8, "num_classes": 5, "post_process_channels": (4, 6, 8, 10),
                "readout_type": "project"},
    "DepthwiseSeparableASPPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "c1_in_channels": 8,
                                   "c1_channels": 4, "dilations": (1, 2, 3), "norm": BN},
    "DepthwiseSeparableFCNHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "DMHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "EMAHead": {"in_channels": 32, "channels": 8, "ema_channels": 12, "num_bases": 4, "num_stages": 3,
                "num_classes": 5, "norm": BN},
    "EfficientViTHead": {"in_channels": (8, 16, 24), "channels": 6, "num_classes": 5, "num_blocks": 2,
                         "dropout_ratio": 0.1},
    "EncHead": {"in_channels": (16, 24, 32), "channels": 8, "num_classes": 5, "num_codes": 4, "add_lateral": True,
                "norm": BN},
    "EoMTHead": {"in_channels": 8, "num_classes": 5, "num_queries": 7, "num_blocks": 2},
    "PMTHead": {
        "in_channels": (8, 8), "in_index": (0, 1), "num_classes": 5, "num_queries": 7, "num_blocks": 2, "num_heads": 2,
        "hidden_channels": 12},
    "FCNHead": {"in_channels": 16, "channels": 8, "num_classes": 5, "in_index": 1, "norm": BN},
    "FPNHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "num_classes": 5, "feature_strides": (4, 8, 16, 32),
                "norm": BN},
    "GCHead": {"in_channels": 32, "channels": 8, "num_classes": 5,
               "fusion_types": ("channel_add", "channel_mul"), "norm": BN},
    "GCNetHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "in_index": (1, 3)},
    "ImageClassHead": {"in_channels": 32, "num_classes": 5},
    "ISAHead": {"in_channels": 16, "channels": 8, "isa_channels": 4, "num_classes": 5, "in_index": 1,
                "down_factor": (3, 4), "norm": BN},
    "IterativeDecodeHead": {
        "kernel_generate_head": Use("head", "FCNHead", channels=16),
        "kernel_update_head": [Use("head_part", "KernelUpdateHead")]},
    "LRASPPHead": {"in_channels": (8, 16, 32), "in_index": (0, 1, 3), "channels": 8, "num_classes": 5, "norm": BN},
    "LightHamHead": {"in_channels": (16, 24, 32), "channels": 8, "num_classes": 5, "ham_channels": 16, "num_bases": 4,
                     "norm": BN},
    "LinearHead": {"in_channels": (8, 16, 24), "in_index": (0, 1, 2), "num_classes": 5},
    "Mask2FormerHead": {"in_channels": (8, 16, 24, 32), "num_classes": 5, "channels": 32, "mask_channels": 16,
                        "num_queries": 7, "num_heads": 4, "num_layers": 3, "hidden": 16, "encoder_layers": 1,
                        "encoder_heads": 2, "encoder_points": 2, "encoder_hidden": 16,
                        "norm": Norm("GN", num_groups=8)},
    "MaskFormerHead": {"in_channels": (8, 16, 24, 32), "num_classes": 5, "channels": 32, "mask_channels": 16,
                       "num_queries": 7, "num_heads": 4, "num_layers": 2, "hidden": 16,
                       "norm": Norm("GN", num_groups=8), "enforce_decoder_input_project": True},
    "NLHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "NNUNetHead": {"in_channels": (8, 16, 24, 32), "in_index": (0, 1, 2, 3), "num_classes": 5},
    "OCRHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "ocr_channels": 4, "num_classes": 5,
                "in_index": (0, 1, 2, 3), "input_transform": "resize_concat", "norm": BN},
    "PIDHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "in_index": (1, 1, 3)},
    "PPLiteSegHead": {"in_channels": (8, 16, 24), "channels": (4, 6, 8), "num_classes": 5, "aux_channels": 4,
                      "context_channels": 8, "dropout_ratio": 0.1},
    "PSAHead": {"in_channels": 16, "channels": 8, "num_classes": 5, "in_index": 1, "mask_size": (5, 8), "norm": BN},
    "PointHead": {"in_channels": (8,), "channels": 8, "num_classes": 5, "num_points": 32,
                  "subdivision_num_points": 64},
    "PSPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "RegSegHead": {"in_channels": (8, 16, 24), "channels": 6, "fine_channels": 4, "num_classes": 5,
                   "dropout_ratio": 0.1},
    "VWCityHead": {"in_channels": (8, 16, 24, 32), "channels": 64, "num_classes": 5, "nheads": 2},
    "VWHead": {"in_channels": (8, 16, 24, 32), "channels": 64, "num_classes": 5, "nheads": 2},
    "SCTHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "in_index": -1},
    "SETRMLAHead": {"in_channels": (8, 8, 8, 8), "channels": 16, "num_classes": 5, "mla_channels": 4, "norm": BN},
    "SETRUPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "num_convs": 2, "up_scale": 2, "norm": BN},
    "STDCHead": {"in_channels": 32, "channels": 8, "num_classes": 2, "norm": BN},
    "SegformerHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "num_classes": 5, "norm": BN},
    "SegmenterMaskTransformerHead": {"in_channels": 32, "num_layers": 2, "num_heads": 2, "embed_dims": 8,
                                     "num_classes": 5, "mlp_ratio": 2, "drop_path_rate": 0.0},
    "SideAdapterCLIPHead": {"num_classes": 5, "clip_channels": 8, "embed_dims": 12, "num_queries": 7, "num_layers": 4,
                            "num_heads": 2, "mlp_ratio": 2, "bias_heads": 2, "mask_channels": 8, "mask_hidden": 8,
                            "clip_layers": 2, "clip_heads": 2, "clip_mlp_ratio": 2, "out_dims": VECTORS,
                            "deep_supervision_idxs": (3,)},
    "LinknetHead": {"in_channels": (8, 16, 24, 32), "in_index": (0, 1, 2, 3), "channels": 8, "num_classes": 5,
                    "dropout_ratio": 0.1, "norm": BN},
    "MANetHead": {"in_channels": (8, 16, 24, 32), "in_index": (0, 1, 2, 3), "decoder_channels": (16, 12, 8, 8, 4),
                  "attention_channels": 4, "num_classes": 5, "dropout_ratio": 0.1, "norm": BN},
    "PANHead": {"in_channels": (8, 16), "in_index": (0, 1), "channels": 8, "num_classes": 5, "dropout_ratio": 0.1,
                "norm": BN},
    "SmpASPPHead": {"in_channels": (8, 32), "in_index": (0, 3), "channels": 8, "num_classes": 5, "c1_channels": 4,
                    "dropout_ratio": 0.1, "norm": BN},
    "SmpDPTHead": {"in_channels": (8, 8, 8, 8), "channels": 8, "num_classes": 5, "norm": BN,
                   "post_process_channels": (4, 8, 8, 16)},
    "SmpFPNHead": {"in_channels": (8, 16, 24, 32), "pyramid_channels": 8, "channels": 32, "num_classes": 5,
                   "dropout_ratio": 0.1, "norm": BN},
    "SmpPSPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "dropout_ratio": 0.1, "norm": BN},
    "UNetPlusPlusHead": {"in_channels": (8, 16, 24, 32), "in_index": (0, 1, 2, 3),
                         "decoder_channels": (16, 12, 8, 8, 4), "num_classes": 5, "dropout_ratio": 0.1, "norm": BN},
    "UNetHead": {"in_channels": (8, 16, 24, 32), "in_index": (0, 1, 2, 3), "decoder_channels": (16, 12, 8, 8, 4),
                 "num_classes": 5, "center": True, "dropout_ratio": 0.1, "norm": BN},
    "UPerHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "num_classes": 5, "norm": BN},
    "VPDDepthHead": {"in_channels": (8, 16, 24, 32), "embed_dim": 16, "feature_dim": 128,
                     "num_deconv_filters": (8, 8, 8)},
}  # fmt: skip
HEAD_PARTS: dict[str, dict[str, Any]] = {
    "KernelUpdateHead": {"kernel_updator": Use("head_part", "KernelUpdator"),
                         "in_channels": 16, "num_heads": 4, "feedforward_channels": 8, "feat_transform": True},
    "KernelUpdator": {"in_channels": 8, "feat_channels": 4},
}  # fmt: skip
TEXT_ENCODERS: dict[str, dict[str, Any]] = {
    "CLIPTextEncoder": {"vocabulary": ("road", "tree", "potted plant", "cat", "sky"), "templates": ("a {}.",),
                        "context_length": 12, "embed_dims": 8, "output_dims": VECTORS, "num_layers": 2, "num_heads": 2,
                        "mlp_ratio": 2},
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "CascadeEncoderDecoder": {
        "backbone": Use("backbone", "ResNet"),
        "decode_head": [Use("head", "FCNHead", in_channels=32, in_index=2),
                        Use("head", "OCRHead", in_channels=(8, 16, 32, 64), ocr_channels=16)]},
    "DepthEstimator": {
        "backbone": Use("backbone", "ResNet"),
        "decode_head": Use("head", "VPDDepthHead", in_channels=(8, 16, 32, 64))},
    "EncoderDecoder": {
        "backbone": Use("backbone", "ResNet"),
        "decode_head": Use("head", "FCNHead", in_channels=64, in_index=-1),
        "auxiliary_head": [Use("head", "FCNHead", in_channels=32, in_index=2)]},
    "MaskClassifier": {
        "backbone": Use("backbone", "ResNet"),
        "decode_head": Use("head", "MaskFormerHead", in_channels=(8, 16, 32, 64))},
    "MultimodalEncoderDecoder": {
        "image_encoder": Use("backbone", "VisionTransformer", output_cls_token=True),
        "text_encoder": Use("text_encoder", "CLIPTextEncoder"),
        "decode_head": Use("head", "SideAdapterCLIPHead"),
        "encoder_resolution": 0.5},
}  # fmt: skip
NAMING = ("SideAdapterCLIPHead",)
"""Heads that also read the image, and vectors of the classes."""
REFINING = ("OCRHead", "PointHead")
"""Heads that also read the logits of the head before, at the size of the first level."""
READS = {
    "ICNeck": LEVELS[:3],
    "DPTHead": PLAIN_WITH_TOKENS,
    "SmpDPTHead": PLAIN_WITH_TOKENS,
    "EoMTHead": OPEN,
    "PMTHead": PREFIXED,
    "SideAdapterCLIPHead": PLAIN_WITH_TOKENS,
    "Feature2Pyramid": PLAIN,
    "MLANeck": PLAIN,
    "MultiLevelNeck": PLAIN,
    "SETRMLAHead": PLAIN,
    "SimpleFeaturePyramid": PLAIN,
}
"""Necks and heads that read other levels than most."""
ATTENTION = {"embed_dims": 32, "num_heads": 4}
POSITIONS = {"num_feats": 16, "normalize": True}
GROUPS = {"type": "GN", "num_groups": 8}
MASKS: dict[str, Any] = {"in_channels": [8, 16, 24, 32], "num_classes": 5, "feat_channels": 32, "out_channels": 16,
                         "num_queries": 7, "positional_encoding": POSITIONS}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "Mask2FormerHead": {
        "type": "Mask2FormerHead", **MASKS,
        "pixel_decoder": {
            "type": "mmdet.MSDeformAttnPixelDecoder", "norm_cfg": GROUPS, "positional_encoding": POSITIONS,
            "encoder": {"num_layers": 1, "layer_cfg": {
                "self_attn_cfg": {"embed_dims": 32, "num_heads": 2, "num_levels": 3, "num_points": 2, "dropout": 0.0},
                "ffn_cfg": {"embed_dims": 32, "feedforward_channels": 16}}}},
        "transformer_decoder": {"num_layers": 3, "layer_cfg": {
            "self_attn_cfg": ATTENTION, "cross_attn_cfg": ATTENTION,
            "ffn_cfg": {"embed_dims": 32, "feedforward_channels": 16}}}},
    "MaskFormerHead": {
        "type": "MaskFormerHead", **MASKS, "enforce_decoder_input_project": True,
        "pixel_decoder": {"type": "mmdet.PixelDecoder", "norm_cfg": GROUPS},
        "transformer_decoder": {"num_layers": 2, "layer_cfg": {
            "self_attn_cfg": {**ATTENTION, "attn_drop": 0.1, "proj_drop": 0.1},
            "cross_attn_cfg": {**ATTENTION, "attn_drop": 0.1, "proj_drop": 0.1},
            "ffn_cfg": {"embed_dims": 32, "feedforward_channels": 16, "ffn_drop": 0.1}}}},
}  # fmt: skip
CONFIGS["SideAdapterCLIPHead"] = {
    "type": "SideAdapterCLIPHead", "num_classes": 5, "deep_supervision_idxs": [3],
    "san_cfg": {
        "clip_channels": 8, "embed_dims": 12, "num_queries": 7,
        "cfg_encoder": {"num_encode_layer": 4, "num_heads": 2, "mlp_ratio": 2},
        "cfg_decoder": {"num_heads": 2, "num_layers": 1, "embed_channels": 8, "mlp_channels": 8, "num_mlp": 3,
                        "rescale": True}},
    "maskgen_cfg": {"sos_token_num": 7, "num_layers": 2, "embed_dims": 8, "num_heads": 2, "mlp_ratio": 2,
                    "out_dims": VECTORS},
    "loss_decode": [
        {"type": "CrossEntropyLoss", "loss_name": "loss_cls_ce"},
        {"type": "CrossEntropyLoss", "loss_name": "loss_mask_ce", "use_sigmoid": True},
        {"type": "DiceLoss", "loss_name": "loss_mask_dice", "naive_dice": True}],
}  # fmt: skip
CONFIGS["MultimodalEncoderDecoder"] = {
    "type": "MultimodalEncoderDecoder",
    "image_encoder": {"type": "VisionTransformer", **BACKBONES["VisionTransformer"], "output_cls_token": True},
    "text_encoder": {"type": "CLIPTextEncoder", **TEXT_ENCODERS["CLIPTextEncoder"]},
    "decode_head": CONFIGS["SideAdapterCLIPHead"],
    "encoder_resolution": 0.5,
}
CONFIGS["MaskClassifier"] = {
    "type": "EncoderDecoder",
    "backbone": {"type": "ResNet", **BACKBONES["ResNet"]},
    "decode_head": {**CONFIGS["MaskFormerHead"], "in_channels": [8, 16, 32, 64]},
}
CROSS_ENTROPY, BOUNDARY = {"type": "CrossEntropyLoss"}, {"type": "BoundaryLoss"}
CONFIGS["DDRHead"] = {"type": "DDRHead", **HEADS["DDRHead"], "loss_decode": [CROSS_ENTROPY, CROSS_ENTROPY]}
CONFIGS["GCNetHead"] = {"type": "GCNetHead", **HEADS["GCNetHead"], "loss_decode": [CROSS_ENTROPY, CROSS_ENTROPY]}
CONFIGS["PIDHead"] = {
    "type": "PIDHead", **HEADS["PIDHead"], "loss_decode": [CROSS_ENTROPY, CROSS_ENTROPY, BOUNDARY, CROSS_ENTROPY],
}  # fmt: skip
"""Parts that a config of MMSegmentation writes otherwise than by the arguments of the constructor."""

ONE_VALUE = ("it normalises a map of one pixel, over the images of a batch", "Expected more than 1 value per channel")
ONE_CHANNEL = ("its groups of one channel have one value at one pixel; published ones have 4", ONE_VALUE[1])
ONE_CELL = (
    "of images up to 576 pixels the pooling makes maps of one cell, which torch.export takes for something special",
    r"to be <= 128|// 128 != 1",  # before torch 2.14, and since
)
UNDONE = "a shift before a linear layer with a batch norm behind it, which takes it out again"
COMPARED = "a shift that is the same for all pixels that a softmax compares, which takes it out again"
COMPARED_OR_UNDONE = f"{COMPARED}; and {UNDONE}"
EXCEPTIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("APCHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("ASPPHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("BiSeNetV1", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("BiSeNetV2", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("DDRNet", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("DepthwiseSeparableASPPHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("FastSCNN", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("GCNet", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("GCNet", "is_exported_for_any_size"): ONE_CELL,
    ("GCNet", "gives_every_parameter_a_gradient"): (
        UNDONE, r": ((stem|(semantic|detail)_branch_layers)\.[\w.]+\.conv1\.bn\.bias(, |$)|"
                r"semantic_branch_layers\.2\.1\.path_[\w.]+\.bias(, |$))+$"),
    ("ICNet", "gives_what_it_says"): ("its pooling keeps the corner, so that its maps are larger by a pixel", r"5, 7"),
    ("ICNet", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("ConvNeXt", "gives_what_it_says"): (
        "patches that do not fit into an image of odd size are left out, as published scores have it", r"16, 24\)"),
    ("HFBackbone", "gives_every_parameter_a_gradient"): (
        COMPARED, r": (encoder\.layer\.\d\.attention\.(attention\.key|k_proj)\.bias(, |$)){4}$"),
    ("TIMM", "gives_what_it_says"): (
        "patches that do not fit into an image of odd size are left out, as ConvNeXt of timm has it", r"64, 2, 3\)"),
    ("TIMMBackbone", "computes_the_same_when_checkpointed"): (
        "timm counts a batch twice when it computes batch norms again", "has batch norms"),
    ("PoolFormer", "gives_what_it_says"): (
        "patches that do not fit into an image of odd size are left out, as published scores have it", r"16, 24\)"),
    ("PoolFormer", "gives_every_parameter_a_gradient"): (
        "pooling subtracts the input, and with it a shift of all pixels", r": (network\.\d\.\d\.norm1\.bias(, )?){5}$"),
    ("Feature2Pyramid", "gives_every_parameter_a_gradient"): (UNDONE, r": upsample_4x\.0\.bias$"),
    ("Feature2Pyramid", "gives_what_it_says"): (
        "patches at the border reach beyond an image of odd size, and so do levels made of them", r"\(2, 8, 20, 28\)"),
    ("MultiLevelNeck", "gives_what_it_says"): (
        "patches at the border reach beyond an image of odd size, and so do levels made of them", r"\(2, 8, 20, 28\)"),
    ("ViTAdapter", "gives_every_parameter_a_gradient"): (UNDONE, r": spm\.fc1\.bias, up\.bias$"),
    ("SimpleFeaturePyramid", "gives_what_it_says"): (
        "patches at the border reach beyond an image of odd size, and so do levels made of them", r"\(2, 8, 20, 28\)"),
    ("PIDNet", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("PPLiteSegHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("PSPHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("ResNeSt", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("SCTNet", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("SCTHead", "gives_every_parameter_a_gradient"): (UNDONE, r": conv1\.bias$"),
    ("VWCityHead", "gives_every_parameter_a_gradient"): (UNDONE, r": (attn\.\d\.out_proj\.bias(, |$)){3}$"),
    ("VWHead", "gives_every_parameter_a_gradient"): (
        COMPARED_OR_UNDONE, r": (linear_c\d\.proj\.bias, ){3}"
        r"(attn\.\d\.(g\.conv|conv_out\.bn|phi\.conv)\.bias, ){9}linear_c1\.proj\.bias$"),
    ("VWHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("SCTNet", "is_exported_for_any_size"): ONE_CELL,
    ("SCTNet", "gives_every_parameter_a_gradient"): (
        UNDONE, r": ((conv1\.\d|layer\d\.\d\.(conv\d|downsample\.0)|convdown4\.0|layer5\.mlp_l\.conv2|"
                r"spp\.[\w.]+)\.bias(, |$))+$"),
    ("STDCContextPathNet", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("UPerHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("BiSeNetV2", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (semantic\.stage\d\.0\.shortcut\.0\.depthwise_conv\.bn\.bias, ){3}"
                r"semantic\.stage4_CEBlock\.gap\.1\.bias$"),
    ("EfficientViTHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (inputs\.\d\.bn\.bias, ){3}(middle\.\d\.point_conv\.bn\.bias(, |$)){2}$"),
    ("DepthwiseSeparableFCNHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (convs\.\d\.depthwise_conv\.bn\.bias, ){2}conv_cat\.depthwise_conv\.bn\.bias$"),
    ("CCHead", "gives_every_parameter_a_gradient"): (COMPARED, r": cca\.key_conv\.bias$"),
    ("DAHead", "gives_every_parameter_a_gradient"): (COMPARED, r": pam\.key_project\.bias$"),
    ("DNLHead", "gives_every_parameter_a_gradient"): (
        COMPARED_OR_UNDONE, r": dnl_block\.g\.conv\.bias, dnl_block\.theta\.conv\.bias, dnl_block\.phi\.conv\.bias, "
                            r"dnl_block\.conv_mask\.bias$"),
    ("GCHead", "gives_every_parameter_a_gradient"): (COMPARED, r": gc_block\.conv_mask\.bias$"),
    ("NLHead", "gives_every_parameter_a_gradient"): (
        COMPARED_OR_UNDONE, r": nl_block\.g\.conv\.bias, nl_block\.phi\.conv\.bias$"),
    ("ANNHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": ((fusion|context)\.stages\.[01]\.(value|out)_project\.bias(, |$)){8}$"),
    ("ISAHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": global_relation\.value_project\.bias, local_relation\.value_project\.bias$"),
    ("ERFNet", "gives_every_parameter_a_gradient"): (
        UNDONE, r": ((en|de)coder\.\d\.(conv|convs_layers\.[27])\.bias(, |$)){23}$"),
    ("LRASPPHead", "gives_every_parameter_a_gradient"): (UNDONE, r": conv_up_input\.bias$"),
    ("MSCAN", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (patch_embed\d\.proj(\.[03])?\.bias(, |$)){5}$"),
    ("MobileNetV2", "gives_every_parameter_a_gradient"): (
        UNDONE, r": layer1\.0\.conv\.1\.bn\.bias, (layer[46]\.\d\.conv\.2\.bn\.bias(, |$)){7}$"),
    ("MobileNetV3", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (layer\d+\.linear_conv\.bn\.bias(, |$)){10}$"),
    ("ResNeSt", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (layer\d\.\d\.conv2\.fc1\.bias(, |$)){16}$"),
    ("JPU", "gives_every_parameter_a_gradient"): (
        UNDONE, r": dilation_layers\.0\.0\.depthwise_conv\.bn\.bias, "
                r"dilation_layers\.1\.0\.depthwise_conv\.bn\.bias$"),
    ("DDRNet", "gives_every_parameter_a_gradient"): (
        UNDONE, r": context_branch_layers\.2\.0\.conv3\.bn\.bias, context_branch_layers\.2\.0\.downsample\.1\.bias$"),
    ("DDRNet", "is_exported_for_any_size"): ONE_CELL,
    ("PIDNet", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (i_branch_layers\.2\.\d\.(conv3|downsample)\.bn\.bias(, |$)){3}$"),
    ("PIDNet", "is_exported_for_any_size"): ONE_CELL,
    ("VPD", "sees_images_of_one_pixel"): ONE_CHANNEL,
    ("DepthEstimator", "sees_images_of_one_pixel"): ONE_CHANNEL,
    ("VPDDepthHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": conv1\.0\.bias, decoder\.conv_layers\.0\.bias$"),
    ("DepthEstimator", "gives_every_parameter_a_gradient"): (
        UNDONE, r": decode_head\.conv1\.0\.bias, decode_head\.decoder\.conv_layers\.0\.bias$"),
    ("LinknetHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (blocks\.\d\.upsample\.deconv_upsamping\.0\.bias(, |$)){5}$"),
    ("MANetHead", "gives_every_parameter_a_gradient"): (
        "a gate of few channels has one unit within, which a rectifier may close",
        r": (blocks\.[01]\.se_[lh]l\.(1\.weight|1\.bias|3\.weight)(, |$)){6}$"),
    ("PANHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": ((fpa|gaus\.0)\.[\w.]+\.bias(, |$)){10}$"),
    ("PANHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("SmpASPPHead", "trains_on_a_batch_of_one"): ONE_VALUE,
    ("PANHead", "is_exported_for_any_size"): (
        "an eighth of the small map of this test is one cell, which torch.export takes for something special",
        r"// 8 != 1"),
    ("PlainConvEncoder", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (stages\.\d\.\d\.conv\.bias(, |$)){4}$"),
    ("ResidualEncoder", "gives_every_parameter_a_gradient"): (
        "a block adds nothing at first; and " + UNDONE, r": stem\.conv\.bias"),
    ("NNUNetHead", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (stages\.\d\.\d\.conv\.bias(, |$)){6}$"),
    ("FastSCNN", "gives_every_parameter_a_gradient"): (
        UNDONE, r": (learning_to_downsample\.dsconv\d\.depthwise_conv\.bn\.bias, ){2}"
                r"(global_feature_extractor\.bottleneck[12]\.\d\.conv\.2\.bn\.bias(, |$)){6}$"),
}  # fmt: skip
"""(part, promise) -> why it cannot be kept, and what the failure says, as a regular expression.

A part that is listed must fail in that way, so that the table is true; one that is not must keep every promise.
"""

TABLES: Tables = {
    "backbone": BACKBONES, "text_encoder": TEXT_ENCODERS, "neck": NECKS, "head": HEADS, "head_part": HEAD_PARTS,
    "model": MODELS,
}  # fmt: skip
CASES = [
    Case(
        kind,
        name,
        TABLES,
        refining=name in REFINING,
        naming=name in NAMING,
        config=CONFIGS.get(name),
        levels=READS.get(name, LEVELS),
    )
    for kind in ("backbone", "neck", "head", "model")
    for name in TABLES[kind]
]
BACKBONE_CASES = [case for case in CASES if case.kind == "backbone"]
CAPTURED = ("MixVisionTransformer", "ResNetV1c", "FPN", "ASPPHead", "Mask2FormerHead", "EncoderDecoder")
"""What the quick run puts through compilers, some of each kind; the slow one tries all."""
EXPORTED = ("BEiT", "PSPHead")
"""What the quick run puts into ONNX files; the slow one tries all."""
COMPILED = ("EncoderDecoder", "PSPHead", "SegformerHead")
"""A few that are small enough to generate code for; the others are captured only."""

Promise = Callable[[Case], None]


def pairs(functions: tuple[Promise, ...], cases: list[Case]) -> Any:
    """Every promise of every part, by name. What is exported for any size is so for any batch."""
    found = [
        pytest.param(promise, case, id=f"{promise.__name__}-{case.name}")
        for promise, case in itertools.product(functions, cases)
        if promise is not promises.is_exported_for_any_batch
        or (case.name, promises.is_exported_for_any_size.__name__) in EXCEPTIONS
    ]
    return pytest.mark.parametrize(("promise", "case"), found)


@pairs(promises.EVERY_PART, CASES)
def test_every_part(promise: Promise, case: Case) -> None:
    keeps_or_is_excused(promise, case)


@pairs(promises.COMPILERS, [case for case in CASES if case.name in CAPTURED])
def test_some_parts_go_through_compilers(promise: Promise, case: Case) -> None:
    keeps_or_is_excused(promise, case)


@pytest.mark.slow
@pairs(promises.COMPILERS, [case for case in CASES if case.name not in CAPTURED])
def test_every_part_goes_through_compilers(promise: Promise, case: Case) -> None:
    keeps_or_is_excused(promise, case)


@pairs(promises.EXPORTED, [case for case in CASES if case.name in EXPORTED])
def test_some_parts_are_right_as_onnx(promise: Promise, case: Case) -> None:
    keeps_or_is_excused(promise, case)


@pytest.mark.slow
@pairs(promises.EXPORTED, [case for case in CASES if case.name not in EXPORTED])
def test_every_part_is_right_as_onnx(promise: Promise, case: Case) -> None:
    keeps_or_is_excused(promise, case)


@pairs(promises.EVERY_BACKBONE, BACKBONE_CASES)
def test_every_backbone(promise: Promise, case: Case) -> None:
    keeps_or_is_excused(promise, case)


def keeps_or_is_excused(promise: Promise, case: Case) -> None:
    _, message = EXCEPTIONS.get((case.name, promise.__name__), ("", None))
    if message is None:
        promise(case)
    else:
        with pytest.raises(Exception, match=message):
            promise(case)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler, and there is no c++ here")
@pytest.mark.parametrize("name", COMPILED)
def test_generated_code_gives_the_same(name: str) -> None:
    promises.is_compiled_to_the_same(next(case for case in CASES if case.name == name))


def test_every_part_of_the_catalogue_is_tested_here() -> None:
    for kind, table in TABLES.items():
        assert sorted(table) == sorted(catalog.TABLE[kind]), f"give every {kind} a line in this file"


def test_exceptions_are_about_parts_and_promises_that_exist() -> None:
    functions = (*promises.EVERY_PART, *promises.COMPILERS, *promises.EXPORTED, *promises.EVERY_BACKBONE)
    promised = {promise.__name__ for promise in functions}
    assert {part for part, _ in EXCEPTIONS} <= {case.name for case in CASES}
    assert set(CAPTURED) <= {case.name for case in CASES}
    assert {promise for _, promise in EXCEPTIONS} <= promised


def choosing() -> list[str]:
    """Backbones that return some of their levels."""
    signatures = {name: inspect.signature(catalog.resolve("backbone", name)) for name in BACKBONES}
    return sorted(name for name, signature in signatures.items() if "out_indices" in signature.parameters)


@pytest.mark.parametrize(("name", "missing"), list(itertools.product(choosing(), [(), (99,)])))
def test_levels_that_do_not_exist_are_refused(name: str, missing: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="out_indices must name"):
        build("backbone", name, {**BACKBONES[name], "out_indices": missing}, TABLES)
