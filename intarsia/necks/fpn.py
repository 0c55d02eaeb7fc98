"""FPN: what the coarse levels of a backbone know, handed down to the fine ones.

Paper: Lin et al., Feature Pyramid Networks for Object Detection, arXiv:1612.03144.
Original code: https://github.com/facebookresearch/Detectron (Caffe2).

Deviations, shared with OpenMMLab's published weights: none for the recipes of semantic segmentation. The options for
levels coarser than the backbone's come from the detectors that this neck was made for (FPN, section 4.1, has the pooled
ones; RetinaNet, arXiv:1708.02002, section 4, the convolved ones).

Shape letters: N images, C channels, h_i, w_i height and width of level i, finest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import Norm

ExtraLevels = Literal["on_input", "on_lateral", "on_output"]


class FPN(nn.Module):
    """1 x 1 convolutions across, sums from the coarsest level down, 3 x 3 convolutions out (figure 3).

    Args:
        in_channels: channels of each level of the backbone.
        out_channels: channels of every level that comes out.
        num_outs: levels that come out. Those beyond the backbone's are each half as large as the one before.
        in_strides: strides of the backbone's levels, for those who want them compared with what they are.
        start_level: the first level read; those before it are left out.
        end_level: the level behind the last one read; -1 reads to the end. With any other value there are no levels
            beyond the backbone's.
        add_extra_convs: how levels beyond the backbone's are made. False takes every other pixel of the last output; a
            place is where a 3 x 3 convolution of stride 2 starts from: the backbone's last level ("on_input"), that
            level behind its 1 x 1 convolution and the sums ("on_lateral"), or the last output ("on_output"). True is
            "on_input".
        relu_before_extra_convs: rectify the levels that those convolutions read, except for the first.
        no_norm_on_lateral: leave out the norm of the 1 x 1 convolutions.
        norm: behind each convolution.
        activation: behind each norm.
        upsample_mode: how a coarser level is brought to the size of a finer one.

    Raises ValueError for numbers of levels that contradict each other.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        out_channels: int,
        num_outs: int,
        in_strides: Sequence[int] | None = None,
        start_level: int = 0,
        end_level: int = -1,
        add_extra_convs: bool | ExtraLevels = False,
        relu_before_extra_convs: bool = False,
        no_norm_on_lateral: bool = False,
        norm: Norm | None = None,
        activation: Activation | None = None,
        upsample_mode: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        super().__init__()
        self.in_channels = tuple(in_channels)
        self.in_strides = None if in_strides is None else tuple(in_strides)
        self.out_channels = out_channels
        end = len(in_channels) if end_level == -1 else end_level
        _check_levels(len(in_channels), self.in_strides, start_level, end, num_outs, extendable=end_level == -1)
        self.levels = range(start_level, end)
        self.num_extra = num_outs - (end - start_level)
        self.extra_from: ExtraLevels | None = "on_input" if add_extra_convs is True else add_extra_convs or None
        self.relu_before_extra_convs = relu_before_extra_convs
        self.upsample_mode = upsample_mode

        def conv(width: int, kernel_size: int, *, stride: int = 1, norm: Norm | None = norm) -> ConvNormAct:
            padding = kernel_size // 2
            layer = ConvNormAct(
                width, out_channels, kernel_size, stride=stride, padding=padding, norm=norm, activation=activation
            )
            nn.init.xavier_uniform_(layer.conv.weight)
            return layer

        lateral_norm = None if no_norm_on_lateral else norm
        self.lateral_convs = nn.ModuleList(conv(width, 1, norm=lateral_norm) for width in in_channels[start_level:end])
        self.fpn_convs = nn.ModuleList(conv(out_channels, 3) for _ in self.lateral_convs)
        for i in range(self.num_extra if self.extra_from else 0):
            first = i == 0 and self.extra_from == "on_input"
            self.fpn_convs.append(conv(in_channels[end - 1] if first else out_channels, 3, stride=2))

    def connect(self, features: tuple[FeatureSpec, ...]) -> tuple[FeatureSpec, ...]:
        """The backbone's levels -> `num_outs` levels: the strides of those that are read, doubled for each one beyond.

        Raises ValueError if the backbone's strides are others than `in_strides`.
        """
        given = tuple(level.stride for level in features)
        if self.in_strides not in (None, given):
            raise ValueError(
                f"FPN expects in_strides={self.in_strides}, but the backbone's levels have strides {given}"
            )
        strides = [given[i] for i in self.levels]
        strides += [strides[-1] * 2**i for i in range(1, self.num_extra + 1)]
        return tuple(FeatureSpec(self.out_channels, stride) for stride in strides)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The backbone's levels (N, C_i, h_i, w_i) -> `num_outs` levels (N, out_channels, h_i, w_i)."""
        inputs = [features[i] for i in self.levels]
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, inputs, strict=True)]
        for i in reversed(range(len(laterals) - 1)):
            laterals[i] = laterals[i] + self._enlarge(laterals[i + 1], laterals[i])
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=False)]
        return *outs, *self._extra_levels(inputs[-1], laterals[-1], outs[-1])

    def _enlarge(self, x: Tensor, like: Tensor) -> Tensor:
        align_corners = None if self.upsample_mode == "nearest" else False
        return F.interpolate(x, size=like.shape[2:], mode=self.upsample_mode, align_corners=align_corners)

    def _extra_levels(self, last_input: Tensor, last_lateral: Tensor, last_out: Tensor) -> list[Tensor]:
        """The levels beyond the backbone's, each (N, out_channels, h_i, w_i) at half the size of the one before."""
        levels: list[Tensor] = []
        if self.extra_from is None:
            for i in range(self.num_extra):
                levels.append((levels[i - 1] if i else last_out)[..., ::2, ::2])
            return levels
        sources = {"on_input": last_input, "on_lateral": last_lateral, "on_output": last_out}
        for i, conv in enumerate(self.fpn_convs[len(self.lateral_convs) :]):
            x = levels[i - 1] if i else sources[self.extra_from]
            levels.append(conv(F.relu(x) if i and self.relu_before_extra_convs else x))
        return levels


MOST_EXTRA = 16
"""Levels beyond those of the backbone, after which a map of any size is one pixel."""


def _check_levels(
    given: int, strides: Sequence[int] | None, start: int, end: int, num_outs: int, *, extendable: bool
) -> None:
    if strides is not None and len(strides) != given:
        raise ValueError(f"FPN reads {given} levels (in_channels), but in_strides has {len(strides)} entries")
    if not 0 <= start < end <= given:
        raise ValueError(
            f"FPN has {given} levels to read (in_channels), so that 0 <= start_level < end_level <= {given} must hold; "
            f"got start_level={start} and end_level={end} (-1 is the end)"
        )
    if num_outs > end - start + MOST_EXTRA:
        raise ValueError(f"FPN adds at most {MOST_EXTRA} levels, each of half the size; got num_outs={num_outs}")
    if num_outs < end - start or (num_outs > end - start and not extendable):
        fix = f"{end - start} or more" if extendable else f"{end - start}; further levels need end_level=-1"
        raise ValueError(f"FPN reads {end - start} levels, but num_outs is {num_outs}. Set it to {fix}.")
