"""Samples put together to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.contracts import IGNORE_INDEX, Batch, Sample, Size

_SPLITTABLE = (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64)


def collate(
    samples: Sequence[Sample],
    *,
    ignore_index: int = IGNORE_INDEX,
    label_size: Literal["input", "original"] = "input",
) -> Batch:
    """One batch of the samples, padded at the right and bottom to the largest of them.

    Images keep their type and are padded with zeros, labels with `ignore_index`; `Batch.sizes` says what was there
    before. Padding that a transform put in belongs to the image: its numbers matter to the network. Labels of 8 bits
    stay so, wider ones become int64, depths float32. Labels of another size than their image (`SegRescale`) get as many
    pixels more as the image does, as by the original. With label_size="original", labels come as a tuple at their own
    sizes.

    Raises ValueError if bands or types differ, if only some of the samples have labels or a map, and if rescaled labels
    are of different sizes then.
    """
    if not samples:
        raise ValueError("cannot make a batch of no samples")
    _check_alike(samples)
    sizes = tuple((sample.image.shape[0], sample.image.shape[1]) for sample in samples)
    size = (max(height for height, _ in sizes), max(width for _, width in sizes))
    labels = [sample.label for sample in samples if sample.label is not None]
    return Batch(
        images=_stack([sample.image for sample in samples], size, 0),
        labels=_labels(labels, sizes, size, ignore_index, label_size) if labels else None,
        sizes=sizes,
        metas=tuple(replace(sample.meta, deferred=()) if sample.meta.deferred else sample.meta for sample in samples),
        maps={name: _stack([sample.maps[name] for sample in samples], size, 0) for name in samples[0].maps},
        instances=_instances(samples),
        deferred=_deferred([sample.meta.deferred for sample in samples]),
    )


def _deferred(drawn: Sequence[tuple[tuple[Any, tuple[float, ...]], ...]]) -> tuple[tuple[Any, Tensor], ...]:
    """The transforms that were left to the device, the same for all samples, with their numbers (N, P)."""
    return tuple(
        (steps[0][0], torch.tensor([numbers for _, numbers in steps], dtype=torch.float32))
        for steps in zip(*drawn, strict=True)
    )


def _check_alike(samples: Sequence[Sample]) -> None:
    first = samples[0]
    for sample in samples:
        if sample.image.ndim != 3:
            raise ValueError(
                f"expected images (H, W, C) to make a batch of, found {sample.image.shape} ({_name(sample)}); networks "
                "here take no volumes, only their slices"
            )
    for sample in samples[1:]:
        for what, a, b, fix in (
            ("bands", first.image.shape[2], sample.image.shape[2], "bands='rgb' gives every image three of 8 bits"),
            ("type", first.image.dtype, sample.image.dtype, "bands='rgb' gives every image three bands of 8 bits"),
            ("labels", first.label is not None, sample.label is not None, "all or none must have them"),
            ("maps", sorted(first.maps), sorted(sample.maps), "all must have the same"),
        ):
            if a != b:
                raise ValueError(
                    f"images of one batch differ in {what}: {_name(first)} has {a}, {_name(sample)} has {b}; {fix}"
                )


def _labels(
    labels: Sequence[npt.NDArray[Any]], sizes: Sequence[Size], size: Size, ignore_index: int, policy: str
) -> Tensor | tuple[Tensor, ...]:
    real = any(label.dtype.kind == "f" for label in labels)
    wide = ignore_index > 255 or any(label.dtype != np.uint8 for label in labels)
    arrays = [label.astype(np.float32 if real else np.int64) if real or wide else label for label in labels]
    if policy == "original":
        return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    padded = {
        (array.shape[0] + size[0] - height, array.shape[1] + size[1] - width)
        for array, (height, width) in zip(arrays, sizes, strict=True)
    }
    if len(padded) > 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(padded))
        raise ValueError(
            f"labels of one batch are rescaled, and padded like their images they have {found} pixels: make all images "
            "of one size before SegRescale (by a Pad, and a RandomCrop)"
        )
    return _stack(arrays, padded.pop(), ignore_index)


def _instances(samples: Sequence[Sample]) -> tuple[Tensor, ...] | None:
    """At their own sizes, as int32."""
    if all(sample.instances is None for sample in samples):
        return None
    nothing = np.empty((0, 0), np.int32)
    arrays = [nothing if sample.instances is None else sample.instances for sample in samples]
    return tuple(torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32)) for array in arrays)


def _stack(arrays: Sequence[npt.NDArray[Any]], size: Size, fill: int) -> Tensor:
    """(H, W) arrays to (N, H, W), (H, W, C) arrays to (N, C, H, W), padded with `fill`."""
    first = arrays[0]
    bands = first.shape[2:]
    out = np.empty((len(arrays), *bands, *size), dtype=_torch_type(first.dtype))
    for target, array in zip(out, arrays, strict=True):
        height, width = array.shape[:2]
        if (height, width) != size:
            target[...] = fill
        if bands and array.dtype.type in _SPLITTABLE and bands[0] <= 4:
            # OpenCV takes bands apart several times faster than NumPy copies a transposed view; where the planes are
            # whole, into them.
            planes = list(target) if (height, width) == size and array.dtype == target.dtype else None
            found = cv2.split(np.ascontiguousarray(array), planes)
            if planes is None:
                for plane, band in zip(target, found, strict=True):
                    plane[:height, :width] = band
        else:
            target[..., :height, :width] = array.transpose(2, 0, 1) if bands else array
    return torch.from_numpy(out)


def _torch_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or the next wider one where torch calculates with none of that width: uint16 to int32 ..."""
    wider: Mapping[str, type[np.generic]] = {"u2": np.int32, "u4": np.int64, "u8": np.int64}
    return np.dtype(wider.get(dtype.str[1:], dtype.newbyteorder("=")))


def _name(sample: Sample) -> str:
    return sample.meta.image_path or sample.meta.name or "a sample without a name"
