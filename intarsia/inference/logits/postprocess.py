"""The way back: from logits at a head's stride to a label map at the image's own size, in bounded memory.

The sequence is that of published scores, and it has two resizes:

    logits (K, h, w)  ->  resize to the network's input, padding included (or to a window, and the mean of the windows)
                      ->  cut the padding off, undo the flips
                      ->  resize to the original size  ->  argmax, or probability > threshold of a single logit's
                          sigmoid, or of the second of two classes, or of each class that a pixel may have

With test-time augmentation each view goes this way up to the original size; what is compared is the mean over the views
of their probabilities (softmax, or sigmoid for a single logit and where a pixel may have several classes).

Done at once, the last step holds K x H x W numbers: 7 GB for 150 classes at 3000 x 4000. Here it is done for a few rows
at a time (`lazy.py`), or on a GPU by one kernel (`triton_argmax.py`). The logits are those of doing it at once up to
float rounding, so that a label can differ only where the two best classes are as close as that (`TIE`).

A class whose logits are everywhere below those of another class cannot win after interpolation, which only mixes
neighbours. Such classes, most of 150 in a strip of an ordinary image, are never resized (`contenders`).

Shape letters: K channels of the logits; h, w at the head's stride; H, W of the original image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from intarsia.contracts import SampleMeta, Size
from intarsia.inference.logits.lazy import CropFlip, HeadLogits, LogitMap, Placed, Resized
from intarsia.layers.triton import available

BUDGET = 8 * 2**20
"""Bytes of one strip on a processor, where a single row is not larger: what stays in its cache."""

DEVICE_BUDGET = 64 * 2**20
"""Bytes of one strip on an accelerator, which wants much work at a time."""

TIE = 16
"""Units in the last place of an image's largest logit, in single precision: two logits that are closer are a tie."""

LIKELY = 8
"""Classes that a strip of an ordinary image may show; decides how high a strip is cut before they are counted."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What happened to an image on its way into the network, in order: resized, flipped, padded.

    network: size of the network's input, padding included. valid: the top left part of it that is image.
    flips: applied in this order, undone in reverse. original: size of the image as read. corner: where in the network's
    input the valid part begins. box: what of the original it shows, as `SampleMeta.box`.
    """

    network: Size
    valid: Size
    original: Size
    flips: tuple[Literal["horizontal", "vertical"], ...] = ()
    corner: Size = (0, 0)
    box: tuple[int, int, int, int] | None = None

    @classmethod
    def of(cls, network: Size, size: Size, meta: SampleMeta) -> Geometry:
        """Of an image of `size` before the network padded it."""
        return cls(network, meta.valid or size, meta.original_size, meta.flips, meta.corner, meta.box)

    def __post_init__(self) -> None:
        for name, size in (("network", self.network), ("valid", self.valid), ("original", self.original)):
            if min(size) < 1:
                raise ValueError(f"{name} size: expected at least 1 x 1 pixels, found {size[0]} x {size[1]}")
        if any(c + v > n for c, v, n in zip(self.corner, self.valid, self.network, strict=True)):
            raise ValueError(
                f"valid part: expected at most the network's input {self.network[0]} x {self.network[1]}, "
                f"found {self.valid[0]} x {self.valid[1]}"
            )


FieldAllocator = Callable[[str, Sequence[int]], Tensor | None]
"""Name of a field of `Postprocessed`, its shape -> a tensor of this shape to put it into, or None for one in memory."""


@dataclass(frozen=True, slots=True)
class RequestedFields:
    """What is made besides the label map. dtype: of all of it, but for what has a place of its own, and the foreground,
    which is not rounded, so that whoever compares it with a threshold finds the same pixels as is done here.

    place: gives the tensor for a field of this shape, in a file say, of any real type and device; or None.
    """

    probabilities: bool = False
    confidence: bool = False
    entropy: bool = False
    logits: bool = False
    dtype: torch.dtype = torch.float32
    place: FieldAllocator | None = None
    foreground: bool = False

    @property
    def nothing(self) -> bool:
        """Whether the label map is enough."""
        return not (self.probabilities or self.confidence or self.entropy or self.logits or self.foreground)


