"""Maps looked at in some places only, and which places are worth it.

Kirillov et al., PointRend: Image Segmentation as Rendering, arXiv:1912.08193, section 3.1. Mask2Former draws the points
of its losses in the same way (arXiv:2112.01527, section 3.2).

Shape letters: N images, C channels, P points, H, W height and width of a map, in any stride. A point is (x, y) in 0..1
of the map's width and height: (0, 0) is the outer corner of the first pixel, whose centre lies at (0.5 / W, 0.5 / H).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_at(maps: Tensor, points: Tensor) -> Tensor:
    """Values of maps (N, C, H, W) at points (N, P, 2), bilinear between the centres of pixels -> (N, C, P).

    Outside the map there are zeros, so that a point within half a pixel of the edge gets less of the edge's value.
    Computed in the wider of the two precisions, as half of it is too coarse to tell the pixels of a large map apart;
    the result has the precision of the maps.
    """
    dtype = torch.promote_types(maps.dtype, points.dtype)
    grid = (2.0 * points.to(dtype) - 1.0).unsqueeze(2)  # (N, P, 1, 2), in -1..1
    return F.grid_sample(maps.to(dtype), grid, mode="bilinear", align_corners=False).squeeze(3).to(maps.dtype)


@torch.no_grad()
def uncertain_points(
    maps: Tensor,
    uncertainty: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_ratio: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random points, mostly where the prediction is unsure: (N, num_points, 2) in float32.

    Of `oversample_ratio` * `num_points` points drawn uniformly, the most uncertain are kept: a share of
    `importance_ratio` of the result. The others are drawn uniformly again.

    maps: logits (N, C, H, W). uncertainty: logits at points (N, C, P) -> (N, P), larger where less is certain.
    generator: where the points are drawn; by default torch's own of the device.

    Raises ValueError for an `oversample_ratio` below 1, or an `importance_ratio` outside of 0..1.
    """
    if oversample_ratio < 1 or not 0 <= importance_ratio <= 1:
        raise ValueError(
            f"oversample_ratio must be at least 1 and importance_ratio lie in 0..1; "
            f"got {oversample_ratio} and {importance_ratio}"
        )

    def draw(count: int) -> Tensor:
        return torch.rand(maps.shape[0], count, 2, generator=generator, device=maps.device, dtype=torch.float32)

    candidates = draw(int(num_points * oversample_ratio))  # (N, oversample_ratio * P, 2)
    kept = int(num_points * importance_ratio)
    uncertainties = uncertainty(sample_at(maps, candidates))  # (N, oversample_ratio * P)
    best = uncertainties.topk(kept, dim=1).indices  # (N, kept)
    chosen = candidates.gather(1, best.unsqueeze(2).expand(-1, -1, 2))  # (N, kept, 2)
    return torch.cat([chosen, draw(num_points - kept)], dim=1)
