"""Networks of a thousandth of the size, for the methods whose records take half a minute each.

A small network is a record's config with some values changed. Its figures are our own, written by `make_figures.py` in
the same run in which the whole record agrees: from then on they keep what was proven.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

INPUT = (2, 3, 64, 96)
WIDTHS = [16, 32, 64, 128]
"""Channels of a ResNet-18's levels with base_channels=16."""
RESNET = {"backbone.depth": 18, "backbone.base_channels": 16, "backbone.stem_channels": 16}
QUERIES = {
    **RESNET,
    "*.embed_dims": 32,
    "*.num_heads": 4,
    "*.num_feats": 16,
    "*.num_groups": 8,
    "*.feedforward_channels": 48,
    "decode_head.in_channels": WIDTHS,
    "decode_head.feat_channels": 32,
    "decode_head.out_channels": 24,
    "decode_head.num_classes": 9,
    "decode_head.num_queries": 7,
    "decode_head.loss_cls.class_weight": [1.0] * 9 + [0.1],
}
VIT = {"backbone.embed_dims": 24, "backbone.num_layers": 4, "backbone.num_heads": 3,
       "backbone.out_indices": [0, 1, 2, 3], "*.num_classes": 9}  # fmt: skip
"""A plain transformer; its positions are resized from another grid."""
PYRAMID = {**RESNET, "neck.in_channels": WIDTHS, "neck.out_channels": 24, "*.num_classes": 9}


CONTEXT = {**RESNET, "*.num_classes": 9, "decode_head.in_channels": 128, "decode_head.channels": 32,
           "auxiliary_head.in_channels": 64, "auxiliary_head.channels": 16}  # fmt: skip
"""A head that reads the last level of a dilated ResNet."""


