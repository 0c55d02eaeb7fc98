"""Networks of timm as the encoders of segmentation_models.pytorch: what is computed, and which levels are given.

Those have the same tensors, and differ from timm's networks in three ways, none of which a file says:

    levels      an EfficientNet's finest is its stem; that of stride 16 of the smallest (`tf_efficientnet_b0`) is
                behind the first of three blocks of a stage; a MobileNetV2's coarsest is behind its last convolution;
                a DenseNet's are behind the norms of transitions, and its last norm has no activation
    borders     EfficientNets of TensorFlow (`tf_efficientnet_b1`) pad each convolution as for the one size of image
                that they were made for
    dilation    every convolution of a dilated stage is dilated alike, the first one too

https://github.com/qubvel-org/segmentation_models.pytorch (MIT), folder encoders. That both give the same levels:
`tests/weights/test_maps_smp_encoders.py`.

Shape letters: N images, H, W height and width of the images, C channels of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from intarsia.layers.patch_embed import pieces

Walk = Callable[[Any, Tensor, Sequence[int]], list[Tensor]]
"""Network, images (N, bands, H, W) and indices of levels -> those levels, each (N, C, h, w)."""

SIZES = {
    "tf_efficientnet_b0": 224, "tf_efficientnet_b1": 240, "tf_efficientnet_b2": 260, "tf_efficientnet_b3": 300,
    "tf_efficientnet_b4": 380, "tf_efficientnet_b5": 456, "tf_efficientnet_b6": 528, "tf_efficientnet_b7": 600,
}  # fmt: skip
"""Network -> the side of the images that its borders are for."""

_MOBILENET, _SMALLEST = "mobilenetv2", "tf_efficientnet_b0"
_SPLIT_STAGE = 4
"""Stage of the smallest EfficientNet whose first block gives the level of stride 16."""

_STAGES: dict[str, Callable[[Any], dict[int, Sequence[nn.Module]]]] = {
    **dict.fromkeys(("resnet", "sknet", "senet"), lambda network: {16: [network.layer3], 32: [network.layer4]}),
    "efficientnet": lambda network: _stages_of_efficientnet(network),
}
"""File of timm -> stride -> what is computed at it, for networks that can be dilated."""

FILES = frozenset({*_STAGES, "densenet", "vgg"})
"""Files of timm whose networks are encoders there, too."""


def prepare(network: Any, file: str, name: str, output_stride: int | None) -> Walk:
    """Change a network of timm into the encoder, and say how its levels are had.

    Raises ValueError for a network that is none there, or cannot be dilated.
    """
    if file not in FILES:
        raise ValueError(
            f"smp_encoder is for networks that segmentation_models.pytorch has of its own (ResNet, ResNeXt, SENet, "
            f"SKNet, VGG, DenseNet, EfficientNet, MobileNetV2); {name} is none: without smp_encoder"
        )
    network.splits_a_stage = name.partition(".")[0] == _SMALLEST
    if output_stride is not None:
        _dilate(network, file, name, output_stride)
    if file == "densenet":
        return _prepare_densenet(network)
    if file == "efficientnet":
        return _prepare_efficientnet(network, name.partition(".")[0])
    return _levels


def prune(network: Any, indices: Sequence[int]) -> None:
    """Leave away what lies behind the last of these levels."""
    last = getattr(network, "conv_head", None), getattr(network, "bn2", None)
    deepest = len(network.feature_info) - 1 in indices
    splits = getattr(network, "splits_a_stage", False)
    network.prune_intermediate_layers(list(indices), prune_norm=True, prune_head=True)
    if getattr(network, "last_convolution", False) and deepest:
        network.conv_head, network.bn2 = last
    if splits and not deepest and len(network.blocks) > _SPLIT_STAGE:
        network.blocks[_SPLIT_STAGE] = network.blocks[_SPLIT_STAGE][:1]
    if hasattr(network, "feature_ends") and not deepest:  # a DenseNet that ends within a transition
        network.features[-1].conv, network.features[-1].pool = nn.Identity(), nn.Identity()


def _levels(network: Any, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
    levels: list[Tensor] = network.forward_intermediates(images, indices=list(indices), intermediates_only=True)
    return levels


def _prepare_efficientnet(network: Any, name: str) -> Walk:
    if name.startswith(_MOBILENET):
        network.last_convolution = True
        network.feature_info[-1] = {**network.feature_info[-1], "num_chs": network.conv_head.out_channels}
        return _levels_with_last_convolution
    network.stage_ends[0] = 0
    network.feature_info[0] = {"module": "bn1", "num_chs": network.conv_stem.out_channels, "stage": 0, "reduction": 2}
    if name in SIZES:
        _pad_as_for(network, SIZES[name])
    return _levels_of_smallest if getattr(network, "splits_a_stage", False) else _levels


def _stages_of_efficientnet(network: Any) -> dict[int, Sequence[nn.Module]]:
    if not getattr(network, "splits_a_stage", False):
        return {16: list(network.blocks[3:5]), 32: list(network.blocks[5:])}
    first, *others = network.blocks[_SPLIT_STAGE]
    return {16: [network.blocks[3], first], 32: [*others, *network.blocks[_SPLIT_STAGE + 1 :]]}


def _levels_of_smallest(network: Any, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
    x = network.bn1(network.conv_stem(images))
    levels = [x]
    for i, stage in enumerate(network.blocks):
        for j, block in enumerate(stage):
            x = block(x)
            if i == _SPLIT_STAGE and j == 0:
                levels.append(x)
        if i + 1 in network.stage_ends and i != _SPLIT_STAGE:
            levels.append(x)
    return [levels[index] for index in indices]


def _levels_with_last_convolution(network: Any, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
    levels = _levels(network, images, indices)
    if not isinstance(network.conv_head, nn.Identity):
        levels[-1] = network.bn2(network.conv_head(levels[-1]))
    return levels


def _pad_as_for(network: Any, size: int) -> None:
    """Borders of strided convolutions as for images of this side: alike on both sides where a map's side is odd.

    timm pads by the map that comes, and a map of an image that is a multiple of 32 is always even.
    """
    side = pieces(size, 2)  # behind the stem, whose own borders are those of an even image
    for block in (block for stage in network.blocks for block in stage):
        conv = block.conv_dw
        if conv.stride[0] == 1:
            continue
        if side % 2:
            block.conv_dw = _padded_alike(conv)
        side = pieces(side, 2)


def _padded_alike(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, with as many zeros on each side."""
    size = conv.kernel_size[0]
    alike = nn.Conv2d(
        conv.in_channels, conv.out_channels, size, stride=conv.stride[0], padding=size // 2 * conv.dilation[0],
        dilation=conv.dilation[0], groups=conv.groups, bias=conv.bias is not None, device=conv.weight.device,
    )  # fmt: skip
    alike.weight, alike.bias = conv.weight, conv.bias
    return alike


