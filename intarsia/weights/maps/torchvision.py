"""torchvision: FCN and DeepLabV3 on dilated ResNets, and ResNet itself.

The backbones have strides (1, 2, 1, 1), dilations (1, 1, 2, 4) and `contract_dilation`. DeepLabV3's head has one layer
more than OpenMMLab's: `ASPPHead(project=True)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from intarsia.weights.maps.description import BN, IMAGENET, Description, Values, describe, normalising
from intarsia.weights.maps.rearrange import last_group_first
from intarsia.weights.maps.rules import KeyMap, Names, rules

_STEM = rules("", "backbone.", {"conv1.weight": "conv1.weight", "bn1.*": "bn1.*"})

RESNET_STAGES = rules(
    "layer{stage}.{block}.",
    "backbone.layer{stage}.{block}.",
    {
        "conv{i}.weight": "conv{i}.weight",
        "bn{i}.*": "bn{i}.*",
        "downsample.{i}.*": "downsample.{i}.*",
    },
)
"""The names are the same; a file of the backbone alone lacks the word before them."""

_BACKBONE = tuple(rule.within("backbone.", "") for rule in (*_STEM, *RESNET_STAGES))

_FCN: Names = {"0.weight": "convs.0.conv.weight", "1.*": "convs.0.bn.*", "4.*": "conv_seg.*"}

_AUXILIARY = rules("aux_classifier.", "auxiliary_head.", _FCN)

_BRANCHES: Names = {
    f"0.convs.{branch}.{i}.*": f"aspp_modules.{branch}.{name}.*"
    for branch in range(4)
    for i, name in enumerate(("conv", "bn"))
}

_DEEPLABV3 = rules(
    "classifier.",
    "decode_head.",
    {
        **_BRANCHES,
        "0.convs.4.1.weight": "image_pool.1.conv.weight",
        "0.convs.4.2.*": "image_pool.1.bn.*",
        "0.project.0.weight": ("project.conv.weight", last_group_first),
        "0.project.1.*": "project.bn.*",
        "1.weight": "bottleneck.conv.weight",
        "2.*": "bottleneck.bn.*",
        "4.*": "conv_seg.*",
    },
)

MAPS = (
    KeyMap(
        "DeepLabV3 of torchvision",
        ("backbone.layer4.0.conv1.weight", "classifier.0.project.0.weight"),
        (*_BACKBONE, *_DEEPLABV3, *_AUXILIARY),
    ),
    KeyMap(
        "FCN of torchvision",
        ("backbone.layer4.0.conv1.weight", "classifier.0.weight", "classifier.4.weight"),
        (*_BACKBONE, *rules("classifier.", "decode_head.", _FCN), *_AUXILIARY),
    ),
    KeyMap(
        "ResNet of torchvision", ("conv1.weight", "layer4.0.conv1.weight"), (*_STEM, *RESNET_STAGES), unused=("fc.*",)
    ),
)

_BLOCKS = {6: 50, 23: 101, 36: 152}
"""Blocks of a ResNet's third stage -> its layers."""

_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The classes of the published weights."""


class Shaped(Protocol):
    """A tensor, or what is known of one before it is read."""

    @property
    def shape(self) -> Sequence[int]:
        """Its sides."""
        ...


def describe_file(state: Mapping[str, Shaped]) -> Description:
    """The model of a file of FCN or DeepLabV3, from the shapes in it; torchvision writes nothing else.

    Raises ValueError if the backbone is no ResNet of 50, 101 or 152 layers.
    """
    blocks = sum(name.endswith(".bn1.weight") and name.startswith("backbone.layer3.") for name in state)
    if blocks not in _BLOCKS:
        raise ValueError(f"a ResNet whose third stage has {blocks} blocks is not published; expected {list(_BLOCKS)}")
    outputs = state["classifier.4.weight"].shape[0]
    model: Values = {
        "backbone": {
            "type": "ResNet",
            "depth": _BLOCKS[blocks],
            "strides": [1, 2, 1, 1],
            "dilations": [1, 1, 2, 4],
            "contract_dilation": True,
            "out_indices": [0, 1, 2, 3],
            "style": "pytorch",
            "norm_cfg": BN,
        }
    }
    if "classifier.0.project.0.weight" in state:
        model["decode_head"] = {
            "type": "ASPPHead",
            "dilations": [1, 12, 24, 36],
            "project": True,
            **_head(state["classifier.0.project.0.weight"].shape[0], 3, outputs, 1.0),
        }
    else:
        model["decode_head"] = _fcn_head(state["classifier.0.weight"].shape[0], 3, outputs, 1.0)
    if "aux_classifier.0.weight" in state:
        model["auxiliary_head"] = _fcn_head(state["aux_classifier.0.weight"].shape[0], 2, outputs, 0.5)
    published = outputs == len(_VOC)
    if published:
        notes = [
            f"its {outputs} classes are taken for those of Pascal VOC, as in all weights that torchvision publishes",
            "images are resized to 520 pixels at their shorter side, as for those weights; another size: --config",
        ]
    else:
        notes = ["images are not resized: the file does not say for which size it was trained; another size: --config"]
    return describe(
        model,
        normalising(*IMAGENET),
        resizing=[{"type": "ResizeShortestEdge", "scale": 520, "max_size": 1_000_000}] if published else [],
        classes=_VOC if published else [f"class {number}" for number in range(outputs)],
        notes=notes,
    )


def _fcn_head(channels: int, level: int, outputs: int, loss_weight: float) -> Values:
    return {"type": "FCNHead", "num_convs": 1, "concat_input": False, **_head(channels, level, outputs, loss_weight)}


def _head(channels: int, level: int, outputs: int, loss_weight: float) -> Values:
    return {
        "in_channels": 256 * 2**level,
        "in_index": level,
        "channels": channels,
        "dropout_ratio": 0.1,
        "num_classes": outputs,
        "norm_cfg": BN,
        "align_corners": False,
        "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": loss_weight},
    }
