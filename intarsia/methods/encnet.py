"""EncNet: the image as a whole says which channels matter, and which classes it shows.

Paper: Zhang et al., Context Encoding for Semantic Segmentation, arXiv:1803.08904.
Original code: https://github.com/zhanghang1989/PyTorch-Encoding

Deviations, shared with the original code and OpenMMLab's published weights: a pixel is rectified behind the sum of
itself and its gated self, where the paper only gates it; training has an auxiliary FCN head on the third stage instead
of a second encoding there.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  77.94 (79.13)    R-101  78.55 (79.47)
    Cityscapes 769x769, 80k steps     R-50  77.44 (78.72)    R-101  76.10 (76.97)
    ADE20K 512x512, 160k steps        R-50  40.10 (41.71)    R-101  42.61 (44.01)

Shape letters: N images, C channels, K classes, H, W height and width of the labels, h, w of the level that is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import IGNORE_INDEX, HeadOutput, ImageLogits
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.encoding import Encoding
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import Norm
from intarsia.layers.resized_concat import conv_of_resized


class ContextEncoding(nn.Module):
    """What the image is made of, as one vector, and the channels weighted by it (figure 2)."""

    def __init__(self, channels: int, num_codes: int, *, norm: Norm | None, activation: Activation) -> None:
        super().__init__()
        self.encoding_project = ConvNormAct(channels, channels, 1, norm=norm, activation=activation)
        self.encoding = nn.Sequential(
            Encoding(channels, num_codes), norm(num_codes) if norm else nn.Identity(), nn.ReLU(inplace=True)
        )
        self.fc = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> the encoding (N, C), and the map with its channels weighted (N, C, h, w)."""
        encode, normalise, rectify = self.encoding
        differences = encode(self.encoding_project(x)).unsqueeze(3)  # (N, num_codes, C, 1): the words are normalised
        encoded = rectify(normalise(differences)).mean(dim=1).squeeze(2)  # (N, C)
        return encoded, F.relu(x + x * self.fc(encoded)[..., None, None])


class EncHead(nn.Module):
    """A convolution, the context encoding, and the classifier; in training also which classes the image shows.

    Args:
        in_channels: channels of each level.
        channels: channels in the head.
        num_classes: number of logits.
        in_index: the levels; without `add_lateral` only the last is read.
        num_codes: code words.
        use_se_loss: whether training asks which classes the image shows (section 3.1, the semantic encoding loss).
        add_lateral: bring the other levels to the size of the last, and fuse them with it.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution, and over the code words.
        activation: behind each norm.
        align_corners: how levels are resized here, and logits by those who consume them.

    Raises ValueError if `in_channels` and `in_index` are no lists of one length.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (1, 2, 3),
        num_codes: int = 32,
        use_se_loss: bool = True,
        add_lateral: bool = False,
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("EncHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners

        def conv(before: int, kernel_size: int) -> ConvNormAct:
            padding = kernel_size // 2
            return ConvNormAct(before, channels, kernel_size, padding=padding, norm=norm, activation=activation)

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.bottleneck = conv(self.in_channels[-1], 3)
        if add_lateral:
            self.lateral_convs = nn.ModuleList(conv(width, 1) for width in self.in_channels[:-1])
            self.fusion = conv(len(self.in_channels) * channels, 3)
        self.add_lateral = add_lateral
        self.enc_module = ContextEncoding(channels, num_codes, norm=norm, activation=activation)
        self.se_layer = nn.Linear(channels, num_classes) if use_se_loss else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the last level read."""
        _, x = self._encoded(features)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits of the pixels as "", and as "se" those of the classes that the image shows (N, K)."""
        encoded, x = self._encoded(features)
        outputs: dict[str, HeadOutput] = {"": self.conv_seg(self.dropout(x))}
        if self.se_layer is not None:
            outputs["se"] = ImageLogits(self.se_layer(encoded))
        return outputs

    def _encoded(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Feature maps -> the encoding of the image (N, channels), and what is classified (N, channels, h, w)."""
        levels = [features[i] for i in self.in_index]
        x = self.bottleneck(levels[-1])  # (N, channels, h, w)
        if self.add_lateral:
            laterals = [conv(level) for conv, level in zip(self.lateral_convs, levels[:-1], strict=True)]
            x = conv_of_resized(self.fusion, [x, *laterals], align_corners=self.align_corners)
        encoded, x = self.enc_module(x)
        return encoded, x


class ClassesPresent:
    """Which classes the labels of an image show, as one yes or no for each: the target of EncNet's "se" output.

    ignore_index: neither yes nor no, whichever label is ignored.
    """

    ignore_index = IGNORE_INDEX

    def __call__(
        self, labels: Tensor, logits: Tensor, outputs: Mapping[str, Tensor], maps: Mapping[str, Tensor]
    ) -> Tensor:
        """Labels (N, H, W), logits (N, 1, 1, K) -> 1 for each class that some pixel has, else 0, (N, 1, K).

        A label that is no class, such as that of ignored pixels, shows nothing. A single logit is of class 1, as
        everywhere.
        """
        num_classes = logits.shape[3]
        pixels = labels.flatten(1) - int(num_classes == 1)  # (N, H * W)
        classes = pixels.where((pixels >= 0) & (pixels < num_classes), num_classes)
        present = pixels.new_zeros(len(pixels), num_classes + 1).scatter_(1, classes, 1)  # (N, K + 1)
        return present[:, None, :num_classes]
