"""MobileNetV2, as a dilated backbone for dense prediction.

Paper: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381 (table 2; dense
    prediction in section 6.3).
Original code: https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet

Deviations, shared with OpenMMLab's published weights: strides are padded on both sides, as PyTorch does; of a dilated
stage only the first block is dilated; the last 1 x 1 convolution before the classifier of images is left out.

Published scores, single scale, mIoU:
    Cityscapes 512x1024, 80k steps    FCN 71.19    PSPNet 70.23    DeepLabV3 73.84    DeepLabV3+ 75.20
    ADE20K 512x512, 160k steps        FCN 19.71    PSPNet 29.68    DeepLabV3 34.08    DeepLabV3+ 34.02

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.inverted_residual import RELU6, InvertedResidual
from intarsia.layers.norm import BN, Norm
from intarsia.layers.squeeze_excite import make_divisible
from intarsia.layers.stages import checked_out_indices, freeze, keep_statistics

STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Table 2: expansion, channels and blocks of each stage."""
STEM_CHANNELS = 32


class MobileNetV2(nn.Module):
    """A strided convolution and seven stages of inverted residual blocks.

    Args:
        in_channels: bands of the image.
        widen_factor: of all channels, which are then rounded to multiples of 8.
        strides: of each stage's first block.
        dilations: of each stage's first block.
        out_indices: stages whose outputs are returned.
        frozen_stages: the stem (0) and this many stages keep weights and statistics as loaded; -1 freezes nothing.
        norm: behind each convolution.
        activation: of every convolution that has one.
        norm_eval: batch norms always use their running statistics.
        checkpoint_activations: recompute each block in the backward pass instead of keeping its activations.

    Convolutions start Kaiming-normal by fan_out, norms as identity.

    Raises ValueError if there is not one stride and one dilation for each stage, or for a stage that there is not.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        widen_factor: float = 1.0,
        strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
        dilations: Sequence[int] = (1, 1, 1, 1, 1, 1, 1),
        out_indices: Sequence[int] = (1, 2, 4, 6),
        frozen_stages: int = -1,
        norm: Norm = BN,
        activation: Activation = RELU6,
        norm_eval: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if len(strides) != len(STAGES) or len(dilations) != len(STAGES):
            raise ValueError(
                f"MobileNetV2 has {len(STAGES)} stages with one stride and one dilation each; "
                f"got strides={tuple(strides)}, dilations={tuple(dilations)}"
            )
        if not -1 <= frozen_stages <= len(STAGES):
            raise ValueError(f"frozen_stages must lie between -1 (none) and {len(STAGES)}; got {frozen_stages}")
        self.out_indices = checked_out_indices(out_indices, len(STAGES))
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.checkpoint_activations = checkpoint_activations
        self.layer_names = tuple(f"layer{stage + 1}" for stage in range(len(STAGES)))
        channels = make_divisible(STEM_CHANNELS * widen_factor)
        self.conv1 = ConvNormAct(in_channels, channels, 3, stride=2, padding=1, norm=norm, activation=activation)
        level_strides = list(accumulate(strides, mul, initial=2))[1:]
        levels: list[FeatureSpec] = []
        for stage, (expand_ratio, width, count) in enumerate(STAGES):
            blocks = nn.Sequential()
            for i in range(count):
                before, channels = channels, make_divisible(width * widen_factor)
                stride, dilation = (strides[stage], dilations[stage]) if i == 0 else (1, 1)
                blocks.append(
                    InvertedResidual(
                        before, channels, stride=stride, dilation=dilation, expand_ratio=expand_ratio, norm=norm,
                        activation=activation,
                    )
                )  # fmt: skip
            self.add_module(self.layer_names[stage], blocks)
            levels.append(FeatureSpec(channels, level_strides[stage]))
        self.features = tuple(levels[stage] for stage in self.out_indices)
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        x = self.conv1(images)  # (N, C, H / 2, W / 2)
        outputs: list[Tensor] = []
        for stage, name in enumerate(self.layer_names):
            for block in getattr(self, name):
                x = run_block(block, x, checkpoint=self.checkpoint_activations)
            if stage in self.out_indices:
                outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> MobileNetV2:
        """Training mode, except for what is frozen and, under `norm_eval`, every batch norm."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            keep_statistics(self)
        return self

    def _freeze(self) -> None:
        if self.frozen_stages >= 0:
            freeze(getattr(self, name) for name in ("conv1", *self.layer_names[: self.frozen_stages]))
