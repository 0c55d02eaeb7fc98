"""K-Net: the kernels of a classifier are fitted to the image, round by round, by what their masks cover.

Paper: Zhang et al., K-Net: Towards Unified Image Segmentation, NeurIPS 2021, arXiv:2106.14855. Here is its semantic
    form (section 3.4): one kernel for each class, no matching of kernels with objects.
Original code: https://github.com/ZwwWayne/K-Net (PyTorch).

The first kernels and masks are the classifier and the logits of another head, which arrives built. Training looks at
the masks of every round, the first ones included.

Deviations from the paper, shared with OpenMMLab's published weights: a pixel belongs to the classes by the softmax of
their logits; each round sees the map through a 1 x 1 convolution of its own; kernels of 512 channels are mixed with
what they gathered in two groups of 256, with the same weights for both.

Published scores, ADE20K, 80k steps, three rounds, single scale (flipped and multi-scale), mIoU:
    512x512    R-50     FCN     43.60 (45.12)    PSPNet  44.18 (45.58)    DeepLabV3  45.06 (46.11)
               R-50     UPerNet 43.45 (44.07)
               Swin-T   UPerNet 45.84 (46.27)
               Swin-L   UPerNet 52.05 (53.24)    the same at 640x640  52.21 (53.34)

Shape letters: N images, K classes, hence kernels, C channels of map and kernels, h, w height and width of the map,
P = h * w pixels, G groups of D channels (C = G * D).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from intarsia.contracts import HeadOutput
from intarsia.layers import precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.cross_attention import Attention, initialise_matrices
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.norm import Norm
from intarsia.layers.precision import layer_norm, linear

LN = Norm("LN")


class KernelGenerateHead(Protocol):
    """A head whose logits are a 1 x 1 convolution of one map: `conv_seg(dropout(fused(features)))`."""

    in_index: int | tuple[int, ...]
    in_channels: int | tuple[int, ...]
    num_classes: int
    align_corners: bool
    conv_seg: nn.Conv2d
    dropout: nn.Module

    def fused(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> the map that is classified (N, C, h, w)."""
        ...


class KernelUpdator(nn.Module):
    """Mixes a kernel with what it gathered; gates decide for each channel (section 3.2, "adaptive feature update").

    Args:
        in_channels: D, channels of a kernel, or of a group of its channels.
        feat_channels: channels of the gates and of what passes through them.
        out_channels: of the mixture; None for `in_channels`.
        norm: a layer norm, of the gates, of what they let through, and of the mixture.
        activation: at the end.

    Raises ValueError for a norm that is not made for vectors.
    """

    def __init__(
        self,
        *,
        in_channels: int = 256,
        feat_channels: int = 64,
        out_channels: int | None = None,
        norm: Norm = LN,
        activation: Activation = RELU,
    ) -> None:
        super().__init__()
        if norm.kind != "LN":
            raise ValueError(f"KernelUpdator normalises vectors, so that its norm is LN; got {norm.kind}")

        def of_vectors(channels: int) -> nn.LayerNorm:
            return cast("nn.LayerNorm", norm(channels))

        self.in_channels = in_channels
        self.out_channels = in_channels if out_channels is None else out_channels
        self.dynamic_layer = nn.Linear(in_channels, 2 * feat_channels)  # of what was gathered
        self.input_layer = nn.Linear(in_channels, 2 * feat_channels)  # of the kernel
        self.input_gate = nn.Linear(feat_channels, feat_channels)
        self.update_gate = nn.Linear(feat_channels, feat_channels)
        self.norm_in = of_vectors(feat_channels)
        self.norm_out = of_vectors(feat_channels)
        self.input_norm_in = of_vectors(feat_channels)
        self.input_norm_out = of_vectors(feat_channels)
        self.fc_layer = nn.Linear(feat_channels, self.out_channels)
        self.fc_norm = of_vectors(self.out_channels)
        self.activation = activation()

    def forward(self, kernels: Tensor, gathered: Tensor) -> Tensor:
        """Kernels and what they gathered, both (..., D) -> (..., out_channels).

        In float32 at least: what was gathered is a sum over pixels, and is multiplied before it is normalised.
        """
        gathered_key, gathered = linear(self.dynamic_layer, gathered).chunk(2, dim=-1)  # (..., feat_channels) each
        kernel_key, kernel = linear(self.input_layer, kernels).chunk(2, dim=-1)  # (..., feat_channels) each
        match = gathered_key * kernel_key
        gathered_gate = layer_norm(self.norm_in, linear(self.update_gate, match)).sigmoid()
        kernel_gate = layer_norm(self.input_norm_in, linear(self.input_gate, match)).sigmoid()
        mixed = gathered_gate * layer_norm(self.norm_out, gathered)
        mixed = mixed + kernel_gate * layer_norm(self.input_norm_out, kernel)
        out: Tensor = self.activation(layer_norm(self.fc_norm, linear(self.fc_layer, mixed)))
        return out.to(kernels.dtype)


