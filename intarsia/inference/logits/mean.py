"""The mean of several models, of one image: of their probabilities, or of their logits.

Maps are taken one model after the other. What a head gives of a whole image is small where the head has a stride, and
is kept until the image is decided, as that of augmented views is; windows are computed by strips and forgotten. Where
the models would hold more than one map of the image's own size (a U-Net and its like: as many logits as pixels), they
are added up to such a map instead, and each is forgotten before the next one computes.

Shape letters: K channels; R rows of a strip; H, W of the original image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from intarsia.inference.logits.lazy import HeadLogits, LogitMap
from intarsia.inference.logits.postprocess import BUDGET, DEVICE_BUDGET, probabilities_of, rows_of

MeanOf = Literal["probabilities", "logits"]
"""What several models have a mean of."""


def check_mean(text: str) -> MeanOf:
    """The word as what it is. Raises ValueError for another."""
    for known in get_args(MeanOf):
        if text == known:
            mean: MeanOf = known
            return mean
    raise ValueError(f"--mean is {' or '.join(get_args(MeanOf))}, found {text!r}")


class MeanLogits:
    """The mean of the logits of several maps of one size."""

    def __init__(self, sources: Sequence[LogitMap]) -> None:
        self.sources, self.size = tuple(sources), sources[0].size
        self.area = max(source.area for source in sources)

    @property
    def like(self) -> Tensor:
        """See `LogitMap`."""
        return self.sources[0].like

    def rows(self, start: int, stop: int, channels: Sequence[int] | None = None) -> Tensor:
        """See `LogitMap`."""
        total = self.sources[0].rows(start, stop, channels).clone()
        for source in self.sources[1:]:
            total += source.rows(start, stop, channels)
        return total.div_(len(self.sources))


class ModelMean:
    """Takes the maps of one image, of its views, from one of `count` models after the other; gives those of their mean.

    sets: a pixel may have several classes, so that each logit is a yes or no.
    """

    def __init__(self, count: int, of: MeanOf, *, sets: bool) -> None:
        self._count, self._of, self._sets = count, of, sets
        self._kept: list[list[LogitMap]] = []
        self._sums: list[Tensor] | None = None
        self._added = 0

    def add(self, views: Sequence[LogitMap]) -> None:
        """The maps of the next model, at the image's own size."""
        if not self._added and self._is_less_added_up(views):
            channels, size, like = views[0].like.shape[0], views[0].size, views[0].like
            count = len(views) if self._of == "logits" else 1
            self._sums = [like.new_zeros((channels, *size)) for _ in range(count)]
        if self._sums is None:
            self._kept.append(list(views))
        else:
            for number, view in enumerate(views):
                self._add(view, self._sums[number if self._of == "logits" else 0])
        self._added += len(views)

    def maps(self) -> list[LogitMap]:
        """Of the probabilities: maps whose probabilities have that mean. Of the logits: one map for each view."""
        if self._sums is None:
            if self._of == "probabilities":
                return [view for views in self._kept for view in views]
            return [MeanLogits(same) for same in zip(*self._kept, strict=True)]
        if self._of == "logits":
            return [HeadLogits(total.div_(self._count)) for total in self._sums]
        shares = self._sums[0].div_(self._added)
        if self._each_by_itself(shares):
            top = 1 - torch.finfo(shares.dtype).eps
            return [HeadLogits(shares.clamp_(torch.finfo(shares.dtype).tiny, top).logit_())]
        return [HeadLogits(shares.clamp_(min=torch.finfo(shares.dtype).tiny).log_())]  # whose softmax they are

    def _is_less_added_up(self, views: Sequence[LogitMap]) -> bool:
        held = sum(map(_held, views)) * self._count
        channels, (height, width), like = views[0].like.shape[0], views[0].size, views[0].like
        maps = len(views) if self._of == "logits" else 1
        return held > maps * channels * height * width * like.element_size()

    def _add(self, view: LogitMap, total: Tensor) -> None:
        budget = BUDGET if total.device.type == "cpu" else DEVICE_BUDGET
        for start, stop, values in rows_of(view, 0, view.size[0], budget):  # (K, R, W)
            total[:, start:stop] += values if self._of == "logits" else probabilities_of(values, self._sets)

    def _each_by_itself(self, values: Tensor) -> bool:
        return self._sets or values.shape[0] == 1


def _held(logit_map: LogitMap) -> int:
    """Bytes of the logits that a map holds; none where they are computed when rows are asked for."""
    source: LogitMap | None = logit_map
    while source is not None and not isinstance(source, HeadLogits):
        source = getattr(source, "source", None)
    return 0 if source is None else source.values.numel() * source.values.element_size()
