"""The table of pretrained backbones: every file that the published configs start from, and their short names.

An OpenMMLab file's name ends in the first eight digits of its SHA-256, as do those of torchvision and timm; where a
name has none, none is known. A name here is that of the file without date and digits. Licences are those that the
authors of the weights state in their projects; "" where they state none that we know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/"
_MMCLS = "https://download.openmmlab.com/mmclassification/v0/"
_THIRD = "https://download.openmmlab.com/pretrain/third_party/"
_TORCH = "https://download.pytorch.org/models/"
_JX = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
_META = "https://dl.fbaipublicfiles.com/"

NVIDIA = "NVIDIA Source Code License for SegFormer: research and evaluation only, no commercial use"
NON_COMMERCIAL = "CC-BY-NC 4.0: no commercial use"

_FILES: tuple[tuple[str, str, str], ...] = (
    (
        _THIRD,
        "",
        "resnet18_v1c-b5776b93 resnet50_v1c-2cccc1ad resnet101_v1c-e67eebb6 mobilenet_v3_small-47085aa1 "
        "mobilenet_v3_large-bc2c3fd3 resnext50-32x4d-0ab1a123 resnext101_32x4d-a5af3160 resnext101_64x4d-ee2c6f71",
    ),
    (
        _THIRD,
        "MIT",
        "hrnetv2_w18_small-b5a04e21 hrnetv2_w18-00eb2006 hrnetv2_w32-dc9eeb4f hrnetv2_w40-ed0b031c "
        "hrnetv2_w48-d2186c55",
    ),
    (_THIRD, "Apache-2.0", "resnest50_d2-7497a55b resnest101_d2-f3b931b2 resnest200_d2-ca88e41f"),
    (
        _TORCH,
        "BSD-3-Clause",
        "resnet18-f37072fd resnet34-b627a593 resnet50-0676ba61 resnet101-63fe2227 resnet152-394f9c45 "
        "resnet50.imagenet1k_v2=resnet50-11ad3fa6 resnet101.imagenet1k_v2=resnet101-cd907fc2 "
        "resnet152.imagenet1k_v2=resnet152-f82ba261 torchvision_resnext50_32x4d=resnext50_32x4d-7cdf4587 "
        "torchvision_resnext101_32x8d=resnext101_32x8d-8ba56ff5 torchvision_mobilenet_v2=mobilenet_v2-b0353104",
    ),
    (
        _MMCLS,
        "Apache-2.0",
        "mobilenet_v2=mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af "
        "resnet/resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305 "
        "mmcls_resnet18=resnet/resnet18_batch256_imagenet_20200708-34ab8f90 "
        "mmcls_resnet34=resnet/resnet34_batch256_imagenet_20200708-32ffb4f7 "
        "mmcls_resnet50=resnet/resnet50_batch256_imagenet_20200708-cfb998bf "
        "mmcls_resnet101=resnet/resnet101_batch256_imagenet_20200708-753f3608 "
        "mmcls_resnet50_v1d=resnet/resnetv1d50_batch256_imagenet_20200708-1ad0ce94 "
        "mmcls_resnet101_v1d=resnet/resnetv1d101_batch256_imagenet_20200708-9cb302ef "
        "mmcls_resnest50=resnest/resnest50_imagenet_converted-1ebf0afe "
        "mmcls_resnest101=resnest/resnest101_imagenet_converted-032caa52 "
        "poolformer/poolformer-s12_3rdparty_32xb128_in1k_20220414-f8d83051 "
        "poolformer/poolformer-s24_3rdparty_32xb128_in1k_20220414-d7055904 "
        "poolformer/poolformer-s36_3rdparty_32xb128_in1k_20220414-d78ff3e8 "
        "poolformer/poolformer-m36_3rdparty_32xb128_in1k_20220414-c55e0949 "
        "poolformer/poolformer-m48_3rdparty_32xb128_in1k_20220414-9378f3eb",
    ),
    (
        f"{_MMCLS}convnext/downstream/",
        "MIT",
        "convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634 "
        "convnext-small_3rdparty_32xb128-noema_in1k_20220301-303e75e3 "
        "convnext-base_3rdparty_32xb128-noema_in1k_20220301-2a0ee547 "
        "convnext-base_3rdparty_in21k_20220301-262fd037 convnext-large_3rdparty_in21k_20220301-e6e0ea0a "
        "convnext-xlarge_3rdparty_in21k_20220301-08aa5ddc",
    ),
    (
        f"{_MMSEG}pretrain/segformer/",
        NVIDIA,
        "mit_b0_20220624-7e0fe6dd mit_b1_20220624-02e5a6a1 mit_b2_20220624-66e8bf70 mit_b3_20220624-13b1141c "
        "mit_b4_20220624-d588d980 mit_b5_20220624-658746d9",
    ),
    (
        f"{_MMSEG}pretrain/swin/",
        "MIT",
        "swin_tiny_patch4_window7_224_20220317-1cdeb081 swin_small_patch4_window7_224_20220317-7ba6d6dd "
        "swin_base_patch4_window7_224_20220317-e9b98025 swin_base_patch4_window7_224_22k_20220317-4f79f7c0 "
        "swin_base_patch4_window12_384_20220317-55b0104a swin_base_patch4_window12_384_22k_20220317-e5c09f74 "
        "swin_large_patch4_window7_224_22k_20220412-aeecf2aa swin_large_patch4_window12_384_22k_20220412-6580f57d "
        "swin_tiny_patch4_window7_224.20220308=swin_tiny_patch4_window7_224_20220308-f41b89d3 "
        "swin_large_patch4_window7_224_22k.20220308=swin_large_patch4_window7_224_22k_20220308-d5bdebaf",
    ),
    (
        f"{_MMSEG}pretrain/segmenter/",
        "Apache-2.0",
        "vit_tiny_p16_384_20220308-cce8c795 vit_small_p16_384_20220308-410f6037 vit_base_p16_384_20220308-96dfe169 "
        "vit_large_p16_384_20220308-d4efb41d",
    ),
    (
        f"{_MMSEG}pretrain/twins/",
        "Apache-2.0",
        "alt_gvt_small_20220308-7e1c3695 alt_gvt_base_20220308-1b7eb711 alt_gvt_large_20220308-fb5936f3 "
        "pcpvt_small_20220308-e638c41c pcpvt_base_20220308-0621964c pcpvt_large_20220308-37579dc6",
    ),
    (
        f"{_MMSEG}pretrain/segnext/",
        "Apache-2.0",
        "mscan_t_20230227-119e8c9f mscan_s_20230227-f33ccdf2 mscan_b_20230227-3ab7d230 mscan_l_20230227-cef260d4",
    ),
    (f"{_MMSEG}pretrain/stdc/", "MIT", "stdc1_20220308-5368626c stdc2_20220308-7dbd9127"),
    (
        f"{_MMSEG}pretrain/pidnet/",
        "MIT",
        "pidnet-s_imagenet1k_20230306-715e6273 pidnet-m_imagenet1k_20230306-39893c52 "
        "pidnet-l_imagenet1k_20230306-67889109",
    ),
    (
        f"{_MMSEG}ddrnet/pretrain/",
        "MIT",
        "ddrnet23s-in1kpre_3rdparty-1ccac5b1 ddrnet23-in1kpre_3rdparty-9ca29f62",
    ),
    (
        f"{_MMSEG}san/",
        "MIT",
        "clip_vit-base-patch16-224_3rdparty-d08f8887 clip_vit-large-patch14-336_3rdparty-0b5df9cb",
    ),
    (
        f"{_MMSEG}vpd/",
        "CreativeML OpenRAIL-M: uses are restricted",
        "stable_diffusion_v1-5_pretrain_third_party",
    ),
    (f"{_MMSEG}vpd/", "", "nyu_class_embeddings"),
    (_JX, "Apache-2.0", "jx_vit_base_p16_224-80ecf9dd jx_vit_large_p16_384-b3be5167"),
    (f"{_META}deit/", "Apache-2.0", "deit_small_patch16_224-cd65a155 deit_base_patch16_224-b5f2ef4d"),
    (f"{_META}mae/pretrain/", NON_COMMERCIAL, "mae_pretrain_vit_base"),
)
"""Beginning of addresses, licence, files without ".pth"; NAME=FILE where the name does not follow from the file."""

_ENTIRE: tuple[tuple[str, str, str], ...] = (
    (
        "beit_base_patch16_224_pt22k_ft22k",
        "https://huggingface.co/timm/beit_base_patch16_224.in22k_ft_in22k/resolve/main/model.safetensors",
        "MIT",
    ),
    (
        "beit_large_patch16_224_pt22k_ft22k",
        "https://huggingface.co/timm/beit_large_patch16_224.in22k_ft_in22k/resolve/main/model.safetensors",
        "MIT",
    ),
)
"""Name, address, licence: the same weights as timm keeps them, whose first address is gone."""

SHORT_NAMES: dict[str, dict[str, str]] = {
    "open-mmlab": {
        "resnet18_v1c": "resnet18_v1c",
        "resnet50_v1c": "resnet50_v1c",
        "resnet101_v1c": "resnet101_v1c",
        "resnext50_32x4d": "resnext50-32x4d",
        "resnext101_32x4d": "resnext101_32x4d",
        "resnext101_64x4d": "resnext101_64x4d",
        "resnest50": "resnest50_d2",
        "resnest101": "resnest101_d2",
        "resnest200": "resnest200_d2",
        "msra/hrnetv2_w18_small": "hrnetv2_w18_small",
        "msra/hrnetv2_w18": "hrnetv2_w18",
        "msra/hrnetv2_w32": "hrnetv2_w32",
        "msra/hrnetv2_w40": "hrnetv2_w40",
        "msra/hrnetv2_w48": "hrnetv2_w48",
        "contrib/mobilenet_v3_small": "mobilenet_v3_small",
        "contrib/mobilenet_v3_large": "mobilenet_v3_large",
    },
    "torchvision": {
        **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
        **{f"resnet{depth}.imagenet1k_v2": f"resnet{depth}.imagenet1k_v2" for depth in (50, 101, 152)},
        "resnext50_32x4d": "torchvision_resnext50_32x4d",
        "resnext101_32x8d": "torchvision_resnext101_32x8d",
        "mobilenet_v2": "torchvision_mobilenet_v2",
    },
    "mmcls": {
        "mobilenet_v2": "mobilenet_v2",
        **{f"resnet{depth}": f"mmcls_resnet{depth}" for depth in (18, 34, 50, 101)},
        **{f"resnet{depth}_v1d": f"mmcls_resnet{depth}_v1d" for depth in (50, 101)},
        "resnest50": "mmcls_resnest50",
        "resnest101": "mmcls_resnest101",
    },
}
"""Scheme -> short name -> name in the table."""

PLACED: dict[str, str] = {
    "vit_large_p16.pth": "jx_vit_large_p16_384",
    "vit_base_patch16_224.pth": "jx_vit_base_p16_224",
    "vit-b16_p16_224-80ecf9dd.pth": "jx_vit_base_p16_224",
    "mae_pretrain_vit_base_mmcls.pth": "mae_pretrain_vit_base",
}
"""Files that configs expect under `pretrain/`, made by their users from other files, which are the ones of the table.