@dataclass(frozen=True)
class Small:
    """source: the network of `make_figures.NETWORKS` that it is a smaller form of.

    changes: values by their path in the `model` section; "*.key" stands for the key wherever it is.
    """

    source: str
    changes: Mapping[str, Any]

    def model(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        """The `model` section, from that of the whole network. Raises KeyError for a path that is not there."""
        model: dict[str, Any] = copy.deepcopy(dict(whole))
        for path, value in self.changes.items():
            *parents, key = path.split(".")
            places = list(_holders(model, key)) if parents == ["*"] else [_at(model, parents)]
            if not places:
                raise KeyError(path)
            for place in places:
                place[key] = value
        return model


def _at(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value[int(key) if isinstance(value, list) else key]
    return value


def _holders(value: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every dict within that has the key."""
    if isinstance(value, dict):
        if key in value:
            yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _holders(item, key)


NETWORKS = {
    "apcnet_small": Small("apcnet_r50", CONTEXT),
    "dmnet_small": Small("dmnet_r50", CONTEXT),
    "emanet_small": Small("emanet_r50", {**CONTEXT, "decode_head.ema_channels": 24, "decode_head.num_bases": 6}),
    "encnet_small": Small("encnet_r50", {**CONTEXT, "decode_head.in_channels": WIDTHS[1:], "decode_head.num_codes": 8}),
    "fastfcn_small": Small(
        "fastfcn_r50_enc",
        {**CONTEXT, "neck.in_channels": WIDTHS[1:], "neck.mid_channels": 16, "decode_head.num_codes": 8,
         "decode_head.in_channels": [32, 64, 64]}),
    "ddrnet_small": Small(
        "ddrnet_23",
        {"backbone.channels": 16, "backbone.ppm_channels": 16, "decode_head.in_channels": 64,
         "decode_head.channels": 24, "*.num_classes": 9, "*.class_weight": [1.0, 0.9, 1.1] * 3}),
    "icnet_small": Small(
        "icnet_r18",
        {"backbone.backbone_cfg.base_channels": 16, "backbone.backbone_cfg.stem_channels": 16,
         "backbone.layer_channels": [32, 128], "backbone.light_branch_middle_channels": 8,
         "backbone.psp_out_channels": 32, "backbone.out_channels": [16, 24, 32], "neck.in_channels": [16, 24, 32],
         "neck.out_channels": 24, "*.num_classes": 9, "decode_head.in_channels": 24, "decode_head.channels": 16,
         **{f"auxiliary_head.{i}.{key}": width for i in range(2)
            for key, width in (("in_channels", 24), ("channels", 16))}}),
    "psanet_small": Small("psanet_r50", {**CONTEXT, "decode_head.mask_size": [6, 9]}),
    "upernet_small": Small(
        "upernet_r18",
        {**RESNET, "*.num_classes": 9, "decode_head.in_channels": WIDTHS, "decode_head.channels": 24,
         "auxiliary_head.in_channels": 64, "auxiliary_head.channels": 16}),
    "swin_small": Small(
        "upernet_swin-t",
        {"*.num_classes": 9, "backbone.embed_dims": 12, "backbone.depths": [2, 1, 2, 1],
         "backbone.num_heads": [1, 2, 3, 4], "backbone.window_size": 5,
         "decode_head.in_channels": [12, 24, 48, 96], "decode_head.channels": 24,
         "auxiliary_head.in_channels": 48, "auxiliary_head.channels": 16}),
    "semantic_fpn_small": Small(
        "semantic_fpn_r50", {**PYRAMID, "decode_head.in_channels": [24] * 4, "decode_head.channels": 20}),
    "pointrend_small": Small(
        "pointrend_r50",
        {**PYRAMID, "decode_head.0.in_channels": [24] * 4, "decode_head.0.channels": 20,
         "decode_head.1.in_channels": [24], "decode_head.1.channels": 20, "train_cfg.num_points": 64,
         "test_cfg.subdivision_num_points": 96}),
    "ann_small": Small(
        "ann_r50", {**CONTEXT, "decode_head.in_channels": WIDTHS[2:], "decode_head.project_channels": 24}),
    "ccnet_small": Small("ccnet_r50", CONTEXT),
    "danet_small": Small("danet_r50", {**CONTEXT, "decode_head.pam_channels": 8}),
    "dnlnet_small": Small("dnlnet_r50", CONTEXT),
    "gcnet_small": Small("gcnet_r50", CONTEXT),
    "isanet_small": Small("isanet_r50", {**CONTEXT, "decode_head.isa_channels": 24}),
    "nonlocal_small": Small("nonlocal_r50", CONTEXT),
    "knet_small": Small(
        "knet_r50_fcn",
        {**RESNET, "*.num_classes": 9, "auxiliary_head.in_channels": 64, "auxiliary_head.channels": 16,
         "decode_head.kernel_generate_head.in_channels": 128, "decode_head.kernel_generate_head.channels": 32,
         "*.kernel_updator_cfg": {"type": "KernelUpdator", "in_channels": 16, "feat_channels": 16, "out_channels": 16,
                                  "act_cfg": {"type": "ReLU", "inplace": True}, "norm_cfg": {"type": "LN"}},
         "*.feedforward_channels": 48, "*.num_heads": 4,
         **{f"decode_head.kernel_update_head.{i}.{side}_channels": 32 for i in range(3) for side in ("in", "out")}}),
    "vit_small": Small(
        "vit-b16_mln_upernet",
        {**VIT, "backbone.img_size": [80, 64], "neck.in_channels": [24] * 4, "neck.out_channels": 20,
         "decode_head.in_channels": [20] * 4, "decode_head.channels": 24, "auxiliary_head.in_channels": 20,
         "auxiliary_head.channels": 16}),
    "setr_pup_small": Small(
        "setr_vit-l_pup",
        {**VIT, "backbone.img_size": [64, 96], "*.channels": 16, "decode_head.in_channels": 24,
         **{f"auxiliary_head.{i}.in_channels": 24 for i in range(3)}}),
    "setr_mla_small": Small(
        "setr_vit-l_mla",
        {**VIT, "backbone.img_size": [80, 64], "neck.in_channels": [24] * 4, "neck.out_channels": 16,
         "*.channels": 16, "decode_head.in_channels": [16] * 4, "decode_head.channels": 24,
         "decode_head.mla_channels": 6, **{f"auxiliary_head.{i}.in_channels": 16 for i in range(4)}}),
    "dpt_small": Small(
        "dpt_vit-b16",
        {**VIT, "backbone.img_size": [80, 64], "decode_head.embed_dims": 24, "decode_head.in_channels": [24] * 4,
         "decode_head.post_process_channels": [8, 12, 16, 20], "decode_head.channels": 16}),
    "unet_small": Small(
        "unet_fcn",
        {"backbone.base_channels": 8, "decode_head.in_channels": 8, "decode_head.channels": 12,
         "auxiliary_head.in_channels": 16, "auxiliary_head.channels": 12}),
    "resnest_small": Small(
        "resnest_s101_fcn",
        {"*.num_classes": 9, "backbone.depth": 50, "backbone.base_channels": 8, "backbone.stem_channels": 16,
         "decode_head.in_channels": 256, "decode_head.channels": 24, "auxiliary_head.in_channels": 128,
         "auxiliary_head.channels": 16}),
    "beit_small": Small(
        "upernet_beit-b",
        {**VIT, "backbone.img_size": [80, 64], "decode_head.in_channels": [24] * 4, "decode_head.channels": 24,
         "auxiliary_head.in_channels": 24, "auxiliary_head.channels": 16, "neck.embed_dim": 24}),
    "convnext_small": Small(
        "upernet_convnext-t",
        {"backbone.arch": {"depths": [1, 1, 2, 1], "channels": [8, 12, 16, 24]}, "backbone.drop_path_rate": 0.1,
         "*.num_classes": 9, "decode_head.in_channels": [8, 12, 16, 24], "decode_head.channels": 24,
         "auxiliary_head.in_channels": 16, "auxiliary_head.channels": 16}),
    "mae_small": Small(
        "upernet_mae-b",
        {**VIT, "backbone.img_size": [80, 64], "decode_head.in_channels": [24] * 4, "decode_head.channels": 24,
         "auxiliary_head.in_channels": 24, "auxiliary_head.channels": 16, "neck.embed_dim": 24}),
    "pcpvt_small": Small(
        "semantic_fpn_pcpvt-s",
        {"*.num_classes": 9, "backbone.embed_dims": [8, 16, 24, 32], "backbone.depths": [1, 2, 1, 1],
         "backbone.num_heads": [1, 2, 3, 4], "neck.in_channels": [8, 16, 24, 32], "neck.out_channels": 24,
         "decode_head.in_channels": [24] * 4, "decode_head.channels": 20}),
    "svt_small": Small(
        "upernet_svt-s",
        {"*.num_classes": 9, "backbone.embed_dims": [8, 16, 24, 32], "backbone.depths": [2, 1, 2, 2],
         "backbone.num_heads": [1, 2, 3, 4], "backbone.windiow_sizes": [7, 5, 4, 7],
         "decode_head.in_channels": [8, 16, 24, 32], "decode_head.channels": 24,
         "auxiliary_head.in_channels": 24, "auxiliary_head.channels": 16}),
    "san_small": Small(
        "san_vit-b16",
        {"image_encoder.embed_dims": 24, "image_encoder.num_layers": 4, "image_encoder.num_heads": 4,
         "image_encoder.out_indices": [0, 2, 3], "image_encoder.img_size": [80, 64], "text_encoder.embed_dims": 16,
         "text_encoder.num_layers": 2, "text_encoder.num_heads": 2, "text_encoder.output_dims": 20,
         "decode_head.san_cfg.embed_dims": 24, "decode_head.san_cfg.num_queries": 7,
         "decode_head.san_cfg.clip_channels": 24, "decode_head.maskgen_cfg.embed_dims": 24,
         "decode_head.maskgen_cfg.num_heads": 4, "decode_head.maskgen_cfg.out_dims": 20,
         "decode_head.maskgen_cfg.sos_token_num": 7, "decode_head.san_cfg.cfg_decoder.num_heads": 4,
         "*.embed_channels": 16, "*.mlp_channels": 16, "*.num_points": 256}),
    "maskformer_small": Small("maskformer_r50", {**QUERIES, "decode_head.transformer_decoder.num_layers": 2}),
    "mask2former_small": Small(
        "mask2former_r50",
        {**QUERIES, "decode_head.transformer_decoder.num_layers": 4, "decode_head.pixel_decoder.encoder.num_layers": 2,
         "*.num_points": 3, "decode_head.train_cfg.num_points": 256}),
}  # fmt: skip
