"""Every part of the catalogue starts as published.

The table is drawn from MMSegmentation 1.2.2 (`init_cfg` and `init_weights` of its parts, MMCV's ConvModule,
MMDetection's heads) and from the papers' own code. Where MMSegmentation leaves layers out by a slip, the papers' own
code counts: the projections of MiT's attention, which keep torch's start there; the last level of MaskFormer's pixel
decoder, which its loop does not reach; the rounds of K-Net, which are in a list that its initialiser does not enter.

Recipes load weights into the backbone, so that for them this is about heads. Whoever trains from nothing starts here.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from cases import Use, build
from starts import (
    CAFFE2,
    CLASSIFIER,
    EMBEDDING,
    HE,
    HE_BY_FAN_IN,
    HE_FAN_IN,
    HE_PER_GROUP,
    HE_UNIFORM,
    ONES,
    TORCH,
    TRUNCATED,
    XAVIER,
    ZEROS,
    Start,
    Starts,
    exact,
    normal,
    star,
)
from test_models import BACKBONES, HEADS, TABLES
from torch import nn

from intarsia import catalog
from intarsia.backbones.resnet import ResNet
from intarsia.backbones.swin import SwinTransformer
from intarsia.layers.activation import Activation
from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.classifier import pixel_classifier
from intarsia.layers.conv import ConvNormAct, DepthwiseSeparableConv
from intarsia.layers.deformable_attention import DeformableAttention
from intarsia.layers.norm import Norm

BASIC = {r"layer\d\.\d+\.bn2\.weight": ZEROS}
BOTTLENECK = {r"layer\d\.\d+\.bn3\.weight": ZEROS}
"""The last norm of each block, so that it starts as its shortcut: zero_init_residual, which is on by default."""
INSTANCES = {r"norm\.weight": ONES, r"norm\.bias": ZEROS}
CLASSIFIED = {r"^conv_seg\.weight": CLASSIFIER}
ATTENTION = {
    r"attn\.in_proj_weight": XAVIER,
    r"attn\.in_proj_bias": ZEROS,
    r"attn\.out_proj\.weight": XAVIER,
    r"attn\.out_proj\.bias": ZEROS,
}
"""Of decoders. The stacked projections are one matrix to Glorot."""
ROUND = {**ATTENTION, r"feat_transform\.conv\.weight": XAVIER}
WIDE_ROUND = {"in_channels": 32, "kernel_updator": Use("head_part", "KernelUpdator", in_channels=16, feat_channels=12)}
WIDE_UNET = {"in_channels": (56,) * 4, "decoder_channels": (104,) * 5, "attention": "scse"}
LEVELS = {"in_channels": (24, 32, 40, 48), "channels": 64}

STDC_CHANNELS = (12, 16, 32, 48, 64)
WIDE_STDC = {"backbone": Use("backbone", "STDCNet", channels=STDC_CHANNELS), "last_in_channels": (64, 48)}
SCALES_OF_DETAIL = Start("exact", lambda layer, parameter: torch.tensor([0.6, 0.3, 0.1]).view(1, 3, 1, 1))
"""STDC-Seg's DetailAggregateLoss: weights of the details at strides 1, 2 and 4."""