Converted names and the first ones are both read, so that a file there, too, is taken as it is.
"""

NOT_USABLE: dict[str, str] = {
    "san/san-vit-b16_pascal_context-640x640": "`pretrain/vit_base_patch16_224.pth`",
    "san/san-vit-l14_pascal_context-640x640": "`pretrain/jx_vit_base_p16_224-80ecf9dd.pth`, which is of another "
    "size, too",
}
"""Configs that name image classifiers where CLIP's weights are wanted, there as here, and which."""

_DIGITS = re.compile(r"-([0-9a-f]{8})(?=\.[a-z]+$|$)")
_DATE = re.compile(r"_20\d{6}$")


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A file of pretrained weights.

    address: of the web. sha256: the first digits of its hash; "" where none are known. licence: in words; "" likewise.
    """

    name: str
    address: str
    sha256: str = ""
    licence: str = ""


def digits_of(address: str) -> str:
    """The digits of its hash that the name of a file ends in; "" where there are none."""
    found = _DIGITS.search(address.rpartition("/")[2])
    return found[1] if found else ""


def _entries() -> dict[str, Pretrained]:
    found = {}
    for base, licence, files in _FILES:
        for written in files.split():
            name, given, file = written.rpartition("=")
            if not given:
                name = _DATE.sub("", _DIGITS.sub("", file.rpartition("/")[2]))
                file = written
            assert name not in found, name
            found[name] = Pretrained(name, f"{base}{file}.pth", digits_of(file), licence)
    return found | {name: Pretrained(name, address, "", licence) for name, address, licence in _ENTIRE}


PRETRAINED: dict[str, Pretrained] = _entries()
"""Name -> what is known of the file."""
