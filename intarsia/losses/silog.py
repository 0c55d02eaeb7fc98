"""Scale-invariant logarithmic loss of depths: half of a common factor is forgiven.

Eigen, Puhrsch, Fergus, Depth map prediction from a single image using a multi-scale deep network, arXiv:1406.2283,
equation 4, of which it is the root.

Shape letters: N images, H, W height and width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from intarsia.layers.precision import full_precision, without_autocast

FORGIVEN = 0.5
"""The share of the error common to all pixels that costs nothing: lambda of the paper."""


class SiLogLoss(nn.Module):
    """Depths (N, 1, H, W) and true depths (N, H, W) or (N, 1, H, W), in any one unit -> scalar.

    Of each image, with d = log(truth) - log(prediction) where the truth is known,

        sqrt(mean(d^2) - mean(d)^2 / 2)

    An image without any known depth gives 0.

    Args:
        eps: a depth of this and less is not known, as one that is not finite; predictions count as no less.
        reduction: "mean" or "sum" over images; "none", where a head takes the mean, is the same as "mean".

    Half-precision depths are lifted to float32.
    """

    def __init__(self, *, eps: float = 1e-6, reduction: Literal["mean", "sum", "none"] = "mean") -> None:
        super().__init__()
        self.eps = eps
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Depths (N, 1, H, W) of a network, true depths (N, H, W) or (N, 1, H, W) -> scalar.

        Raises ValueError for depths of other shapes.
        """
        if logits.shape[1] != 1 or target.reshape(logits.shape[0], -1).shape[1] != logits[0].numel():
            raise ValueError(
                f"SiLogLoss compares depths (N, 1, H, W) with true ones of the same size; got {tuple(logits.shape)} "
                f"and {tuple(target.shape)}"
            )
        with without_autocast(logits):
            found = full_precision(logits).flatten(1)  # (N, H W)
            truth = target.flatten(1).to(found.dtype)
            known = (truth > self.eps) & truth.isfinite()
            error = truth.where(known, 1.0).log() - found.where(known, 1.0).clamp(min=self.eps).log()
            count = known.sum(dim=1).clamp(min=1)
            squares, common = (error**2).sum(dim=1) / count, error.sum(dim=1) / count  # (N,)
            # The root of 0 has no gradient: an image that is all right, or all unknown, gives none.
            of_images = (squares - FORGIVEN * common**2).clamp(min=torch.finfo(found.dtype).tiny).sqrt()
            of_images = of_images.where(known.any(dim=1), 0.0)
            return of_images.sum() if self.reduction == "sum" else of_images.mean()