def _prepare_densenet(network: Any) -> Walk:
    """Levels end with a transition, of which only the norm with its activation is run for the last."""
    network.feature_ends[1:-1] = [end + 1 for end in network.feature_ends[1:-1]]
    network.features.norm5.act = nn.Identity()
    return _levels_of_densenet


def _levels_of_densenet(network: Any, images: Tensor, indices: Sequence[int]) -> list[Tensor]:
    x, levels = images, []
    for place, (name, layer) in enumerate(network.features.named_children()):
        x = layer.norm(x) if name.startswith("transition") else layer(x)
        if place in network.feature_ends:
            levels.append(x)
        if name.startswith("transition"):
            x = layer.pool(layer.conv(x))
    return [levels[index] for index in indices]


def _dilate(network: Any, file: str, name: str, output_stride: int) -> None:
    if file not in _STAGES or output_stride not in (8, 16):
        raise ValueError(f"{name} cannot be given output_stride={output_stride} as segmentation_models.pytorch does it")
    for stride, modules in _STAGES[file](network).items():
        rate = stride // output_stride
        layers = (part for module in modules for part in module.modules() if not any(part.children()))
        for part in layers if rate > 1 else ():
            if isinstance(part, nn.Conv2d):
                part.stride, part.dilation = (1, 1), (rate, rate)
                part.padding = tuple(size // 2 * rate for size in part.kernel_size)
            elif getattr(part, "stride", 1) not in (1, (1, 1)):
                raise ValueError(
                    f"{name} strides by {type(part).__name__}, too, which no encoder of segmentation_models.pytorch "
                    f"does: it cannot be given output_stride={output_stride} in its way; without smp_encoder"
                )
    for level in network.feature_info:
        level["reduction"] = min(level["reduction"], output_stride)
