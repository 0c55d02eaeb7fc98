"""From a head's logits to the label map in one kernel of Triton: nothing of K x H x W is ever written.

The way back to the original size (`postprocess.py`) is one bilinear resize or two, with a cut and flips between them.
It is separable: each row of the label map is a weighted sum of some rows of the head's logits, and each column of some
columns. Those are the taps, made once for images of one size. The kernel has a tile of the label map in registers, goes
over the channels, gathers the logits that each pixel is made of, and keeps the largest, and the sum of the exponentials
where a probability is asked for. Logits are mixed in float32, whatever they are stored in.

Shape letters: K channels of the logits; h, w at the head's stride; H, W of the label map; T taps of a row or column.
"""

# ruff: noqa: ANN001, ANN202, RUF005  (Triton's language has no types of Python's and no stars)

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from intarsia.inference.logits.lazy import CropFlip, HeadLogits, LogitMap, Resized, neighbours

MOST_RESIZES = 2
"""With each further one a pixel is made of four times as many logits."""

LARGEST = 2**31 - 1
"""The kernel counts elements with 32 bits."""

TILE = (8, 32)
"""Pixels of one program. Rows are 32 wide, so that a warp reads and writes neighbours."""

SIZES = ("channels", "height", "width", "channel_stride", "row_stride", "column_stride")
"""What differs from image to image; a kernel made for each would be made for most images."""

FOREGROUND, LARGEST_LOGIT, SETS = 0, 1, 2
"""What a label says: of one logit or two the foreground; the best of several; each of several, by itself."""


class Resize(NamedTuple):
    """A step along one axis: from so many places to so many."""

    size: int
    target: int
    align_corners: bool


class Cut(NamedTuple):
    """A step along one axis: `size` places from `origin` on, mirrored or not."""

    origin: int
    size: int
    mirrored: bool


class Chain(NamedTuple):
    """A map as what it is made of. rows, columns: the steps along each axis, the last one done first."""

    values: Tensor  # (K, h, w)
    rows: tuple[Resize | Cut, ...]
    columns: tuple[Resize | Cut, ...]


def label_in_one_pass(
    logit_map: LogitMap,
    label: Tensor,
    *,
    threshold: float | None = None,
    thresholds: Sequence[float] | None = None,
    confidence: Tensor | None = None,
    foreground: Tensor | None = None,
) -> bool:
    """Fill a label map (H, W) as `postprocess` does, and the confidence and the foreground (H, W) where they are given.

    False, with nothing done, where the map is no chain of `MOST_RESIZES` resizes at most, of logits that are float32 or
    smaller (a mean of windows, say), or where the result lies on another device.
    """
    chain = _chain_of(logit_map)
    results = [result for result in (label, confidence, foreground) if result is not None]
    if chain is None or not all(_plain(tensor, chain.values.device) for tensor in (chain.values, *results)):
        return False
    values, (height, width) = chain.values, label.shape
    stream = torch.cuda.current_stream(values.device).cuda_stream if values.is_cuda else 0
    row_places, row_weights = _taps(chain.rows, values.device, stream)
    column_places, column_weights = _taps(chain.columns, values.device, stream)
    each = label if thresholds is None else _on_device(tuple(thresholds), values.device, stream)
    kind = SETS if thresholds is not None else FOREGROUND if values.shape[0] <= 2 else LARGEST_LOGIT
    grid = (triton.cdiv(width, TILE[1]), triton.cdiv(height, TILE[0]))
    with torch.cuda.device(values.device) if values.is_cuda else contextlib.nullcontext():
        _label_kernel[grid](
            values, row_places, row_weights, column_places, column_weights,
            label, confidence, foreground, each,
            0.5 if threshold is None else threshold,
            values.shape[0], height, width, *values.stride(),
            KIND=kind, COMPARES=threshold is None, ROW_TAPS=len(row_places), COLUMN_TAPS=len(column_places),
            TILE_HEIGHT=TILE[0], TILE_WIDTH=TILE[1],
        )  # fmt: skip
    return True


