"""The networks that are exported for docs/export.md: each method once for each kind of trunk it has, in a small form.

Where `tests/golden/figures` has a network, its numbers are proven there, and its config is taken; the others are put
together of parts as `tests/contracts` has them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2] / "tests"
FIGURES = TESTS / "golden" / "figures"
DEPTH = "tiny_vpd"
"""The source that is no figure and no part: the small VPD of the tests."""


@dataclass(frozen=True, slots=True)
class Network:
    """method, trunk: what the table calls it. source: the name of a figure, "head NAME" and the like of the parts, or a
    name of `OWN`.
    """

    method: str
    trunk: str
    source: str


KINDS: Mapping[str, tuple[Network, ...]] = {
    "real-time": (
        Network("BiSeNetV1", "ResNet", "bisenetv1_r18"),
        Network("BiSeNetV2", "", "bisenetv2"),
        Network("CGNet", "", "cgnet"),
        Network("DDRNet", "", "ddrnet_small"),
        Network("EfficientViT-Seg", "MiT", "head EfficientViTHead"),
        Network("ERFNet", "", "erfnet"),
        Network("Fast-SCNN", "", "fast_scnn"),
        Network("GCNet (Golden Cudgel)", "", "golden_cudgel"),
        Network("ICNet", "ResNet", "icnet_small"),
        Network("FCN", "MobileNetV2", "mobilenetv2_fcn"),
        Network("LR-ASPP", "MobileNetV3", "mobilenetv3_lraspp"),
        Network("PIDNet", "", "pidnet-s"),
        Network("PP-LiteSeg", "MiT", "head PPLiteSegHead"),
        Network("RegSeg", "", "regseg"),
        Network("SCTNet", "", "sctnet"),
        Network("STDC", "", "stdc1"),
    ),
    "convolutional": (
        Network("DeepLabV3", "ResNet", "deeplabv3_r18b"),
        Network("DeepLabV3+", "ResNet", "deeplabv3plus_r18"),
        Network("FastFCN", "ResNet", "fastfcn_small"),
        Network("FCN", "ResNet", "fcn_r18"),
        Network("FCN", "HRNet", "fcn_hr18"),
        Network("FCN", "ResNeSt", "resnest_small"),
        Network("nnU-Net", "plain", "nnunet"),
        Network("nnU-Net", "residual", "nnunet_residual"),
        Network("OCRNet", "HRNet", "ocrnet_hr18"),
        Network("PointRend", "ResNet", "pointrend_small"),
        Network("PSPNet", "ResNet", "pspnet_r18b"),
        Network("Semantic FPN", "ResNet", "semantic_fpn_small"),
        Network("Semantic FPN", "PoolFormer", "semantic_fpn_poolformer-s12"),
        Network("U-Net", "", "unet_small"),
        Network("UPerNet", "ResNet", "upernet_small"),
        Network("UPerNet", "ConvNeXt", "convnext_small"),
    ),
    "context": (
        Network("ANN", "ResNet", "ann_small"),
        Network("APCNet", "ResNet", "apcnet_small"),
        Network("CCNet", "ResNet", "ccnet_small"),
        Network("DANet", "ResNet", "danet_small"),
        Network("DMNet", "ResNet", "dmnet_small"),
        Network("DNLNet", "ResNet", "dnlnet_small"),
        Network("EMANet", "ResNet", "emanet_small"),
        Network("EncNet", "ResNet", "encnet_small"),
        Network("GCNet", "ResNet", "gcnet_small"),
        Network("ISANet", "ResNet", "isanet_small"),
        Network("NonLocal Net", "ResNet", "nonlocal_small"),
        Network("PSANet", "ResNet", "psanet_small"),
        Network("PSANet, collect", "ResNet", "psanet_collect"),
        Network("PSANet, distribute", "ResNet", "psanet_distribute"),
    ),
    "transformer": (
        Network("DPT", "ViT", "dpt_small"),
        Network("Linear head", "MiT", "head LinearHead"),
        Network("SegFormer", "MiT", "segformer_mit-b0"),
        Network("Segmenter", "ViT", "segmenter_vit-t"),
        Network("SegNeXt", "MSCAN", "segnext_mscan-t"),
        Network("Semantic FPN", "Twins-PCPVT", "pcpvt_small"),
        Network("SETR-MLA", "ViT", "setr_mla_small"),
        Network("SETR-PUP", "ViT", "setr_pup_small"),
        Network("UPerNet", "BEiT", "beit_small"),
        Network("UPerNet", "MAE", "mae_small"),
        Network("UPerNet", "Swin", "swin_small"),
        Network("UPerNet", "Twins-SVT", "svt_small"),
        Network("UPerNet", "ViT", "vit_small"),
        Network("VWFormer", "MiT", "head VWHead"),
        Network("VWFormer, for Cityscapes", "MiT", "head VWCityHead"),
        Network("FCN", "ViT-Adapter", "backbone ViTAdapter"),
        Network("FCN", "a network of timm", "backbone TIMM"),
        Network("FCN", "a network of transformers", "backbone HFBackbone"),
        Network("FCN", "SimpleFeaturePyramid on ViT", "neck SimpleFeaturePyramid"),
    ),
    "masks": (
        Network("EoMT", "ViT of timm", "head EoMTHead"),
        Network("EoMT", "DINOv3 of timm", "eomt_dinov3"),
        Network("K-Net", "ResNet", "knet_small"),
        Network("MaskFormer", "ResNet", "maskformer_small"),
        Network("Mask2Former", "ResNet", "mask2former_small"),
        Network("PMT", "ViT of timm", "head PMTHead"),
    ),
    "words and depth": (
        Network("SAN", "CLIP", "san_small"),
        Network("VPD (depth)", "Stable Diffusion", DEPTH),
    ),
    "decoders of segmentation_models.pytorch": (
        Network("DeepLabV3+", "MiT", "head SmpASPPHead"),
        Network("DPT", "ViT", "head SmpDPTHead"),
        Network("FPN", "MiT", "head SmpFPNHead"),
        Network("Linknet", "MiT", "head LinknetHead"),
        Network("MA-Net", "MiT", "head MANetHead"),
        Network("PAN", "MiT", "head PANHead"),
        Network("PSPNet", "MiT", "head SmpPSPHead"),
        Network("U-Net", "MiT", "head UNetHead"),
        Network("U-Net++", "MiT", "head UNetPlusPlusHead"),
    ),
}  # fmt: skip
"""By the kinds of docs/models.md."""

NETWORKS = tuple(network for several in KINDS.values() for network in several)


def model_of(network: Network) -> dict[str, Any]:
    """The `model` section of its config."""
    if network.source in OWN:
        return OWN[network.source]()
    kind, _, part = network.source.partition(" ")
    if part:
        return _contract(kind, part).model_config()[0]
    if network.source == DEPTH:
        return _module("", "tiny_vpd").config()["model"]
    return json.loads((FIGURES / f"{network.source}.json").read_text(encoding="utf-8"))["model"]


def _module(folder: str, name: str) -> Any:
    """A module of the tests, which are no package."""
    place = str(TESTS / folder)
    if place not in sys.path:
        sys.path.append(place)
    return __import__(name)


def _contract(kind: str, name: str) -> Any:
    parts = _module("contracts", "test_models")
    return next(case for case in parts.CASES if (case.kind, case.name) == (kind, name))


def _written(kind: str, name: str, **changes: Any) -> dict[str, Any]:
    """A part as a config has it, as small as in the contracts."""
    parts, cases = _module("contracts", "test_models"), _module("contracts", "cases")
    return cases.written(kind, name, {**parts.TABLES[kind][name], **changes}, parts.TABLES)


def _encoder_decoder(backbone: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "EncoderDecoder", "backbone": dict(backbone), "decode_head": dict(head)}


def _nnunet(encoder: str) -> dict[str, Any]:
    head = {"type": "NNUNetHead", "in_channels": [4, 6, 8], "in_index": [0, 1, 2], "num_classes": 5}
    return _encoder_decoder(_written("backbone", encoder), head)


def _eomt(trunk: str) -> dict[str, Any]:
    model = dict(_contract("head", "EoMTHead").model_config()[0])
    options = {"depth": 4, "embed_dim": 32, "num_heads": 2}
    backbone = {"type": "TIMM", "model_name": trunk, "open_blocks": 2, "options": options}
    return {**model, "backbone": backbone, "decode_head": {**model["decode_head"], "in_channels": 32}}


def _psanet(psa_type: str) -> dict[str, Any]:
    model = json.loads((FIGURES / "psanet_small.json").read_text(encoding="utf-8"))["model"]
    model["decode_head"]["psa_type"] = psa_type
    return dict(model)


OWN: Mapping[str, Any] = {
    "golden_cudgel": lambda: _encoder_decoder(
        _written("backbone", "GCNet"), {**_contract("head", "GCNetHead").model_config()[0]["decode_head"],
                                        "in_channels": 16, "in_index": [0, 1]}),
    "regseg": lambda: _encoder_decoder(
        _written("backbone", "RegSeg"), {"type": "RegSegHead", "in_channels": [48, 128, 320], "channels": 6,
                                         "fine_channels": 4, "num_classes": 5}),
    "sctnet": lambda: _encoder_decoder(
        _written("backbone", "SCTNet"), {"type": "SCTHead", "in_channels": 8, "channels": 8, "num_classes": 5,
                                         "in_index": -1}),
    "eomt_dinov3": lambda: _eomt("vit_small_patch16_dinov3"),
    "nnunet": lambda: _nnunet("PlainConvEncoder"),
    "nnunet_residual": lambda: _nnunet("ResidualEncoder"),
    "psanet_collect": lambda: _psanet("collect"),
    "psanet_distribute": lambda: _psanet("distribute"),
}  # fmt: skip
"""Source -> makes a model of parts that are in no figure together."""
