"""PSANet: every pixel collects from all others, and distributes to them, by attention that knows where they are.

Paper: Zhao et al., PSANet: Point-wise Spatial Attention Network for Scene Parsing, ECCV 2018.
Original code: https://github.com/hszhao/PSANet (Caffe), https://github.com/hszhao/semseg (PyTorch).

Deviations, shared with OpenMMLab's published weights:
* Attention is normalised by a softmax over the pixels that give, and is computed at half the level's size, as in the
  original's PyTorch code. Training has an auxiliary FCN head on the third stage.
* The convolution behind the attention is padded: its map has a border of one pixel more, of what norm and activation
  make of zeros, and resizing to the level squeezes it in.
* With `compact=True` a head of type "collect" alone reads its attention as the paper's "distribute" does, and the other
  way round; no published weights are compact.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  77.24 (78.69)    R-101  79.31 (80.53)
    Cityscapes 769x769, 80k steps     R-50  79.31 (80.91)    R-101  79.69 (80.89)
    ADE20K 512x512, 160k steps        R-50  41.67 (42.95)    R-101  43.74 (45.38)
    Pascal VOC 2012 + aug, 40k steps  R-50  76.30 (77.35)    R-101  77.73 (79.05)

Shape letters: N images, C channels, K classes, H, W height and width of the level, h, w of the shrunk level,
P = h * w pixels, M places of a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Size
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import resize
from intarsia.layers.memory_order import in_order
from intarsia.layers.norm import Norm
from intarsia.layers.resizing_matrices import resized_by_corners

PsaType = Literal["collect", "distribute", "bi-direction"]


# --- Attention ----------------------------------------------------------------------------------------------------


def collected(relative: Tensor, mask_size: Size) -> Tensor:
    """How much each pixel takes from every other: relative (N, M, h, w) -> (N, P, P), giver x taker.

    A pixel has a mask of `mask_size` places (height, width) around it, the middle one being the pixel itself, or of two
    the first. Places beyond the map are dropped; pixels beyond the mask give 0 (section 3.3, figure 4).
    """
    return in_order(_absolute(relative, mask_size).permute(0, 4, 2, 3, 1)).flatten(3).flatten(1, 2)


def distributed(relative: Tensor, mask_size: Size) -> Tensor:
    """How much each pixel gives to every other: relative (N, M, h, w) -> (N, P, P), giver x taker.

    As `collected`, with the mask of the pixel that gives.
    """
    return in_order(_absolute(relative, mask_size).permute(0, 3, 1, 4, 2)).flatten(3).flatten(1, 2)


def _absolute(relative: Tensor, mask_size: Size) -> Tensor:
    """(N, M, h, w) -> (N, w, w', h, h'): what the pixel at (h, w) says of the one at (h', w')."""
    height, width = ((side - 1) // 2 for side in mask_size)
    masks = relative.unflatten(1, mask_size)  # (N, M_h, M_w, h, w)
    x = _placed(masks.permute(0, 1, 3, 4, 2), width)  # (N, M_h, h, w, w')
    return _placed(x.permute(0, 3, 4, 2, 1), height)


def _placed(x: Tensor, middle: int) -> Tensor:
    """Entries (..., P, M) of P pixels in a line, where entry i is about `i - middle` pixels further on -> (..., P, P).

    Row p has what pixel p says of each pixel, 0 where it says nothing. Rows of 2 P entries are read as rows of 2 P - 1:
    each begins one earlier than the last, which turns distances into places.
    """
    count, places = x.shape[-2], x.shape[-1]
    if torch.compiler.is_exporting():  # where a pad here is negative, OpenVINO gives something else, and says nothing
        x = F.pad(x, (count, count))[..., middle + 1 : middle + 1 + 2 * count]
    else:
        left = count - 1 - middle
        x = F.pad(x, (left, 2 * count - left - places))  # a negative pad crops
    x = in_order(x).flatten(-2)  # (..., P * 2 P)
    x = x[..., count - 1 : count - 1 + count * (2 * count - 1)]
    rows: Tensor = x.unflatten(-1, (count, 2 * count - 1))
    return rows[..., :count]


@torch.fx.wrap
def compact(absolute: Tensor, *, swapped: bool) -> Tensor:
    """Attention whose places are the pixels of the map themselves: (N, M, h, w) -> (N, P, P), giver x taker.

    swapped: the pixel at (h, w) is the giver.

    Raises ValueError if M is not h * w.
    """
    places, height, width = absolute.shape[1:]
    if places != height * width:
        raise ValueError(
            f"PSAHead with compact=True has {places} places in its mask (mask_size), one for each pixel of its "
            f"(shrunk) level, but the level has {height} x {width} pixels; images must have the size it is made for"
        )
    weights = absolute.flatten(2)  # (N, P, P)
    return weights.transpose(1, 2) if swapped else weights


# --- Sizes --------------------------------------------------------------------------------------------------------


@torch.fx.wrap
def shrunk(x: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) at 1 / factor of the size; corner pixels stay corner pixels where both sides leave a remainder."""
    if factor == 1:
        return x
    height, width = x.shape[2:]
    corners = _keeps_corners(height, width, factor)
    return _resized(x, (height // factor + corners, width // factor + corners), corners)


@torch.fx.wrap
def enlarged(x: Tensor, like: Tensor, factor: int, *, align_corners: bool) -> Tensor:
    """Brought to the size of `like`, by the corners as `shrunk` had them: (N, C, h, w) -> (N, C, H, W).

    align_corners: where nothing was shrunk.
    """
    height, width = like.shape[2:]
    if factor == 1:
        return resize(x, (height, width), align_corners=align_corners)
    return _resized(x, (height, width), _keeps_corners(height, width, factor))


def _keeps_corners(height: int, width: int, factor: int) -> int:
    """1 where both sides leave a remainder, else 0; written so that it stays open while a network is exported."""
    return cast("int", torch.sym_min(torch.sym_min(height % factor, width % factor), 1))


def _resized(x: Tensor, size: Size, corners: int) -> Tensor:
    """Bilinear, with corners kept where that is 1."""
    if torch.compiler.is_exporting():
        return resized_by_corners(x, size, corners)
    return resize(x, size, align_corners=bool(corners))


# --- Head ---------------------------------------------------------------------------------------------------------


class PSAHead(nn.Module):
    """Attention in one or both directions beside the level, a convolution that fuses them, and the classifier.

    Args:
        in_channels: channels of the level read.
        channels: channels of the attention and of the fusion.
        num_classes: number of logits.
        mask_size: height and width of the mask of each pixel; twice the shrunk level less one sees everything.
        in_index: the level read.
        psa_type: whether pixels collect, distribute, or both ("bi-direction").
        compact: the mask has the places of the shrunk level, at no distance from the pixel. All images have one size.
        shrink_factor: attention is computed at this part of the level's size.
        normalization_factor: what gathered pixels are divided by.
        psa_softmax: normalise what a pixel gets by a softmax over all that give.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution but those that make the masks.
        activation: behind each norm.
        align_corners: how the context is resized where nothing is shrunk, and logits by those who consume them.

    Raises ValueError for an unknown type, and with `compact` for levels of another size than `mask_size`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_classes: int,
        mask_size: tuple[int, int],
        in_index: int = -1,
        psa_type: PsaType = "bi-direction",
        compact: bool = False,
        shrink_factor: int = 2,
        normalization_factor: float = 1.0,
        psa_softmax: bool = True,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if psa_type not in ("collect", "distribute", "bi-direction"):
            raise ValueError(f"psa_type must be 'collect', 'distribute' or 'bi-direction'; got {psa_type!r}")
        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.mask_size = (mask_size[0], mask_size[1])
        self.psa_type = psa_type
        self.compact = compact
        self.shrink_factor = shrink_factor
        self.least_cells = shrink_factor  # of one cell by several, nothing would be left
        self.normalization_factor = normalization_factor
        self.psa_softmax = psa_softmax

        def conv(before: int, width: int, kernel_size: int = 1) -> ConvNormAct:
            padding = kernel_size // 2
            return ConvNormAct(before, width, kernel_size, padding=padding, norm=norm, activation=activation)

        def masks() -> nn.Sequential:
            places = nn.Conv2d(channels, mask_size[0] * mask_size[1], 1, bias=False)
            return nn.Sequential(conv(channels, channels), places)

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.reduce, self.attention = conv(in_channels, channels), masks()
        both = psa_type == "bi-direction"
        if both:
            self.reduce_p, self.attention_p = conv(in_channels, channels), masks()
        width = 2 * channels if both else channels
        self.proj = ConvNormAct(width, in_channels, 1, padding=1, norm=norm, activation=activation)  # see deviations
        self.bottleneck = conv(2 * in_channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, H, W)."""
        x = features[self.in_index]  # (N, C, H, W)
        if self.psa_type == "bi-direction":
            collect = self._flow(self.reduce(x), self.attention, collect=True)
            distribute = self._flow(self.reduce_p(x), self.attention_p, collect=False)
            flow = torch.cat([collect, distribute], dim=1)  # (N, 2 * channels, h, w)
        else:
            flow = self._flow(self.reduce(x), self.attention, collect=self.psa_type == "collect")
        context = self.proj(flow)  # (N, C, h + 2, w + 2)
        context = enlarged(context, x, self.shrink_factor, align_corners=self.align_corners)  # (N, C, H, W)
        logits: Tensor = self.conv_seg(self.dropout(self.bottleneck(torch.cat([x, context], dim=1))))  # (N, K, H, W)
        return logits

    def _flow(self, x: Tensor, masks: nn.Module, *, collect: bool) -> Tensor:
        """What each pixel gets: (N, channels, H, W) -> (N, channels, h, w), shrunk."""
        x = shrunk(x, self.shrink_factor)
        said = masks(x)  # (N, M, h, w)
        if self.compact:
            # Alone, the two are each other's: see the deviations above.
            weights = compact(said, swapped=collect is not (self.psa_type == "bi-direction"))
        else:
            weights = (collected if collect else distributed)(said, self.mask_size)  # (N, P, P)
        if self.psa_softmax:
            weights = weights.softmax(dim=1)
        flow: Tensor = (in_order(x).flatten(2) @ weights).unflatten(2, x.shape[2:])
        return flow / self.normalization_factor
