"""Upsampling and cross entropy as one kernel of Triton, and its gradient as another: nothing of K x H x W is written.

Forwards a program has a tile of the labels' pixels in registers and goes over the classes: each logit is made of the
four around it, the sum of exponentials grows as it goes, and what stays of a pixel is its loss and the logarithm of
that sum; where each class is a question of its own (`no_share`), the sum of their losses grows. Backwards a program has
a tile of the logits' own places and goes over the pixels that are made of them, making their logits anew; so nobody
adds to what another program adds to, and every run gives the same bits.

The second form of what `resized_cross_entropy` does in strips; see there. Float32 only.

Shape letters: N images, K classes, H, W height and width of the labels, h, w of the logits.
"""

# ruff: noqa: ANN001, ANN202  (Triton's language has no types of Python's)

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from intarsia.losses.bilinear import Direction
from intarsia.losses.resized_logits import ResizedLogits, refuse_second_derivative
from intarsia.losses.strips import directions_of

TILE = (8, 32)
"""Pixels of a program forwards. Rows are 32 wide, so that a warp reads and writes neighbours."""
TILE_BACKWARDS = (8, 4, 16)
"""Classes, rows and columns of a program backwards."""

Parts = tuple[Tensor | None, Tensor | None, Tensor]
"""How much each pixel (N, H, W) counts; see `resized_cross_entropy.Softmax.parts`."""


def pixel_losses(
    logits: ResizedLogits, labels: Tensor, parts: Parts, class_weight: Tensor | None, *, no_share: float | None = None
) -> Tensor:
    """The loss of each pixel (N, H, W), of labels (N, H, W) that are classes.

    class_weight: (K,), by which the logits count for `of_each`. If somebody wants to know, `logits.right` is told.
    no_share: makes each class a question of its own, whose answers are this and one less this; of `parts` only the last
        is then needed, and the class weights are those of yes.
    """
    return _PixelLosses.apply(logits.low, logits, labels, parts, class_weight, no_share)  # type: ignore[no-any-return]


class _PixelLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        low: Tensor,
        logits: ResizedLogits,
        labels: Tensor,
        parts: Parts,
        class_weight: Tensor | None,
        no_share: float | None,
    ) -> Tensor:
        low, labels = low.contiguous(), labels.contiguous()
        rows, columns = directions_of(logits)
        losses = torch.empty_like(labels, dtype=low.dtype)
        log_sums = torch.empty_like(losses) if no_share is None else None
        watched = None if logits.labels is None or logits.right is not None else logits.labels.contiguous()
        right = None if watched is None else torch.empty_like(watched, dtype=torch.uint8)
        images, classes, height, width = logits.shape
        of_own, of_each, of_all = parts
        grid = (triton.cdiv(width, TILE[1]), triton.cdiv(height, TILE[0]), images)
        _loss_kernel[grid](
            low, *_tables(rows), *_tables(columns), labels, watched, of_own, of_each, of_all, class_weight,
            losses, log_sums, right, no_share, classes, height, width, low.shape[2], low.shape[3], *TILE,
        )  # fmt: skip
        if right is not None:
            logits.right = right.bool()
        ctx.directions, ctx.no_share = (rows, columns), no_share
        ctx.save_for_backward(low, labels, of_own, of_each, of_all, class_weight, log_sums)
        return losses

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        refuse_second_derivative()
        low, labels, of_own, of_each, of_all, class_weight, log_sums = ctx.saved_tensors
        rows, columns = ctx.directions
        gradient = torch.empty_like(low)
        images, classes, height, width = low.shape
        classes_in_tile, tile_height, tile_width = TILE_BACKWARDS
        tiles = triton.cdiv(height, tile_height) * triton.cdiv(width, tile_width)
        _gradient_kernel[(tiles, triton.cdiv(classes, classes_in_tile), images)](
            low, *_tables(rows), *_support(rows), *_tables(columns), *_support(columns), labels,
            *(None if part is None else part * of_losses for part in (of_own, of_each, of_all)),
            class_weight, log_sums, gradient, ctx.no_share,
            classes, height, width, *labels.shape[1:], _most(rows), _most(columns), *TILE_BACKWARDS,
        )  # fmt: skip
        return gradient, None, None, None, None, None


def _tables(direction: Direction) -> tuple[Tensor, Tensor, Tensor]:
    return direction.first.int(), direction.second.int(), direction.share.contiguous()


