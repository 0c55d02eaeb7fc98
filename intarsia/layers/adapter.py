"""What ViT-Adapter puts beside a plain transformer: a pyramid of convolutions, and attention between both.

Paper: Chen et al., Vision Transformer Adapter for Dense Predictions, arXiv:2205.08534, section 3.
Names of tensors are those of the authors' published weights.

Shape letters: N images, C channels, H, W height and width of the images; T tokens of the transformer, one a patch;
S positions of the pyramid's three coarse levels, one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import Size
from intarsia.layers.activation import RELU
from intarsia.layers.deformable_attention import DeformableAttention
from intarsia.layers.drop_path import DropPath
from intarsia.layers.norm import Norm

_LN = Norm("LN", eps=1e-6)


class SpatialPrior(nn.Module):
    """Convolutions with norms make levels of strides 4 to 32, each brought to `channels` (section 3.3)."""

    def __init__(self, in_channels: int, width: int, channels: int, *, norm: Norm) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stem = nn.Sequential(*_halved(in_channels, width, norm), *_kept(width, norm), *_kept(width, norm), pool)
        self.conv2 = nn.Sequential(*_halved(width, 2 * width, norm))
        self.conv3 = nn.Sequential(*_halved(2 * width, 4 * width, norm))
        self.conv4 = nn.Sequential(*_halved(4 * width, 4 * width, norm))
        for number, factor in enumerate((1, 2, 4, 4), start=1):
            self.add_module(f"fc{number}", nn.Conv2d(factor * width, channels, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, bands, H, W), multiples of 32 -> (N, C, H / s, W / s) for the strides s of 4, 8, 16 and 32."""
        x, levels = images, []
        for number, stage in enumerate((self.stem, self.conv2, self.conv3, self.conv4), start=1):
            x = stage(x)
            levels.append(getattr(self, f"fc{number}")(x))
        return levels


def _halved(in_channels: int, channels: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False), norm(channels), RELU()]


def _kept(channels: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels), RELU()]


class _Depthwise(nn.Module):
    """One depthwise 3 x 3 convolution for all levels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """(N, S, C), levels of these sizes -> (N, S, C)."""
        levels = x.split([height * width for height, width in sizes], dim=1)
        maps = [level.transpose(1, 2).unflatten(2, size) for level, size in zip(levels, sizes, strict=True)]
        return torch.cat([self.dwconv(level).flatten(2).transpose(1, 2) for level in maps], dim=1)


class ConvFFN(nn.Module):
    """A perceptron with a depthwise convolution before its activation."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.dwconv = _Depthwise(hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """(N, S, C), levels of these sizes -> (N, S, C)."""
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(x), sizes)))
        return out


class _Attention(nn.Module):
    """Tokens look at levels of features; both behind norms."""

    def __init__(self, channels: int, num_heads: int, *, num_levels: int, num_points: int, ratio: float) -> None:
        super().__init__()
        self.query_norm = _LN(channels)
        self.feat_norm = _LN(channels)
        self.attn = DeformableAttention(
            channels, num_heads, num_levels=num_levels, num_points=num_points, value_ratio=ratio
        )

    def looked_at(self, query: Tensor, features: Tensor, points: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Tokens (N, L, C) at points (L, 2), features of levels of these sizes -> (N, L, C)."""
        found: Tensor = self.attn(self.query_norm(query), self.feat_norm(features), points, sizes)
        return found


class Injector(_Attention):
    """Patches look at the pyramid; what they see counts `gamma` times, 0 at first (equation 1)."""

    def __init__(self, channels: int, num_heads: int, *, num_points: int, ratio: float) -> None:
        super().__init__(channels, num_heads, num_levels=3, num_points=num_points, ratio=ratio)
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, patches: Tensor, pyramid: Tensor, points: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Patches (N, T, C) at points (T, 2), the pyramid (N, S, C) of three sizes -> patches (N, T, C)."""
        return patches + self.gamma * self.looked_at(patches, pyramid, points, sizes)


class Extractor(_Attention):
    """The pyramid looks at the patches; then comes a perceptron (equations 2 and 3)."""

    def __init__(
        self, channels: int, num_heads: int, *, num_points: int, ratio: float, ffn_ratio: float, drop_path_rate: float
    ) -> None:
        super().__init__(channels, num_heads, num_levels=1, num_points=num_points, ratio=ratio)
        self.ffn = ConvFFN(channels, int(channels * ffn_ratio))
        self.ffn_norm = _LN(channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, pyramid: Tensor, patches: Tensor, points: Tensor, sizes: Sequence[Size], grid: Size) -> Tensor:
        """The pyramid (N, S, C) of three sizes at points (S, 2), patches (N, T, C) of a grid -> pyramid (N, S, C)."""
        pyramid = pyramid + self.looked_at(pyramid, patches, points, [grid])
        out: Tensor = pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), sizes))
        return out


class Interaction(nn.Module):
    """What stands around some blocks of the transformer. extra: two more extractors behind the last blocks."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        num_points: int,
        ratio: float,
        ffn_ratio: float,
        drop_path_rate: float,
        extra: bool,
    ) -> None:
        super().__init__()

        def extractor() -> Extractor:
            return Extractor(
                channels, num_heads, num_points=num_points, ratio=ratio, ffn_ratio=ffn_ratio,
                drop_path_rate=drop_path_rate,
            )  # fmt: skip

        self.injector = Injector(channels, num_heads, num_points=num_points, ratio=ratio)
        self.extractor = extractor()
        self.extra_extractors = nn.Sequential(extractor(), extractor()) if extra else None

    def extract(self, pyramid: Tensor, patches: Tensor, points: Tensor, sizes: Sequence[Size], grid: Size) -> Tensor:
        """As `Extractor.forward`, by all that there are."""
        for extractor in (self.extractor, *(self.extra_extractors or ())):
            pyramid = extractor(pyramid, patches, points, sizes, grid)
        return pyramid
