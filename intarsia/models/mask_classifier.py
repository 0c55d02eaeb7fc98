"""The assembly of networks that find masks and name them, instead of naming pixels.

Shape letters: N images, C channels, Q queries, K classes, H, W height and width of the input, h, w of the masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.fx
from torch import Tensor, nn

from intarsia.contracts import Backbone, MaskClassificationHead, MaskPredictions, Neck
from intarsia.layers.levels import resize
from intarsia.layers.onednn import by_onednn
from intarsia.models.assembly import check_reader, connected, least_side, levels_of

BUDGET = 64 * 2**20
"""Bytes of enlarged masks beyond which they are worked off in strips: 840 MB for 100 masks of 1024 x 2048."""

_LEAST = 1e-4
"""Amounts nearer to 0 and 1 are that near: their logits would have no bounds."""

torch.fx.wrap("class_maps")  # one step for torch.fx, which cannot follow questions about a size


class MaskClassifier(nn.Module):
    """Backbone, optional neck, and a head whose queries find a mask and a class each.

    Children are named as in published weights: `backbone`, `neck`, `decode_head`. least_size: the smallest side of an
    image, in pixels.

    multi_label: a pixel may have several classes; then the answer is a logit of yes and no for each of them.

    Raises ValueError if neck or head expect other levels than they are given.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        decode_head: MaskClassificationHead,
        neck: Neck | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head
        source, self.features = connected(backbone, neck)
        check_reader("decode_head", decode_head, source, self.features)
        self.least_size = least_side(backbone, neck, decode_head)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> (N, K, H, W), how much of each class is in each pixel, in 0..Q.

        At the images' own size: `MaskClassificationModel` says why. With `multi_label`, `logits_of_amounts`.
        """
        amounts = class_maps(self.queries(images)[-1], images.shape[2:])
        return logits_of_amounts(amounts) if self.multi_label else amounts

    def queries(self, images: Tensor) -> tuple[MaskPredictions, ...]:
        """Normalised images (N, C, H, W) -> the queries after each layer of the head, the last being the answer."""
        with by_onednn(self, images):
            return self.decode_head(levels_of(images, self.backbone, self.neck))


def class_maps(predictions: MaskPredictions, size: Sequence[int]) -> Tensor:
    """The masks, enlarged to `size`, summed by the probabilities of their classes -> (N, K, *size), at least float32.

    MaskFormer, arXiv:2107.06278, section 3.4: the sum over q of p_q(class) m_q(pixel); what a query gives to "no
    object" is lost. Masks are enlarged before the sigmoid.
    """
    with torch.autocast(predictions.mask_logits.device.type, enabled=False):
        classes, masks = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in predictions)
        shares = classes.softmax(dim=-1)[..., :-1].transpose(1, 2)  # (N, K, Q)
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return _summed(shares, resize(masks, size))
        found = masks.new_empty((*shares.shape[:2], *size))  # (N, K, H, W)
        for top, strip in _strips(masks, size):
            found[:, :, top : top + strip.shape[2]] = _summed(shares, strip)
        return found


def logits_of_amounts(amounts: Tensor) -> Tensor:
    """How much of each class is in each pixel (N, K, H, W) -> logits whose sigmoid is that, within 1e-4 of 0 and 1.

    Each class by itself: what several classes have of a pixel need not sum to 1, and several queries that find the same
    class may have more than 1 of it.
    """
    return torch.logit(amounts, eps=_LEAST)


def _summed(shares: Tensor, masks: Tensor) -> Tensor:
    """Shares (N, K, Q) and mask logits (N, Q, H, W), which are overwritten -> (N, K, H, W)."""
    found: Tensor = (shares @ masks.sigmoid_().flatten(2)).unflatten(2, masks.shape[2:])
    return found


def _strips(masks: Tensor, size: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """The masks (N, Q, h, w) resized to (H, W), from top to bottom: a strip's first row, and the strip (N, Q, rows, W).

    A row of cells that becomes a power of two of rows can be enlarged by itself, with its neighbours above and below:
    the places between them are the same binary fractions wherever one begins to count, hence the same bits. Otherwise
    there is one strip.
    """
    cells, (height, width) = masks.shape[2], size
    scale = height // cells
    row_of_cells = masks.shape[0] * masks.shape[1] * scale * width * masks.element_size()
    if scale * cells != height or scale.bit_count() != 1 or row_of_cells * cells <= BUDGET:
        yield 0, resize(masks, size)
        return
    step = max(BUDGET // row_of_cells, 1)
    for first in range(0, cells, step):
        last = min(first + step, cells)
        above, below = min(first, 1), min(cells - last, 1)
        part = resize(masks[:, :, first - above : last + below], ((last - first + above + below) * scale, width))
        yield first * scale, part[:, :, above * scale : (above + last - first) * scale]