STARTS: dict[str, dict[str, Starts]] = {
    "backbone": {
        "BiSeNetV1": Starts(special={rf"^context_path\.backbone\.{name}": start for name, start in BASIC.items()}),
        "BiSeNetV2": Starts(wide={"detail_channels": (16, 16, 24), "semantic_channels": (16, 16, 16, 24),
                                  "bga_channels": 24}),
        "BEiT": Starts(
            HE_FAN_IN, linear=TRUNCATED, linear_bias=ZEROS, wide={"embed_dims": 112, "img_size": 64, "num_heads": 4},
            special={r"^cls_token": TRUNCATED, r"ffn\.layers\.(0\.0|1)\.bias": normal(1e-6), r"gamma_[12]": exact(0.1),
                     r"relative_position_bias_table": TRUNCATED, r"attn\.[qv]_bias": ZEROS}),
        "MAE": Starts(
            HE_FAN_IN, linear=TRUNCATED, linear_bias=ZEROS, wide={"embed_dims": 112, "img_size": 64, "num_heads": 4},
            special={r"^cls_token": TRUNCATED, r"^pos_embed": ZEROS, r"ffn\.layers\.(0\.0|1)\.bias": normal(1e-6),
                     r"gamma_[12]": exact(0.1), r"relative_position_bias_table": TRUNCATED}),
        "ConvNeXt": Starts(TRUNCATED, linear=TRUNCATED, linear_bias=ZEROS, special={r"gamma": exact(1e-6)}),
        "PCPVT": Starts(
            HE_PER_GROUP, linear=TRUNCATED, linear_bias=ZEROS, wide={"embed_dims": (16, 32, 48, 64)},
            special={r"attn\.in_proj_weight": TRUNCATED, r"attn\.in_proj_bias": ZEROS}),
        "PoolFormer": Starts(
            TORCH, TORCH, special={r"mlp\.fc[12]\.weight": TRUNCATED, r"mlp\.fc[12]\.bias": ZEROS,
                                   r"layer_scale_[12]": exact(1e-6)}),
        "SVT": Starts(
            HE_PER_GROUP, linear=TRUNCATED, linear_bias=ZEROS, wide={"embed_dims": (16, 32, 48, 64)},
            special={r"attn\.in_proj_weight": TRUNCATED, r"attn\.in_proj_bias": ZEROS}),
        "CGNet": Starts(linear=HE, linear_bias=ZEROS, wide={"num_channels": (16, 32, 64)},
                        special={r"activate\.weight": ZEROS, r"^norm_prelu_\d\.1\.weight": ZEROS}),
        "ERFNet": Starts(TORCH, TORCH, wide={
            "enc_downsample_channels": (16, 24, 32), "enc_non_bottleneck_channels": (24, 32),
            "dec_upsample_channels": (24, 16), "dec_non_bottleneck_channels": (24, 16)}),
        "DDRNet": Starts(wide={"channels": 8, "ppm_channels": 8}),
        "FastSCNN": Starts(),
        "GCNet": Starts(wide={"channels": 12, "ppm_channels": 12}),
        "HRNet": Starts(wide={"channels": ((12,), (12, 16), (12, 16, 20), (12, 16, 20, 24))}),
        "MixVisionTransformer": Starts(
            HE_PER_GROUP, wide={"embed_dims": 16, "mlp_ratio": 2},
            special={r"attn\.in_proj_weight": TRUNCATED, r"attn\.in_proj_bias": ZEROS,
                     r"attn\.out_proj\.weight": TRUNCATED, r"attn\.out_proj\.bias": ZEROS}),
        "ICNet": Starts(special={rf"^backbone\.{name}": start for name, start in BASIC.items()},
                        wide={"light_branch_middle_channels": 8}),
        "MSCAN": Starts(HE_PER_GROUP, wide={"embed_dims": (16, 16, 16, 24)},
                        special={r"layer_scale_[12]": exact(0.01)}),
        "MobileNetV2": Starts(wide={"widen_factor": 0.5}),
        "MobileNetV3": Starts(),
        "ResNeSt": Starts(wide={"base_channels": 12, "stem_channels": 24}),
        "ResNeXt": Starts(special=BOTTLENECK),
        "ResNet": Starts(special=BASIC),
        "ResNetV1c": Starts(special=BOTTLENECK, wide={"base_channels": 12, "stem_channels": 24}),
        "ResNetV1d": Starts(special=BASIC, wide={"base_channels": 12, "stem_channels": 24}),
        "PIDNet": Starts(wide={"channels": 12, "ppm_channels": 8}),
        "RegSeg": Starts(TORCH, TORCH),
        "SCTNet": Starts(special={r"attn_l\.kv3?": normal(0.001)}, wide={"base_channels": 12, "spp_channels": 12}),
        "STDCContextPathNet": Starts(wide={**WIDE_STDC, "out_channels": 12, "ffm_out_channels": 32}),
        "STDCNet": Starts(wide={"channels": STDC_CHANNELS}),
        "SwinTransformer": Starts(
            TORCH, TORCH, TRUNCATED, ZEROS,
            special={r"relative_position_bias_table": TRUNCATED, r"^absolute_pos_embed": TRUNCATED},
            wide={"embed_dims": 16, "num_heads": (4, 4, 4, 8), "window_size": 4, "use_abs_pos_embed": True,
                  "pretrain_img_size": 32}),
        "HFBackbone": Starts(
            TRUNCATED, linear=TRUNCATED, linear_bias=ZEROS,
            wide={"config": {"model_type": "dinov2", "hidden_size": 112, "num_hidden_layers": 2,
                             "num_attention_heads": 2, "patch_size": 16, "image_size": 64, "layerscale_value": 0.5}},
            special={r"lambda1": exact(0.5), r"embeddings\.(cls_token|position_embeddings)": TRUNCATED,
                     r"mask_token": ZEROS}),
        "TIMM": Starts(TRUNCATED, linear=TRUNCATED, linear_bias=ZEROS, special={r"gamma": exact(1e-6)}),
        "TIMMBackbone": Starts(HE, special={r"^layer[124]\.0\.bn2\.weight": ZEROS, r"^layer3\.0\.bn3\.weight": ZEROS}),
        "VisionTransformer": Starts(
            HE_FAN_IN, linear=TRUNCATED, linear_bias=ZEROS, wide={"embed_dims": 112, "img_size": 32},
            special={r"^(cls_token|pos_embed)": TRUNCATED, r"ffn\.layers\.(0\.0|1)\.bias": normal(1e-6),
                     r"attn\.in_proj_weight": TRUNCATED, r"attn\.in_proj_bias": ZEROS}),
        "PlainConvEncoder": Starts(HE_FAN_IN, special=INSTANCES, wide={"channels": (16, 24, 32)}),
        "ResidualEncoder": Starts(
            HE_FAN_IN, special={r"conv2\.norm\.weight": ZEROS, **INSTANCES}, wide={"channels": (16, 24, 32)}),
        "UNet": Starts(wide={"base_channels": 16}),
        "ViTAdapter": Starts(
            HE_PER_GROUP, linear=TRUNCATED, linear_bias=ZEROS, wide={"conv_channels": 16, "deform_num_heads": 4},
            special={r"^cls_token": normal(1e-6), r"^pos_embed": TRUNCATED, r"^patch_embed\.proj\.(weight|bias)": TORCH,
                     r"^level_embed": normal(1.0), r"injector\.gamma": ZEROS, r"sampling_offsets\.weight": ZEROS,
                     r"injector\.attn\.sampling_offsets\.bias": star(heads=4, levels=3, points=4),
                     r"sampling_offsets\.bias": star(heads=4, levels=1, points=4),
                     r"attention_weights\.(weight|bias)": ZEROS, r"(value|output)_proj\.weight": XAVIER,
                     r"(value|output)_proj\.bias": ZEROS},
            few=r"(dwconv\.dwconv\.weight|^cls_token)$"),
        "VPD": Starts(
            TORCH, TORCH, wide={"z_channels": 8, "embed_dim": 8},
            special={r"^gamma": exact(1e-4), r"^unet\..*(out_layers\.3|\.proj_out)\.(weight|bias)": ZEROS}),
    },
    "neck": {
        "ICNeck": Starts(wide={"out_channels": 16}),
        "FPN": Starts(XAVIER, wide={"in_channels": (24, 32, 40, 48), "out_channels": 16}),
        "Feature2Pyramid": Starts(TORCH, TORCH),
        "MLANeck": Starts(wide={"in_channels": (24, 32, 40, 48), "out_channels": 16}),
        "MultiLevelNeck": Starts(XAVIER, wide={"in_channels": (24, 32, 40, 48), "out_channels": 16}),
        "JPU": Starts(wide={"mid_channels": 16}),
        "SimpleFeaturePyramid": Starts(TORCH, TORCH, wide={"embed_dim": 32, "out_channels": 32}),
    },
    "head": {
        "ANNHead": Starts(
            special={**CLASSIFIED, r"out_project\.(weight|bias)": ZEROS, r"value_project\.(weight|bias)": TORCH},
            wide={"channels": 20, "project_channels": 12}),
        "CCHead": Starts(
            special={**CLASSIFIED, r"^cca\.(query|key|value)_conv\.(weight|bias)": TORCH, r"gamma\.scale": ZEROS},
            wide={"channels": 40}),
        "DDRHead": Starts(special={**CLASSIFIED, r"^aux_cls_seg\.bias": TORCH}, wide={"channels": 20}),
        "DAHead": Starts(
            special={**CLASSIFIED, r"^pam\.(query|key|value)_project\.(weight|bias)": TORCH, r"gamma\.scale": ZEROS,
                     r"^[pc]am_conv_seg\.(weight|bias)": TORCH},
            wide={"channels": 24, "pam_channels": 12}),
        "DNLHead": Starts(
            special={**CLASSIFIED, r"\.(g|theta|phi)\.conv\.weight": CLASSIFIER, r"conv_out\.bn\.weight": ZEROS,
                     r"conv_mask\.(weight|bias)": TORCH},
            wide={"channels": 128}),
        "APCHead": Starts(special={**CLASSIFIED, r"\.gla\.(weight|bias)": TORCH},
                          wide={"channels": 30, "pool_scales": (2, 3)}),
        "ASPPHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "DPTHead": Starts(
            special={**CLASSIFIED, r"resize_layers\.\d\.(weight|bias)": TORCH},
            wide={"channels": 20, "post_process_channels": (16, 20, 24, 28)}),
        "DepthwiseSeparableASPPHead": Starts(
            special=CLASSIFIED, wide={"in_channels": 40, "channels": 20, "c1_in_channels": 24, "c1_channels": 16}),
        "DepthwiseSeparableFCNHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "DMHead": Starts(special={**CLASSIFIED, r"\.filter_gen_conv\.(weight|bias)": TORCH}, wide={"channels": 20}),
        "EMAHead": Starts(special=CLASSIFIED, wide={"channels": 20, "ema_channels": 24}),
        "PIDHead": Starts(conv_bias=TORCH, wide={"in_channels": 400, "channels": 20}),
        "STDCHead": Starts(special={**CLASSIFIED, r"^fusion_kernel": SCALES_OF_DETAIL}, wide={"channels": 64}),
        "EncHead": Starts(
            linear_bias=TORCH, wide={"channels": 32, "num_codes": 24},
            special={**CLASSIFIED, r"\.codewords": Start("uniform", lambda layer, words: words.numel() ** -0.5),
                     r"\.scale": Start("uniform", lambda layer, scale: 0.5, middle=-0.5)}),
        "ImageClassHead": Starts(linear=XAVIER, wide={"in_channels": 40, "in_index": 0}),
        "LinearHead": Starts(special=CLASSIFIED, wide={"in_channels": 40, "in_index": 0}),
        "FCNHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "FPNHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "GCHead": Starts(
            special={**CLASSIFIED, r"conv_mask\.weight": HE_BY_FAN_IN, r"_conv\.0\.(weight|bias)": TORCH,
                     r"_conv\.3\.weight": ZEROS},
            wide={"channels": 128}),
        "ISAHead": Starts(
            special={**CLASSIFIED, r"value_project\.(weight|bias)": TORCH}, wide={"channels": 20, "isa_channels": 12}),
        "IterativeDecodeHead": Starts(
            linear=XAVIER, special={**ROUND, r"^kernel_generate_head\.conv_seg\.weight": CLASSIFIER},
            wide={"kernel_generate_head": Use("head", "FCNHead", channels=32),
                  "kernel_update_head": [Use("head_part", "KernelUpdateHead", **WIDE_ROUND)]}),
        "LRASPPHead": Starts(
            special={**CLASSIFIED, r"^convs\.conv\d\.weight": TORCH, r"^conv_up_input\.(weight|bias)": TORCH},
            wide={"channels": 20}),
        "LightHamHead": Starts(special=CLASSIFIED, wide={"channels": 20, "ham_channels": 24}),
        "EoMTHead": Starts(TORCH, TORCH, TORCH, TORCH, special={r"^q\.weight": normal(1.0)}, wide={"in_channels": 64}),
        "PMTHead": Starts(
            TORCH, TORCH, TORCH, TORCH,
            special={r"^q\.weight": normal(1.0), r"lambda1|^scalers\.\d": ONES},
            wide={"in_channels": (64, 64), "hidden_channels": 48}),
        "Mask2FormerHead": Starts(
            CAFFE2, wide={**LEVELS, "hidden": 48, "encoder_hidden": 40},
            special={
                **ATTENTION,
                r"pixel_decoder\.input_convs\.\d\.conv\.weight": XAVIER,
                r"ffn\.layers\.(0\.0|1)\.weight": XAVIER,
                r"sampling_offsets\.weight": ZEROS,
                r"sampling_offsets\.bias": star(heads=2, levels=3, points=2),
                r"attention_weights\.(weight|bias)": ZEROS,
                r"(value|output)_proj\.weight": XAVIER,
                r"(value|output)_proj\.bias": ZEROS}),
        "MaskFormerHead": Starts(
            CAFFE2, special={**ATTENTION, r"ffn\.layers\.(0\.0|1)\.weight": XAVIER}, wide={**LEVELS, "hidden": 48}),
        "NLHead": Starts(
            special={**CLASSIFIED, r"\.(g|theta|phi)\.conv\.weight": CLASSIFIER, r"conv_out\.bn\.weight": ZEROS},
            wide={"channels": 20}),
        "OCRHead": Starts(special=CLASSIFIED, wide={"channels": 20, "ocr_channels": 12}),
        "PSAHead": Starts(special={**CLASSIFIED, r"^attention(_p)?\.1\.weight": TORCH}, wide={"channels": 20}),
        "RegSegHead": Starts(TORCH, TORCH, wide={"channels": 24, "fine_channels": 16}),
        "EfficientViTHead": Starts(special=CLASSIFIED, wide={"channels": 24}),
        "VWCityHead": Starts(
            linear=TORCH, few=r"ds\.2\.conv\.weight$", special={
                **CLASSIFIED, r"attn\.\d\.in_proj_weight": XAVIER, r"attn\.\d\.in_proj_bias": ZEROS,
                r"attn\.\d\.out_proj\.bias": ZEROS}),
        "VWHead": Starts(
            linear=TORCH, few=r"ds\.2\.conv\.weight$",
            special={**CLASSIFIED, r"attn\.\d\.theta\.conv\.weight": CLASSIFIER, r"conv_out\.bn\.weight": ZEROS}),
        "SCTHead": Starts(wide={"channels": 24}),
        "GCNetHead": Starts(wide={"channels": 20}, special={r"(conv_seg|aux_cls_seg_c4)\.bias": TORCH}),
        "PPLiteSegHead": Starts(
            special={r"^(conv_seg|aux_cls_seg\.\d)\.weight": CLASSIFIER}, few=r"conv_xy_atten\.\d\.conv\.weight$",
            wide={"channels": (24, 28, 32), "aux_channels": 24, "context_channels": 32}),
        "PSPHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "PointHead": Starts(special={r"^fc_seg\.weight": CLASSIFIER}, wide={"channels": 20}),
        "SETRMLAHead": Starts(special=CLASSIFIED, wide={"channels": 32, "mla_channels": 8}),
        "SETRUPHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "SegformerHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "SideAdapterCLIPHead": Starts(
            conv=TORCH, conv_bias=TORCH, wide={"embed_dims": 24, "clip_channels": 24, "out_dims": 20,
                                               "mask_channels": 16, "mask_hidden": 16},
            special={r"pos_embed": TRUNCATED, r"query_embed": TRUNCATED, r"conv_clips\.\d\.1\.conv\.weight": CAFFE2,
                     r"conv_clips\.\d\.1\.conv\.bias": ZEROS,
                     r"encode_layers.*(in_proj_weight|out_proj\.weight|layers\.(0\.0|1)\.weight)": TRUNCATED,
                     r"encode_layers.*(in_proj_bias|out_proj\.bias|layers\.(0\.0|1)\.bias)": ZEROS,
                     r"rec_with_attnbias.*in_proj_weight": XAVIER, r"rec_with_attnbias.*in_proj_bias": ZEROS,
                     r"rec_with_attnbias.*out_proj\.bias": ZEROS,
                     r"rec_with_attnbias\.proj\.weight": normal(24**-0.5)}),
        "SegmenterMaskTransformerHead": Starts(
            linear=TRUNCATED, linear_bias=ZEROS, wide={"embed_dims": 24},
            special={r"^cls_emb": TRUNCATED, r"attn\.in_proj_weight": TRUNCATED, r"attn\.in_proj_bias": ZEROS}),
        "LinknetHead": Starts(
            HE_UNIFORM, wide={"in_channels": (104,) * 4, "channels": 104},
            special={r"^conv_seg\.weight": XAVIER, r"deconv_upsamping\.0\.(weight|bias)": TORCH}),
        "NNUNetHead": Starts(HE_FAN_IN, special=INSTANCES, wide={"in_channels": (104,) * 4}),
        "MANetHead": Starts(
            HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER},
            wide={"in_channels": (104,) * 4, "decoder_channels": (40,) * 5, "attention_channels": 8}),
        "PANHead": Starts(
            HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER}, wide={"in_channels": (16, 16), "channels": 32},
            few=r"^fpa\.(conv1|conv2|down[23]\.\d)\.conv\.weight$"),
        "SmpASPPHead": Starts(
            HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER}, wide={"in_channels": (32, 104), "channels": 40}),
        "SmpDPTHead": Starts(
            HE_UNIFORM,
            special={r"^conv_seg\.weight": XAVIER, r"reassemble\.[01]\.resize_layer\.(weight|bias)": TORCH},
            wide={"channels": 20, "post_process_channels": (16, 20, 24, 28)}),
        "SmpFPNHead": Starts(HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER}, wide={"pyramid_channels": 40}),
        "SmpPSPHead": Starts(HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER}, wide={"channels": 40}),
        "UNetPlusPlusHead": Starts(
            HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER}, wide={**WIDE_UNET, "in_channels": (104,) * 4}),
        "UNetHead": Starts(HE_UNIFORM, special={r"^conv_seg\.weight": XAVIER}, wide=WIDE_UNET),
        "UPerHead": Starts(special=CLASSIFIED, wide={"channels": 20}),
        "VPDDepthHead": Starts(
            TRUNCATED, special={r"^decoder\.(deconv_layers\.[036]|conv_layers\.0)\.weight": normal(0.001)}),
    },
    "text_encoder": {
        "CLIPTextEncoder": Starts(
            linear_bias=ZEROS, wide={"embed_dims": 24, "output_dims": 120},
            special={r"^positional_embedding": CLASSIFIER, r"^text_projection": normal(24**-0.5),
                     r"^logit_scale": exact(math.log(1 / 0.07)), r"^bg_embed": normal(120**-0.5),
                     r"^token_embedding\.weight": TRUNCATED, r"attn\.in_proj_weight": normal(24**-0.5),
                     r"attn\.in_proj_bias": ZEROS, r"layers\.0\.0\.weight": normal(48**-0.5),
                     r"(out_proj|layers\.1)\.weight": normal(24**-0.5 / 2)}),
    },
    "head_part": {
        "KernelUpdateHead": Starts(linear=XAVIER, special=ROUND, wide=WIDE_ROUND),
        "KernelUpdator": Starts(wide={"in_channels": 16, "feat_channels": 12}),
    },
}  # fmt: skip
CASES = [(kind, name) for kind, names in STARTS.items() for name in names]


