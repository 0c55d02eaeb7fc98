"""ERFNet: residual blocks of one-dimensional convolutions, in an encoder and a small decoder.

Paper: Romera et al., ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation, IEEE
    Transactions on Intelligent Transportation Systems 19(1), 2018.
Original code: https://github.com/Eromera/erfnet_pytorch

Deviations, shared with OpenMMLab's published weights: the classifier is an FCN head on a map of half the size, in place
of a third transposed convolution; dropout has the same rate everywhere in the encoder. And one of ours: at sides that
are no multiple of 8, the decoder's maps are cut to those of the encoder, since twice a half that was rounded up is one
pixel too many.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 160k steps    72.50 (74.75)

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.levels import cropped, resize
from intarsia.layers.norm import Norm

BN = Norm("BN", eps=1e-3)


class Downsample(nn.Module):
    """A strided convolution and a pooling side by side (section III-B)."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2, stride=2)
        self.bn = norm(out_channels)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h / 2, w / 2), rounded up."""
        convolved = self.conv(x)
        pooled = resize(self.pool(x), convolved.shape[2:])  # which rounds down, hence the resizing
        out: Tensor = self.act(self.bn(torch.cat([convolved, pooled], dim=1)))
        return out


class NonBottleneck1d(nn.Module):
    """Two 3 x 3 convolutions, each taken apart into 3 x 1 and 1 x 3; the second pair dilated (figure 2c)."""

    def __init__(
        self, channels: int, *, dilation: int = 1, drop_rate: float = 0.0, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()

        def pair(dilation: int) -> list[nn.Module]:
            return [
                nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1)),
                activation(),
                nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation)),
                norm(channels),
            ]

        self.act = activation()
        self.convs_layers = nn.Sequential(*pair(1), activation(), *pair(dilation), nn.Dropout(drop_rate))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        out: Tensor = self.act(self.convs_layers(x) + x)
        return out


class Upsample(nn.Module):
    """A transposed convolution of stride 2."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
        self.bn = norm(out_channels)
        self.act = activation()

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, *size), where size is that of 2 h and 2 w, or one less."""
        # torch's own argument `output_size` asks which sizes are possible, and an exported network could not; a padding
        # that depends on the size is nothing that ONNX has. One row too many is what both leave out.
        out: Tensor = self.act(self.bn(cropped(self.conv(x), size[0], size[1])))
        return out


class ERFNet(nn.Module):
    """The encoder to stride 8, and the decoder back to stride 2, which is the one level (table I).

    Args:
        in_channels: bands of the image.
        enc_downsample_channels: behind each of the three halvings.
        enc_stage_non_bottlenecks: residual blocks behind the second and the third.
        enc_non_bottleneck_dilations: of the blocks behind the third, in turn.
        enc_non_bottleneck_channels: of the blocks; those of the halving before.
        dec_upsample_channels: behind each of the two doublings.
        dec_stages_non_bottleneck: residual blocks behind each.
        dec_non_bottleneck_channels: of the blocks; those of the doubling before.
        dropout_ratio: at the end of each residual block of the encoder.
        norm: behind each pair of convolutions and each change of size.
        activation: of everything.
        checkpoint_activations: recompute each part in the backward pass instead of keeping its activations.

    Starts as torch's layers do.

    Raises ValueError if the sequences do not fit together.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        enc_downsample_channels: Sequence[int] = (16, 64, 128),
        enc_stage_non_bottlenecks: Sequence[int] = (5, 8),
        enc_non_bottleneck_dilations: Sequence[int] = (2, 4, 8, 16),
        enc_non_bottleneck_channels: Sequence[int] = (64, 128),
        dec_upsample_channels: Sequence[int] = (64, 16),
        dec_stages_non_bottleneck: Sequence[int] = (2, 2),
        dec_non_bottleneck_channels: Sequence[int] = (64, 16),
        dropout_ratio: float = 0.1,
        norm: Norm = BN,
        activation: Activation = RELU,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = checkpoint_activations
        first, second, third = _three(enc_downsample_channels)
        _check_pairs("enc_non_bottleneck_channels", (second, third), enc_non_bottleneck_channels)
        _check_pairs("dec_non_bottleneck_channels", dec_upsample_channels, dec_non_bottleneck_channels)
        for name, counts in (
            ("enc_stage_non_bottlenecks", enc_stage_non_bottlenecks),
            ("dec_stages_non_bottleneck", dec_stages_non_bottleneck),
        ):
            if len(counts) != 2:
                raise ValueError(f"{name} of ERFNet needs two entries; got {tuple(counts)}")

        def block(channels: int, dilation: int = 1, drop_rate: float = 0.0) -> NonBottleneck1d:
            return NonBottleneck1d(channels, dilation=dilation, drop_rate=drop_rate, norm=norm, activation=activation)

        few, many = enc_stage_non_bottlenecks
        dilations = tuple(enc_non_bottleneck_dilations) * (many // len(enc_non_bottleneck_dilations))
        self.encoder = nn.ModuleList([
            Downsample(in_channels, first, norm=norm, activation=activation),
            Downsample(first, second, norm=norm, activation=activation),
            *(block(second, drop_rate=dropout_ratio) for _ in range(few)),
            Downsample(second, third, norm=norm, activation=activation),
            *(block(third, dilation, dropout_ratio) for dilation in dilations),
        ])  # fmt: skip
        self.decoder = nn.ModuleList()
        for before, after, count in zip(
            (third, *dec_upsample_channels), dec_upsample_channels, dec_stages_non_bottleneck, strict=False
        ):
            self.decoder.append(Upsample(before, after, norm=norm, activation=activation))
            self.decoder.extend(block(after) for _ in range(count))
        self.features = (FeatureSpec(dec_upsample_channels[-1], 2),)
        self.least_size = 5  # two halvings that round up leave 2 pixels, which the third one's pooling needs

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(N, C, H, W) -> (N, channels, H / 2, W / 2), rounded up."""
        x, sizes = images, []
        for part in self.encoder:
            x = run_block(part, x, checkpoint=self.checkpoint_activations)
            if isinstance(part, Downsample):
                sizes.append(x.shape[2:])
        sizes.pop()  # the decoder begins at the coarsest
        for part in self.decoder:
            inputs = (x, sizes.pop()) if isinstance(part, Upsample) else (x,)
            x = run_block(part, *inputs, checkpoint=self.checkpoint_activations)
        return (x,)


def _three(channels: Sequence[int]) -> Sequence[int]:
    if len(channels) != 3:
        raise ValueError(
            f"ERFNet halves the map three times, so enc_downsample_channels needs 3 entries; got {channels}"
        )
    return channels


def _check_pairs(name: str, expected: Sequence[int], given: Sequence[int]) -> None:
    if len(expected) != 2 or tuple(expected) != tuple(given):
        raise ValueError(
            f"{name} of ERFNet must be the two channel counts of the changes of size before: "
            f"{tuple(expected)}; got {tuple(given)}"
        )
