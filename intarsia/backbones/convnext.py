"""ConvNeXt: a ResNet with what vision transformers taught, and without attention.

Paper: Liu et al., A ConvNet for the 2020s, arXiv:2201.03545, section 2 and table 9. `use_grn` is of its successor,
    Woo et al., ConvNeXt V2, arXiv:2301.00808, which has no factors on branches (layer_scale_init_value 0).
Original code: https://github.com/facebookresearch/ConvNeXt

Deviations, shared with OpenMMLab's published weights: none in the computation; every level that is given has a norm of
its own. Sizes that are no multiple of a stride are rounded down, as in the original.

Published scores with UPerNet on ADE20K, 160k steps, single scale (flipped and multi-scale), mIoU:
    512x512, trained on ImageNet-1k first     T 46.11 (46.62)    S 48.56 (49.02)    B 48.71 (49.54)
    640x640, trained on ImageNet-22k first    B 52.13 (52.66)    L 53.16 (53.38)    XL 53.58 (54.11)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.drop_path import DropPath
from intarsia.layers.global_response import GlobalResponseNorm
from intarsia.layers.layer_scale import layer_scale
from intarsia.layers.norm import Norm
from intarsia.layers.stages import freeze, layer_indices

LN2D = Norm("LN2d", eps=1e-6)

ARCHITECTURES: dict[str, Mapping[str, Sequence[int]]] = {
    "atto": {"depths": (2, 2, 6, 2), "channels": (40, 80, 160, 320)},
    "femto": {"depths": (2, 2, 6, 2), "channels": (48, 96, 192, 384)},
    "pico": {"depths": (2, 2, 6, 2), "channels": (64, 128, 256, 512)},
    "nano": {"depths": (2, 2, 8, 2), "channels": (80, 160, 320, 640)},
    "tiny": {"depths": (3, 3, 9, 3), "channels": (96, 192, 384, 768)},
    "small": {"depths": (3, 3, 27, 3), "channels": (96, 192, 384, 768)},
    "base": {"depths": (3, 3, 27, 3), "channels": (128, 256, 512, 1024)},
    "large": {"depths": (3, 3, 27, 3), "channels": (192, 384, 768, 1536)},
    "xlarge": {"depths": (3, 3, 27, 3), "channels": (256, 512, 1024, 2048)},
    "huge": {"depths": (3, 3, 27, 3), "channels": (352, 704, 1408, 2816)},
}
"""Blocks and channels of each stage. From "tiny" to "xlarge" the paper's; the others came with ConvNeXt V2."""


class Block(nn.Module):
    """A wide convolution within each channel and a perceptron over the channels, beside a shortcut (figure 4).

    layer_scale_init_value: at which the factors of the branch start; at 0 there are none. use_grn: channels of the
    perceptron are weighed by their global response.
    """

    def __init__(
        self,
        channels: int,
        *,
        layer_scale_init_value: float,
        drop_path_rate: float,
        norm: Norm,
        activation: Activation,
        use_grn: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = norm(channels)
        self.pointwise_conv1 = nn.Linear(channels, 4 * channels)
        self.act = activation()
        self.grn = GlobalResponseNorm(4 * channels) if use_grn else None
        self.pointwise_conv2 = nn.Linear(4 * channels, channels)
        self.gamma = layer_scale(channels, layer_scale_init_value) if layer_scale_init_value > 0 else None
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out = self.norm(self.depthwise_conv(x)).permute(0, 2, 3, 1)  # (N, h, w, C)
        out = self.act(self.pointwise_conv1(out))
        out = self.pointwise_conv2(out if self.grn is None else self.grn(out))
        if self.gamma is not None:
            out = out * self.gamma
        branch: Tensor = self.drop_path(out.permute(0, 3, 1, 2))
        return x + branch


class ConvNeXt(nn.Module):
    """Four stages of blocks at strides 4, 8, 16, 32, with a strided convolution before each.

    Args:
        arch: name of a size in `ARCHITECTURES`, or such `depths` and `channels` themselves.
        in_channels: bands of the image.
        stem_patch_size: side and distance of the patches that the first stage reads.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        layer_scale_init_value: at which the factors of each block's branch start; at 0 there are none.
        use_grn: weigh the channels of each perceptron by their global response (ConvNeXt V2).
        out_indices: stages whose outputs are returned, each behind a norm; -1 is the last.
        frozen_stages: so many stages, with what comes before each, keep their weights as loaded.
        norm: everywhere.
        activation: of the perceptrons.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Linear layers and convolutions start truncated-normal (0.02) with biases at 0, norms as identity, as in the
    original.

    Raises ValueError for a size that does not exist, or stages that the size does not have.
    """

    def __init__(
        self,
        *,
        arch: str | Mapping[str, Sequence[int]] = "tiny",
        in_channels: int = 3,
        stem_patch_size: int = 4,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        use_grn: bool = False,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        norm: Norm = LN2D,
        activation: Activation = GELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        depths, widths = _architecture(arch)
        self.out_indices = layer_indices(out_indices, len(depths))
        if not 0 <= frozen_stages <= len(depths):
            raise ValueError(f"frozen_stages must lie between 0 (none) and {len(depths)}; got {frozen_stages}")
        self.frozen_stages = frozen_stages
        self.checkpoint_activations = checkpoint_activations
        last = max(sum(depths) - 1, 1)
        rates = iter([drop_path_rate * i / last for i in range(sum(depths))])
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        for stage, (depth, channels) in enumerate(zip(depths, widths, strict=True)):
            shrink = (
                [norm(widths[stage - 1]), nn.Conv2d(widths[stage - 1], channels, 2, stride=2)]
                if stage
                else [nn.Conv2d(in_channels, channels, stem_patch_size, stride=stem_patch_size), norm(channels)]
            )
            self.downsample_layers.append(nn.Sequential(*shrink))
            blocks = [
                Block(
                    channels,
                    layer_scale_init_value=layer_scale_init_value,
                    drop_path_rate=next(rates),
                    norm=norm,
                    activation=activation,
                    use_grn=use_grn,
                )
                for _ in range(depth)
            ]
            self.stages.append(nn.Sequential(*blocks))
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", norm(widths[stage]))
        self.features = tuple(FeatureSpec(widths[stage], stem_patch_size * 2**stage) for stage in self.out_indices)
        self.least_size = stem_patch_size * 2 ** (len(depths) - 1)
        self.apply(_initialise)
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / stride, W / stride), rounded down."""
        x = images
        outputs: list[Tensor] = []
        for i, (shrink, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = shrink(x)
            for block in cast("nn.Sequential", stage):
                x = run_block(block, x, checkpoint=self.checkpoint_activations)
            if i in self.out_indices:
                outputs.append(getattr(self, f"norm{i}")(x).contiguous())
        return tuple(outputs)

    def train(self, mode: bool = True) -> ConvNeXt:
        """Training mode, except for what is frozen."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        freeze([*self.downsample_layers[: self.frozen_stages], *self.stages[: self.frozen_stages]])


def _architecture(arch: str | Mapping[str, Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and channels of each stage."""
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(f"arch must be one of {', '.join(ARCHITECTURES)}, or depths and channels; got {arch!r}")
        arch = ARCHITECTURES[arch]
    if set(arch) != {"depths", "channels"} or len(arch["depths"]) != len(arch["channels"]):
        raise ValueError(f"arch needs depths and channels with an entry for each stage; got {dict(arch)}")
    return tuple(arch["depths"]), tuple(arch["channels"])


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