@dataclass(frozen=True, slots=True)
class Postprocessed:
    """One image at its original size; what was not wanted is None.

    label: (H, W), uint8 up to 256 classes, int32 beyond; of a model of depth, depths. Where a pixel may have several
    classes, sets of them (`label_sets`), uint8 up to 8 classes.
    probabilities: (K, H, W), or (2, H, W) for a single logit.
    confidence: (H, W), the label's probability; of several classes, that of the least sure yes or no.
    entropy: (H, W) of the probabilities, in nats; of several classes, the sum of those of each yes or no.
    logits: (K, H, W).
    foreground: (H, W), the probability of the second of two classes.
    """

    label: Tensor
    probabilities: Tensor | None = None
    confidence: Tensor | None = None
    entropy: Tensor | None = None
    logits: Tensor | None = None
    foreground: Tensor | None = None


def at_original(source: LogitMap, geometry: Geometry, *, align_corners: bool, sets: bool = False) -> LogitMap:
    """A logit map at the size of the network's input -> without padding, unflipped, at the image's original size.

    sets: a pixel may have several classes, which says what is outside of the geometry's box.
    """
    assert source.size == geometry.network
    part = CropFlip(source, geometry.valid, geometry.flips, origin=geometry.corner)
    if geometry.box is None:
        return Resized(part, geometry.original, align_corners=align_corners)
    _, _, height, width = geometry.box
    within = Resized(part, (max(height, 1), width), align_corners=align_corners)
    return Placed(within, geometry.original, geometry.box, sets=sets)


def postprocess(
    views: Sequence[LogitMap],
    *,
    threshold: float | None = None,
    thresholds: Sequence[float] | None = None,
    wanted: RequestedFields | None = None,
    budget: int | None = None,
) -> Postprocessed:
    """The label map of one image, as doing everything at once gives it away from ties (of equals: the lower index).

    views: maps at the original size: one, or several whose probabilities are averaged.
    threshold: with one logit always, with two if wanted: the label is then 1 where its probability exceeds it, else 0.
    thresholds: of each class, where a pixel may have several: the label is then the set of those whose probability, the
        sigmoid of their logit, exceeds theirs.
    budget: bytes of one strip; what has one is done in strips, on a GPU, too.

    Where logits are not finite the label is undefined. Raises ValueError if threshold and channels do not fit together,
    if logits are wanted of several views, or a foreground of other than two classes.
    """
    wanted = wanted or RequestedFields()
    like = views[0].like
    if thresholds is None:
        check_threshold(like.shape[0], threshold)
    elif len(thresholds) != like.shape[0]:
        raise ValueError(f"expected a threshold for each of {like.shape[0]} logits, found {len(thresholds)}")
    if wanted.foreground and like.shape[0] > 2:
        raise ValueError(f"a foreground is the second of two classes; the model has {like.shape[0]} logits")
    if wanted.logits and len(views) > 1:
        raise ValueError(
            f"logits of {len(views)} views: test-time augmentation averages probabilities, there are no logits of the "
            "average; ask for probabilities, or leave the augmentation out"
        )
    result = _empty(views[0], wanted, sets=thresholds is not None)
    if budget is None:
        if len(views) == 1 and _in_one_pass(views[0], result, wanted, threshold, thresholds):
            return result
        budget = BUDGET if like.device.type == "cpu" else DEVICE_BUDGET
    # Which classes may win is a question to the processor; an accelerator is faster than the answer.
    by_itself = thresholds is not None
    if len(views) == 1 and wanted.nothing and like.shape[0] > 3 and like.device.type == "cpu" and not by_itself:
        _label_contenders(views[0], result.label, budget)
        return result
    soft = len(views) > 1 or threshold is not None or by_itself or not wanted.nothing
    height, width = views[0].size
    for start, stop in _strips(0, height, width * like.shape[0] * like.element_size(), budget):
        logits, shares = _values(views, start, stop, budget, soft=soft, sigmoid=by_itself)
        if thresholds is not None:
            assert shares is not None
            _write_sets(result, start, stop, logits, shares, thresholds)
            continue
        if threshold is not None:
            assert shares is not None
            label = (shares[-1] > threshold).to(torch.uint8)
            if len(shares) == 1 and not wanted.nothing:
                shares = torch.cat([1 - shares, shares])
        else:
            # max() finds the first of the largest like argmax(), and is several times faster on a processor.
            best = shares if logits is None else logits
            assert best is not None
            label = best.max(dim=0).indices
        _write(result, start, stop, label, logits, shares)
    return result