class KernelUpdateHead(nn.Module):
    """One round: kernels gather what their masks cover, mix with it, see each other, make new masks (figure 2).

    Args:
        kernel_updator: mixes kernels with what they gathered.
        in_channels: C, channels of kernels and map.
        out_channels: of the kernels that the new masks are made with, hence `in_channels` as well; None for that.
        num_heads: of the attention between kernels.
        num_mask_fcs: linear layers, each with norm and activation, before the one that gives the masks' kernels.
        feedforward_channels: hidden channels of the perceptron behind the attention.
        dropout: in attention and perceptron.
        feat_transform: whether the map goes through a 1 x 1 convolution first.
        activation: behind the linear layers of `num_mask_fcs`.
        ffn_activation: in the perceptron.

    Raises ValueError if channels do not fit together. Weights start Xavier-uniform.
    """

    def __init__(
        self,
        *,
        kernel_updator: KernelUpdator,
        in_channels: int = 256,
        out_channels: int | None = None,
        num_heads: int = 8,
        num_mask_fcs: int = 3,
        feedforward_channels: int = 2048,
        dropout: float = 0.0,
        feat_transform: bool = False,
        activation: Activation = RELU,
        ffn_activation: Activation = RELU,
    ) -> None:
        super().__init__()
        if out_channels not in (None, in_channels):
            raise ValueError(
                f"kernels are applied to a map of in_channels={in_channels}, so out_channels is the same; "
                f"got {out_channels}"
            )
        updated = kernel_updator.in_channels, kernel_updator.out_channels
        if in_channels % updated[0] or updated[0] != updated[1]:
            raise ValueError(
                f"kernels of in_channels={in_channels} are updated in groups of channels of equal size, but the "
                f"KernelUpdator turns {updated[0]} into {updated[1]}; set its in_channels and out_channels to "
                f"{in_channels} or a divisor of it"
            )
        self.in_channels = in_channels
        self.group_channels = kernel_updator.in_channels
        self.attention = Attention(in_channels, num_heads, dropout=dropout)
        self.attention_norm = nn.LayerNorm(in_channels)
        self.kernel_update_conv = kernel_updator
        self.feat_transform = ConvNormAct(in_channels, in_channels, 1, activation=None) if feat_transform else None
        self.ffn = FeedForward(in_channels, feedforward_channels, activation=ffn_activation, dropout=dropout)
        self.ffn_norm = nn.LayerNorm(in_channels)
        layers: list[nn.Module] = []
        for _ in range(num_mask_fcs):
            layers += [nn.Linear(in_channels, in_channels, bias=False), nn.LayerNorm(in_channels), activation()]
        self.mask_fcs = nn.Sequential(*layers)
        self.fc_mask = nn.Linear(in_channels, in_channels)
        initialise_matrices(self)

    def forward(self, x: Tensor, kernels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, C, h, w), kernels (N, K, C), their masks as logits (N, K, h, w) -> new kernels and their masks."""
        if self.feat_transform is not None:
            x = self.feat_transform(x)  # (N, C, h, w)
        pixels = x.flatten(2)  # (N, C, P)
        masks = precision.full_precision(logits).softmax(dim=1).flatten(2)  # (N, K, P)
        gathered = precision.sums_over_pixels(masks, pixels)  # (N, K, C)
        kernels = self._updated(kernels, gathered)
        kernels = self.attention_norm(kernels + self.attention(kernels, kernels, kernels))  # (N, K, C)
        kernels = self.ffn_norm(kernels + self.ffn(kernels))  # (N, K, C)
        filters = self.fc_mask(self.mask_fcs(kernels))  # (N, K, C)
        return kernels, (filters @ pixels).unflatten(2, x.shape[2:])

    def _updated(self, kernels: Tensor, gathered: Tensor) -> Tensor:
        """The update of each group of channels: (N, K, C) twice -> (N, K, C)."""
        groups = (-1, self.group_channels)
        mixed: Tensor = self.kernel_update_conv(kernels.unflatten(2, groups), gathered.unflatten(2, groups))
        return mixed.flatten(2)  # of (N, K, G, D)


class IterativeDecodeHead(nn.Module):
    """A head that classifies pixels one by one, and rounds that refine its kernels and masks.

    Args:
        kernel_generate_head: gives the map, and with its `conv_seg` the first kernels and masks.
        kernel_update_head: the rounds.
        num_stages: how many rounds there are, where a config says it twice.

    Raises ValueError if there is no round, another number than `num_stages`, or one for other channels than the map's.
    """

    def __init__(
        self,
        *,
        kernel_generate_head: KernelGenerateHead,
        kernel_update_head: Sequence[KernelUpdateHead],
        num_stages: int | None = None,
    ) -> None:
        super().__init__()
        if not kernel_update_head or num_stages not in (None, len(kernel_update_head)):
            raise ValueError(
                f"IterativeDecodeHead needs one update head or more, and num_stages to count them; got "
                f"{len(kernel_update_head)} in kernel_update_head and num_stages={num_stages}"
            )
        channels = kernel_generate_head.conv_seg.in_channels
        for i, update in enumerate(kernel_update_head):
            if update.in_channels != channels:
                raise ValueError(
                    f"kernel_update_head.{i} expects in_channels={update.in_channels}, but the map of the "
                    f"{type(kernel_generate_head).__name__} has {channels} (its argument channels)"
                )
        self.in_index = kernel_generate_head.in_index
        self.in_channels = kernel_generate_head.in_channels
        self.num_classes = kernel_generate_head.num_classes
        self.align_corners = kernel_generate_head.align_corners
        self.kernel_generate_head = kernel_generate_head
        self.kernel_update_head = nn.ModuleList(kernel_update_head)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) of the last round."""
        *_, logits = self._rounds(features)
        return logits

    def training_outputs(self, features: Sequence[Tensor], *previous_logits: Tensor) -> dict[str, HeadOutput]:
        """Feature maps -> the first logits "s0" and those of each round, "s1", "s2" ...; (N, K, h, w) each."""
        return {f"s{i}": logits for i, logits in enumerate(self._rounds(features))}

    def _rounds(self, features: Sequence[Tensor]) -> Iterator[Tensor]:
        head = self.kernel_generate_head
        x = head.fused(features)  # (N, C, h, w)
        logits: Tensor = head.conv_seg(head.dropout(x))  # (N, K, h, w)
        yield logits
        kernels = head.conv_seg.weight.flatten(1).expand(x.shape[0], -1, -1)  # (N, K, C)
        for update in self.kernel_update_head:
            kernels, logits = update(x, kernels, logits)
            yield logits