def _support(direction: Direction) -> tuple[Tensor, Tensor]:
    """For each input (L,) the first output that is made of it, and the first that is no longer."""
    places = torch.arange(direction.length, device=direction.first.device)
    begin = torch.searchsorted(direction.second, places)
    return begin.int(), torch.searchsorted(direction.first, places, right=True).int()


def _most(direction: Direction) -> int:
    """No input has a part in more outputs; from the sizes alone, so that nothing waits for the device."""
    return 2 * int(triton.cdiv(len(direction.first), max(direction.length - 1, 1))) + 2


@triton.jit
def _logit(logits, top, bottom, left, right, down, across, inside):  # type: ignore[no-untyped-def]
    """Logits between four of one class: offsets of rows and columns, and how much of the second of each there is."""
    a = tl.load(logits + top + left, mask=inside, other=0.0)
    b = tl.load(logits + top + right, mask=inside, other=0.0)
    c = tl.load(logits + bottom + left, mask=inside, other=0.0)
    d = tl.load(logits + bottom + right, mask=inside, other=0.0)
    upper = a * (1 - across) + b * across
    return upper * (1 - down) + (c * (1 - across) + d * across) * down


@triton.jit
def _answer(x, hit, positive, no_share):  # type: ignore[no-untyped-def]
    """The binary cross entropy of logits x, whose answer is yes where it is hit, weighted by `positive`."""
    yes = tl.where(hit, 1 - no_share, no_share)
    counted = 1 + (positive - 1) * yes
    small = tl.exp(-tl.abs(x))
    one_more = small + 1  # log(one_more) has lost what was rounded away here, and that is all there is of sure answers
    softplus = tl.log(one_more) + (small - (one_more - 1))
    return softplus * counted + (tl.maximum(-x, 0.0) * counted + (1 - yes) * x)


@triton.jit
def _of_answer(x, hit, positive, no_share):  # type: ignore[no-untyped-def]
    """The gradient of `_answer` with respect to x."""
    yes = tl.where(hit, 1 - no_share, no_share)
    small = tl.exp(-tl.abs(x))
    unlikely = tl.where(x > 0, small, 1.0) / (1 + small)
    return (1 - yes) - unlikely * (1 + (positive - 1) * yes)