def mean_values(views: Sequence[LogitMap], *, budget: int | None = None) -> Tensor:
    """What one image's single channel says, (H, W), a mean over its views: depths, which are no logits of anything.

    Raises ValueError for several channels.
    """
    like = views[0].like
    if like.shape[0] != 1:
        raise ValueError(f"a model of depth gives one number for each pixel, found {like.shape[0]}")
    if budget is None:
        budget = BUDGET if like.device.type == "cpu" else DEVICE_BUDGET
    height, width = views[0].size
    result = like.new_empty((height, width))
    for start, stop in _strips(0, height, width * like.element_size(), budget):
        for begin, end, values in rows_of(views[0], start, stop, budget):
            result[begin:end] = values[0]
        for view in views[1:]:
            for begin, end, values in rows_of(view, start, stop, budget):
                result[begin:end] += values[0]
    return result.div_(len(views))


def check_threshold(channels: int, threshold: float | None, *, most: int = 2) -> None:
    """Raises ValueError unless one logit comes with a threshold, up to `most` with or without, and more without."""
    if channels == 1 and threshold is None:
        raise ValueError(
            "the model has one logit: expected a threshold for its sigmoid, found None; set it in the config"
        )
    if channels > most and threshold is not None:
        raise ValueError(
            f"threshold {threshold} was given for a model with {channels} logits; expected one logit"
            f"{' or two' if most == 2 else ''}, since several are compared with each other: remove the threshold"
        )


def _in_one_pass(
    view: LogitMap,
    result: Postprocessed,
    wanted: RequestedFields,
    threshold: float | None,
    thresholds: Sequence[float] | None,
) -> bool:
    """Whether a kernel has filled the result, as it does on a GPU where label, confidence and foreground are enough."""
    if wanted.probabilities or wanted.entropy or wanted.logits or not available(view.like.device):
        return False
    from intarsia.inference.logits.triton_argmax import label_in_one_pass

    return label_in_one_pass(
        view, result.label, threshold=threshold, thresholds=thresholds, confidence=result.confidence,
        foreground=result.foreground,
    )  # fmt: skip


# --- Strips -------------------------------------------------------------------------------------------------------


def _strips(start: int, stop: int, row: float, budget: int) -> Iterator[tuple[int, int]]:
    """Runs of rows, of `row` bytes each, that take `budget` bytes together; at least one row."""
    step = max(1, int(budget / row))
    for begin in range(start, stop, step):
        yield begin, min(begin + step, stop)


def rows_of(
    logit_map: LogitMap, start: int, stop: int, budget: int, channels: Sequence[int] | None = None
) -> Iterator[tuple[int, int, Tensor]]:
    """Rows of a logit map, as many at a time as keep the largest map on their way within the budget."""
    like = logit_map.like
    count = like.shape[0] if channels is None else len(channels)
    for begin, end in _strips(start, stop, logit_map.area / logit_map.size[0] * count * like.element_size(), budget):
        yield begin, end, logit_map.rows(begin, end, channels)


