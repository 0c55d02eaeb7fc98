"""What methods have in common whose queries run through plain transformer blocks beside patches, and become masks.

Kerssies et al., EoMT, arXiv:2503.19108.

Shape letters: N images, C channels, Q queries, P tokens before the patches, h, w height and width of the grid of
patches, T = Q + P + h w all tokens, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions, Size
from intarsia.layers import precision
from intarsia.layers.levels import resize
from intarsia.layers.norm import LayerNorm2d
from intarsia.layers.patch_embed import within_image

ANNEALING_POWER = 0.9


class ScaleBlock(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = LayerNorm2d(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 2 h, 2 w)."""
        out: Tensor = self.norm(self.conv2(F.gelu(self.conv1(x))))
        return out


def mask_perceptron(channels: int) -> nn.Sequential:
    """From queries to what the pixels are multiplied with."""
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.GELU(),
        nn.Linear(channels, channels),
        nn.GELU(),
        nn.Linear(channels, channels),
    )


def predicted(
    tokens: Tensor,
    num_queries: int,
    grid: Size,
    *,
    class_head: Callable[[Tensor], Tensor],
    mask_head: Callable[[Tensor], Tensor],
    upscale: Callable[[Tensor], Tensor],
) -> MaskPredictions:
    """What the first tokens (N, T, C), the queries, say of the last ones, the patches of a grid."""
    height, width = grid
    queries, patches = tokens[:, :num_queries], tokens[:, tokens.shape[1] - height * width :]
    pixels = upscale(patches.transpose(1, 2).unflatten(2, (height, width)))  # (N, C, 4 h, 4 w)
    return MaskPredictions(class_head(queries), torch.einsum("nqc,nchw->nqhw", mask_head(queries), pixels))


def attention_mask(masks: Tensor, grid: Size, num_prefix: int, probability: Tensor) -> Tensor:
    """Mask logits (N, Q, 4 h, 4 w) -> (N, 1, T, T): queries look at the patches of their mask, all else at all.

    Queries that the probability does not hit look at all patches, too.
    """
    inside = resize(precision.full_precision(masks.detach()), grid).flatten(2) > 0  # (N, Q, h w)
    free = torch.rand(inside.shape[:2], device=inside.device) > probability  # (N, Q)
    patches, others = inside.shape[2], inside.shape[1] + num_prefix
    return F.pad(inside | free.unsqueeze(-1), (others, 0, 0, patches + num_prefix), value=True).unsqueeze(1)


def cut_to(found: Sequence[MaskPredictions], size: Size, cell: int) -> tuple[MaskPredictions, ...]:
    """The predictions without what lies beyond an image of `size`; cell: its pixels to a cell of the masks."""
    return tuple(MaskPredictions(x.class_logits, within_image(x.mask_logits, size, cell)) for x in found)


def annealing_of(
    num_blocks: int, start: Sequence[float] | None, end: Sequence[float] | None
) -> tuple[tuple[float, float], ...]:
    """When masked attention of each block begins to fade, and when it is gone, as parts of the training.

    By default from one to five sixths of the training, each block for one sixth. Raises ValueError for schedules that
    are not one ascending pair in 0..1 for each block.
    """
    apart = 1 / 2 / max(num_blocks - 1, 1)  # first starts at 1/6, last at 4/6
    starts = [1 / 6 + apart * i for i in range(num_blocks)] if start is None else list(start)
    ends = [first + 1 / 6 for first in starts] if end is None else list(end)
    if len(starts) != num_blocks or len(ends) != num_blocks:
        raise ValueError(
            f"annealing_start and annealing_end have one entry for each of {num_blocks} blocks (num_blocks); "
            f"got {len(starts)} and {len(ends)}"
        )
    pairs = tuple(zip(map(float, starts), map(float, ends), strict=True))
    if any(not 0 <= first < last <= 1 for first, last in pairs):
        raise ValueError(f"annealing runs from a part of the training to a later one, both in 0..1; got {list(pairs)}")
    return pairs


def masked_share(annealing: Sequence[tuple[float, float]], progress: float) -> Tensor:
    """The probability of masked attention of each block: 1 before its start, then (1 - t)^0.9, 0 from its end on."""
    shares = [
        (1 - min(max((progress - start) / (end - start), 0.0), 1.0)) ** ANNEALING_POWER for start, end in annealing
    ]
    return torch.tensor(shares)