def started(kind: str, name: str, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    part: nn.Module = build(kind, name, {**TABLES[kind][name], **STARTS[kind][name].wide, **more}, TABLES)
    return part


def assert_starts(part: nn.Module, starts: Starts) -> None:
    if said := "\n".join(starts.misfits(part)):
        raise AssertionError(said)


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: value)
def test_starts_as_published(kind: str, name: str) -> None:
    assert_starts(started(kind, name), STARTS[kind][name])


def test_every_part_of_the_catalogue_has_a_line() -> None:
    for kind, table in STARTS.items():
        assert sorted(table) == sorted(catalog.TABLE[kind]), f"say how every {kind} starts"


@pytest.mark.parametrize("name", sorted(TABLES["model"]))
def test_assemblies_leave_their_parts_as_they_start(name: str) -> None:
    parts: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for child, value in TABLES["model"][name].items():
        if not isinstance(value, list | Use):
            settings[child] = value
            continue
        uses = value if isinstance(value, list) else [value]
        made = [build(use.kind, use.name, use.arguments(TABLES), TABLES) for use in uses if isinstance(use, Use)]
        parts[child] = made if isinstance(value, list) else made[0]
    before = copy.deepcopy([part.state_dict() for made in parts.values() for part in _several(made)])
    model = catalog.resolve("model", name)(**parts, **settings)
    after = [part.state_dict() for made in parts.values() for part in _several(made)]
    for old, new in zip(before, after, strict=True):
        assert all(old[key].equal(value) for key, value in new.items())
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for made in parts.values() for part in _several(made) for p in part.parameters()
    )