def _values(
    views: Sequence[LogitMap], start: int, stop: int, budget: int, *, soft: bool, sigmoid: bool = False
) -> tuple[Tensor | None, Tensor | None]:
    """Logits of a strip where there is one view, and its probabilities if `soft`: (K, R, W)."""

    def logits_of(view: LogitMap) -> Tensor:
        parts = [values for _, _, values in rows_of(view, start, stop, budget)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    if len(views) == 1:
        logits = logits_of(views[0])
        return logits, probabilities_of(logits, sigmoid) if soft else None
    total = probabilities_of(logits_of(views[0]), sigmoid)
    for view in views[1:]:
        total += probabilities_of(logits_of(view), sigmoid)
    return None, total.div_(len(views))


def probabilities_of(logits: Tensor, sigmoid: bool) -> Tensor:
    """Of logits (K, R, W); sigmoid: of each by itself, as is done for a single one."""
    return logits.sigmoid() if sigmoid or logits.shape[0] == 1 else logits.softmax(dim=0)


def _empty(logit_map: LogitMap, wanted: RequestedFields, *, sets: bool) -> Postprocessed:
    count, size, like = logit_map.like.shape[0], logit_map.size, logit_map.like

    def maps(field: str, *channels: int) -> Tensor:
        shape = (*channels, *size)
        placed = None if wanted.place is None else wanted.place(field, shape)
        return like.new_empty(shape, dtype=wanted.dtype) if placed is None else placed

    return Postprocessed(
        label=like.new_empty(size, dtype=torch.uint8 if count <= (8 if sets else 256) else torch.int32),
        probabilities=maps("probabilities", max(count, 2)) if wanted.probabilities else None,
        confidence=maps("confidence") if wanted.confidence else None,
        entropy=maps("entropy") if wanted.entropy else None,
        logits=maps("logits", count) if wanted.logits else None,
        foreground=like.new_empty(size) if wanted.foreground else None,
    )


def _write(
    result: Postprocessed, start: int, stop: int, label: Tensor, logits: Tensor | None, shares: Tensor | None
) -> None:
    result.label[start:stop] = label
    if result.logits is not None and logits is not None:
        result.logits[:, start:stop] = logits
    if shares is None:
        return
    if result.foreground is not None:
        result.foreground[start:stop] = shares[-1]
    if result.probabilities is not None:
        result.probabilities[:, start:stop] = shares
    if result.confidence is not None:
        result.confidence[start:stop] = shares.gather(0, label[None].long())[0]
    if result.entropy is not None:
        result.entropy[start:stop] = torch.special.entr(shares).sum(dim=0)


def _write_sets(
    result: Postprocessed, start: int, stop: int, logits: Tensor | None, shares: Tensor, thresholds: Sequence[float]
) -> None:
    """What `_write` does, where each class of (K, R, W) is a yes or no by itself."""
    label = torch.zeros(shares.shape[1:], dtype=torch.int32, device=shares.device)
    sure = torch.ones_like(shares[0]) if result.confidence is not None else None
    for k, threshold in enumerate(thresholds):
        yes = shares[k] > threshold
        label |= yes.to(torch.int32) << k
        if sure is not None:
            sure = torch.minimum(sure, torch.where(yes, shares[k], 1 - shares[k]))
    result.label[start:stop] = label
    if result.logits is not None and logits is not None:
        result.logits[:, start:stop] = logits
    if result.probabilities is not None:
        result.probabilities[:, start:stop] = shares
    if result.confidence is not None and sure is not None:
        result.confidence[start:stop] = sure
    if result.entropy is not None:
        result.entropy[start:stop] = (torch.special.entr(shares) + torch.special.entr(1 - shares)).sum(dim=0)


# --- Classes that cannot win --------------------------------------------------------------------------------------


def _label_contenders(logit_map: LogitMap, label: Tensor, budget: int) -> None:
    """Fill the label map, strip by strip with the classes that may win there."""
    like, (height, width) = logit_map.like, logit_map.size
    row = width * min(like.shape[0], LIKELY) * like.element_size()
    for start, stop in _strips(0, height, row, budget):
        channels = _channels_of(logit_map, start, stop)
        if channels is not None and len(channels) == 1:
            label[start:stop] = channels[0]
            continue
        names = None if channels is None else torch.tensor(channels, dtype=label.dtype, device=label.device)
        for begin, end, values in rows_of(logit_map, start, stop, budget, channels):
            index = values.max(dim=0).indices
            label[begin:end] = index if names is None else names[index]


def _channels_of(logit_map: LogitMap, start: int, stop: int) -> list[int] | None:
    """The classes that may win in these rows; None for all of them, where nothing less can be said."""
    while isinstance(logit_map, Resized | CropFlip):
        if isinstance(logit_map.source, HeadLogits) and logit_map.size[1] < logit_map.source.size[1]:
            return None  # cells are skipped, so that pixels made of distant ones become neighbours
        start, stop = logit_map.needs(start, stop)
        logit_map = logit_map.source
    return contenders(logit_map.rows(start, stop)) if isinstance(logit_map, HeadLogits) else None


def contenders(logits: Tensor) -> list[int]:
    """Channels of (K, n, w) that may win somewhere after upsampling; never empty.

    Two bilinear resizes, the first of them enlarging, make a pixel out of three neighbouring columns at most. A channel
    is out if, over all n rows, its maximum of every three is below another's minimum by more than rounding.
    """
    margin = 64 * torch.finfo(logits.dtype).eps * logits.abs().amax()
    highest, lowest = logits.amax(dim=1), logits.amin(dim=1)  # (K, w)
    floor = _of_three(lowest, torch.minimum).amax(dim=0)  # (w - 2): what the best is at least
    beaten = (_of_three(highest, torch.maximum) < floor - margin).all(dim=1)
    channels: list[int] = (~beaten).nonzero().flatten().tolist()  # a nan compares false, so its channel stays
    return channels


def _of_three(values: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The chosen of each three neighbours in the rows of (K, w), or of what there is in shorter ones."""
    width = values.shape[1]
    reach = min(3, width)
    return functools.reduce(choose, [values[:, start : start + width - reach + 1] for start in range(reach)])