@triton.jit  # type: ignore[untyped-decorator]
def _loss_kernel(  # type: ignore[no-untyped-def]
    logits, row_first, row_second, row_share, column_first, column_second, column_share,
    labels, watched, of_own, of_each, of_all, class_weight, losses, log_sums, right, no_share,
    classes, height, width, low_height, low_width,
    TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """The losses of a tile of pixels of one image."""
    y = tl.program_id(1) * TILE_HEIGHT + tl.arange(0, TILE_HEIGHT)
    x = tl.program_id(0) * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    image = tl.program_id(2).to(tl.int64)
    inside = (y < height)[:, None] & (x < width)[None, :]
    top = tl.load(row_first + y, mask=y < height, other=0)[:, None] * low_width
    bottom = tl.load(row_second + y, mask=y < height, other=0)[:, None] * low_width
    down = tl.load(row_share + y, mask=y < height, other=0.0)[:, None]
    first = tl.load(column_first + x, mask=x < width, other=0)[None, :]
    second = tl.load(column_second + x, mask=x < width, other=0)[None, :]
    across = tl.load(column_share + x, mask=x < width, other=0.0)[None, :]
    places = image * height * width + y[:, None] * width + x[None, :]
    label = tl.load(labels + places, mask=inside, other=0)
    base = logits + image * classes * low_height * low_width

    best = _logit(base, top, bottom, first, second, down, across, inside)
    index = tl.zeros(best.shape, dtype=tl.int32)
    own = tl.where(label == 0, best, 0.0)
    first_weight = 1.0 if class_weight is None else tl.load(class_weight)
    spread = best * first_weight
    if no_share is None:
        total = tl.full(best.shape, 1.0, dtype=tl.float32)
    else:
        total = _answer(best, label == 0, first_weight, no_share)
    for k in range(1, classes):
        base += low_height * low_width
        value = _logit(base, top, bottom, first, second, down, across, inside)
        larger = value > best
        each_weight = 1.0 if class_weight is None else tl.load(class_weight + k)
        if no_share is None:
            difference = tl.exp(-tl.abs(value - best))
            total = tl.where(larger, total * difference + 1, total + difference)
            own = tl.where(label == k, value, own)
            if of_each is not None:
                spread += value * each_weight
        else:
            total += _answer(value, label == k, each_weight, no_share)
        index = tl.where(larger, k, index)
        best = tl.where(larger, value, best)

    part = tl.load(of_all + places, mask=inside, other=0.0)
    if no_share is None:
        own_part = tl.load(of_own + places, mask=inside, other=0.0)
        log_total = tl.log(total)
        loss = part * log_total - own_part * (own - best)
        if of_each is not None:
            loss += (part - own_part) * best - spread * tl.load(of_each + places, mask=inside, other=0.0)
        tl.store(log_sums + places, best + log_total, mask=inside)
    else:
        loss = part * total
    tl.store(losses + places, tl.where(part != 0, loss, 0.0), mask=inside)
    if right is not None:
        hit = index == tl.load(watched + places, mask=inside, other=0)
        tl.store(right + places, hit.to(tl.uint8), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _gradient_kernel(  # type: ignore[no-untyped-def]
    logits, row_first, row_second, row_share, row_begin, row_end,
    column_first, column_second, column_share, column_begin, column_end,
    labels, of_own, of_each, of_all, class_weight, log_sums, gradient, no_share,
    classes, low_height, low_width, height, width, most_rows, most_columns,
    CLASSES: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """The gradient of some classes in a tile of the logits' places of one image."""
    in_row = tl.cdiv(low_width, TILE_WIDTH)
    i = tl.program_id(0) // in_row * TILE_HEIGHT + tl.arange(0, TILE_HEIGHT)
    j = tl.program_id(0) % in_row * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    k = (tl.program_id(1) * CLASSES + tl.arange(0, CLASSES))[:, None, None]
    image = tl.program_id(2).to(tl.int64)
    base = logits + image * classes * low_height * low_width + k * low_height * low_width
    first_row = tl.load(row_begin + i, mask=i < low_height, other=0)
    last_row = tl.load(row_end + i, mask=i < low_height, other=0)
    first_column = tl.load(column_begin + j, mask=j < low_width, other=0)
    last_column = tl.load(column_end + j, mask=j < low_width, other=0)
    each_weight = tl.full(k.shape, 1.0, dtype=tl.float32)
    if class_weight is not None:
        each_weight = tl.load(class_weight + k, mask=k < classes, other=0.0)
    found = tl.zeros((CLASSES, TILE_HEIGHT, TILE_WIDTH), dtype=tl.float32)
    for dy in range(most_rows):
        y = first_row + dy
        in_rows = y < last_row
        top = tl.load(row_first + y, mask=in_rows, other=0)
        bottom = tl.load(row_second + y, mask=in_rows, other=0)
        down = tl.load(row_share + y, mask=in_rows, other=0.0)
        row_part = tl.where(top == i, 1 - down, 0.0) + tl.where(bottom == i, down, 0.0)
        for dx in range(most_columns):
            x = first_column + dx
            in_columns = x < last_column
            left = tl.load(column_first + x, mask=in_columns, other=0)
            right = tl.load(column_second + x, mask=in_columns, other=0)
            across = tl.load(column_share + x, mask=in_columns, other=0.0)
            column_part = tl.where(left == j, 1 - across, 0.0) + tl.where(right == j, across, 0.0)
            inside = in_rows[:, None] & in_columns[None, :]
            places = image * height * width + y[:, None] * width + x[None, :]
            value = _logit(
                base, (top * low_width)[None, :, None], (bottom * low_width)[None, :, None],
                left[None, None, :], right[None, None, :], down[None, :, None], across[None, None, :],
                inside[None, :, :] & (k < classes),
            )  # fmt: skip
            part = tl.load(of_all + places, mask=inside, other=0.0)
            label = tl.load(labels + places, mask=inside, other=0)
            if no_share is None:
                log_sum = tl.load(log_sums + places, mask=inside, other=0.0)
                own_part = tl.load(of_own + places, mask=inside, other=0.0)
                of_logit = part[None, :, :] * tl.exp(value - log_sum[None, :, :])
                of_logit -= tl.where(label[None, :, :] == k, own_part[None, :, :], 0.0)
                if of_each is not None:
                    of_logit -= each_weight * tl.load(of_each + places, mask=inside, other=0.0)[None, :, :]
            else:
                of_logit = part[None, :, :] * _of_answer(value, label[None, :, :] == k, each_weight, no_share)
            weight = tl.where(inside, row_part[:, None] * column_part[None, :], 0.0)
            found += weight[None, :, :] * of_logit
    places = k * low_height * low_width + i[None, :, None] * low_width + j[None, None, :]
    inside = (k < classes) & (i < low_height)[None, :, None] & (j < low_width)[None, None, :]
    tl.store(gradient + image * classes * low_height * low_width + places, found, mask=inside)