def _several(parts: Any) -> list[nn.Module]:
    return parts if isinstance(parts, list) else [parts]


# --- Arguments that change it, and layers that several parts share --------------------------------------------------


@pytest.mark.parametrize("depth", [18, 50])
def test_blocks_start_as_shortcuts_only_where_that_is_wanted(depth: int) -> None:
    plain = ResNet(depth, base_channels=12, stem_channels=12, zero_init_residual=False)
    assert_starts(plain, Starts())


@pytest.mark.parametrize("name", ["MixVisionTransformer", "SwinTransformer"])
def test_projections_without_biases(name: str) -> None:
    table = STARTS["backbone"][name]
    part = started("backbone", name, qkv_bias=False)
    assert not [line for line in table.misfits(part) if "names no parameter" not in line]
    assert not any(key.endswith(("qkv.bias", "in_proj_bias")) for key in part.state_dict())


def test_the_shared_layers() -> None:
    torch.manual_seed(0)
    leaky = ConvNormAct(24, 48, 3, activation=Activation("LeakyReLU", negative_slope=0.5))
    gained = Starts(normal((2 / 1.25 / (9 * 48)) ** 0.5))
    assert_starts(leaky, gained)
    for plain in (
        ConvNormAct(24, 48, 3),
        ConvNormAct(24, 48, (1, 5), groups=4, norm=Norm("GN", num_groups=4)),
        DepthwiseSeparableConv(24, 48, 3, norm=Norm("BN"), pointwise_norm=False),
    ):
        assert_starts(plain, Starts())
    assert_starts(pixel_classifier(48, 9), Starts(CLASSIFIER))
    projections = {r"in_proj_weight": TRUNCATED, r"in_proj_bias": ZEROS}
    attention = MultiheadAttention(48, 4)
    assert_starts(attention, Starts(linear=TRUNCATED, linear_bias=ZEROS, special=projections))