def _plain(tensor: Tensor, device: torch.device) -> bool:
    """Whether a kernel can be given its address. FakeTensors and other subclasses have none."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return type(tensor) is Tensor and tensor.device == device and reach <= LARGEST


# --- Taps ---------------------------------------------------------------------------------------------------------


def _chain_of(logit_map: LogitMap) -> Chain | None:
    """None for maps that are made another way."""
    steps: tuple[list[Resize | Cut], list[Resize | Cut]] = [], []
    while isinstance(logit_map, Resized | CropFlip):
        for axis in (0, 1):
            size, target = logit_map.source.size[axis], logit_map.size[axis]
            if isinstance(logit_map, CropFlip):
                steps[axis].append(Cut(logit_map.origin[axis], target, logit_map.mirrored[axis]))
            elif size != target:
                steps[axis].append(Resize(size, target, logit_map.align_corners))
        logit_map = logit_map.source
    resizes = [sum(isinstance(step, Resize) for step in along) for along in steps]
    if not isinstance(logit_map, HeadLogits) or logit_map.like.dtype != torch.float32 or max(resizes) > MOST_RESIZES:
        return None
    whole = [Cut(0, length, False) for length in logit_map.size]  # so that there is a step in any case
    return Chain(logit_map.values, (*steps[0], whole[0]), (*steps[1], whole[1]))


@functools.lru_cache(maxsize=8)
def _on_device(thresholds: tuple[float, ...], device: torch.device, stream: int) -> Tensor:
    """(K,), sent once, since sending waits for the device."""
    return torch.tensor(thresholds, dtype=torch.float32, device=device)


@functools.lru_cache(maxsize=64)
def _taps(steps: tuple[Resize | Cut, ...], device: torch.device, stream: int) -> tuple[Tensor, Tensor]:
    """Places in the logits (T, n), int32, and their weights (T, n), float32, for each of n rows or columns.

    stream: that the kernel runs on; what one stream makes another may not read without waiting for it.
    """
    first = steps[0]
    length = first.target if isinstance(first, Resize) else first.size
    places = torch.arange(length, device=device)[None]  # (T, n)
    weights = torch.ones(1, length, device=device)
    for step in steps:
        if isinstance(step, Cut):
            places = step.origin + (step.size - 1 - places if step.mirrored else places)
            continue
        start, share = neighbours(step.size, step.target, step.align_corners, torch.float32, device)
        start, share = start[places], share[places]
        places = torch.cat((start, (start + 1).clamp_(max=step.size - 1)))
        weights = torch.cat((weights * (1 - share), weights * share))
    resizes = [step for step in steps if isinstance(step, Resize)]
    if len(resizes) == 2 and resizes[-1].size < resizes[-1].target:
        places, weights = _three_neighbours(places, weights, resizes[-1].size)
    return places.int().contiguous(), weights.float().contiguous()


def _three_neighbours(places: Tensor, weights: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Four taps as three: two neighbours of a map that was enlarged are made of three neighbours at most.

    A fourth has the weight 0: it is there only where rounding has put a place on the next one.
    """
    base = places.amin(dim=0)
    offsets = (places - base).clamp_(max=2)
    merged = weights.new_zeros(3, places.shape[1]).scatter_add_(0, offsets, weights)
    three = base + torch.arange(3, device=places.device)[:, None]
    return three.clamp_(max=size - 1), merged


# --- Kernel -------------------------------------------------------------------------------------------------------


@triton.jit
def _logit(logits, row_offsets, row_weights, column_offsets, column_weights, inside):  # type: ignore[no-untyped-def]
    """One channel at the pixels of a tile: along the width first, as `Resized` does."""
    value = tl.zeros(inside.shape, dtype=tl.float32)
    for row in tl.static_range(len(row_offsets)):
        across = tl.zeros(inside.shape, dtype=tl.float32)
        for column in tl.static_range(len(column_offsets)):
            places = row_offsets[row][:, None] + column_offsets[column][None, :]
            found = tl.load(logits + places, mask=inside, other=0.0).to(tl.float32)
            across += found * column_weights[column][None, :]
        value += across * row_weights[row][:, None]
    return value


@triton.jit(do_not_specialize=SIZES)  # type: ignore[untyped-decorator]
def _label_kernel(  # type: ignore[no-untyped-def]
    logits, row_places, row_weights, column_places, column_weights,
    label, confidence, foreground, thresholds, threshold,
    channels, height, width, channel_stride, row_stride, column_stride,
    KIND: tl.constexpr, COMPARES: tl.constexpr, ROW_TAPS: tl.constexpr, COLUMN_TAPS: tl.constexpr,
    TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """A tile of the label map."""
    y = tl.program_id(1) * TILE_HEIGHT + tl.arange(0, TILE_HEIGHT)
    x = tl.program_id(0) * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    inside = (y < height)[:, None] & (x < width)[None, :]
    rows, down = (), ()
    for tap in tl.static_range(ROW_TAPS):
        rows = rows + (tl.load(row_places + tap * height + y, mask=y < height, other=0) * row_stride,)  # type: ignore[assignment]
        down = down + (tl.load(row_weights + tap * height + y, mask=y < height, other=0.0),)  # type: ignore[assignment]
    columns, across = (), ()
    for tap in tl.static_range(COLUMN_TAPS):
        columns = columns + (tl.load(column_places + tap * width + x, mask=x < width, other=0) * column_stride,)  # type: ignore[assignment]
        across = across + (tl.load(column_weights + tap * width + x, mask=x < width, other=0.0),)  # type: ignore[assignment]

    best = _logit(logits, rows, down, columns, across, inside)
    index = tl.zeros(inside.shape, dtype=tl.int32)
    sure = tl.full(inside.shape, 1.0, dtype=tl.float32)
    if KIND == 0:  # FOREGROUND
        if channels == 2:
            best = _logit(logits + channel_stride, rows, down, columns, across, inside) - best
        share = tl.sigmoid(best)
        chosen = best > 0 if COMPARES else share > threshold
        index = chosen.to(tl.int32)
        sure = tl.where(chosen, share, 1 - share)
        if foreground is not None:
            tl.store(foreground + y[:, None] * width + x[None, :], share, mask=inside)
    elif KIND == 1:  # LARGEST_LOGIT
        total = tl.full(inside.shape, 1.0, dtype=tl.float32)
        for k in range(1, channels):
            value = _logit(logits + k * channel_stride, rows, down, columns, across, inside)
            larger = value > best
            if confidence is not None:
                difference = tl.exp(-tl.abs(value - best))
                total = tl.where(larger, total * difference + 1, total + difference)
            index = tl.where(larger, k, index)
            best = tl.where(larger, value, best)
        sure = 1 / total
    else:  # SETS
        for k in range(channels):
            share = tl.sigmoid(_logit(logits + k * channel_stride, rows, down, columns, across, inside))
            chosen = share > tl.load(thresholds + k)
            index = index | (chosen.to(tl.int32) << k)
            sure = tl.minimum(sure, tl.where(chosen, share, 1 - share))
    places = y[:, None] * width + x[None, :]
    tl.store(label + places, index.to(label.dtype.element_ty), mask=inside)
    if confidence is not None:
        tl.store(confidence + places, sure.to(confidence.dtype.element_ty), mask=inside)