@pytest.mark.parametrize(("heads", "levels", "points"), [(8, 3, 4), (4, 1, 2), (3, 2, 5)])
def test_offsets_start_as_a_star(heads: int, levels: int, points: int) -> None:
    attention = DeformableAttention(24, heads, num_levels=levels, num_points=points)
    assert not star(heads, levels, points).misfit(attention.sampling_offsets, attention.sampling_offsets.bias)


@pytest.mark.parametrize(
    "norm", [Norm("BN"), Norm("SyncBN"), Norm("GN", num_groups=2), Norm("LN"), Norm("LN2d"), Norm("IN", affine=True)]
)
def test_norms_start_as_identity(norm: Norm) -> None:
    layer = norm(8)
    assert [parameter.tolist() for parameter in layer.parameters()] == [[1.0] * 8, [0.0] * 8]
    if norm.kind in ("BN", "SyncBN"):
        assert layer.running_mean.tolist() == [0.0] * 8
        assert layer.running_var.tolist() == [1.0] * 8


def test_position_biases_and_positions_are_drawn_at_any_size() -> None:
    torch.manual_seed(0)
    backbone = SwinTransformer(embed_dims=8, depths=(1, 1), num_heads=(2, 4), strides=(4, 2), out_indices=(0, 1))
    tables = [p for name, p in backbone.named_parameters() if name.endswith("relative_position_bias_table")]
    assert [tuple(table.shape) for table in tables] == [(13 * 13, 2), (13 * 13, 4)]
    assert not [said for table in tables if (said := TRUNCATED.misfit(backbone, table))]


# --- The eye itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "values", "message"),
    [
        (ZEROS, torch.full((4,), 1e-3), "expected"),
        (ONES, torch.zeros(4), "expected"),
        (TRUNCATED, 0.01 * torch.randn(16, 16), "expected the deviation 0.02"),
        (EMBEDDING, 0.5 + torch.randn(16, 16), "expected the mean 0"),
        (exact(2.0), torch.tensor([2.0, 1.0]), "found"),
        (XAVIER, torch.randn(16, 16), "expected nothing beyond"),
        (normal(1.0), torch.empty(40, 40).uniform_(-(3**0.5), 3**0.5), "expected a normal distribution"),
        (XAVIER, torch.empty(40, 40).uniform_(-0.1, 0.1), "expected the deviation"),
    ],
)
def test_another_start_is_seen(start: Start, values: torch.Tensor, message: str) -> None:
    layer = nn.Linear(16, 16)
    assert message in start.misfit(layer, values)


def test_lines_that_name_nothing_and_parameters_without_a_line_are_seen() -> None:
    assert list(Starts(special={"gone": ZEROS}).misfits(nn.ReLU())) == ["gone: names no parameter"]
    assert list(Starts().misfits(nn.PReLU())) == ["weight: the table does not say how it starts"]
    assert list(Starts().misfits(nn.Linear(3, 3))) == ["weight: 9 values are too few to judge"]


def test_the_tables_have_the_same_parts() -> None:
    assert set(STARTS["backbone"]) == set(BACKBONES)
    assert set(STARTS["head"]) == set(HEADS)
