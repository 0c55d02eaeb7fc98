"""The proof: exported file and original on the same images, through the same predictor.

Every wrong file that was ever found here was right at the size that it was exported with. So images are compared at two
sizes and shapes at least: the first ones are cut and turned besides.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Metric, Size
from intarsia.inference.predictor import Predictor

Field = Literal["logits", "probabilities", "depth"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image to compare with: (H, W, C) as the model's reader gives it, and its label (H, W), where there is one."""

    name: str
    image: npt.NDArray[Any]
    label: npt.NDArray[Any] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the image alone, by which it is known under any name."""
        kind = f"{self.image.shape} {self.image.dtype} ".encode("ascii")
        return hashlib.sha256(kind + self.image.tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Certificate:
    """What the comparison gave.

    equal: share of all pixels that have the same label, at_least: what was asked for; lowest: the smallest share of an
    image, and which. Of depths, same_within says how far apart they may be to be called the same, as a part of the
    original's. compared: "logits", "probabilities" or "depth", if the file gives them, and largest_difference: of any.
    mean_iou: of the original and of the file, on `labelled` images, in fractions of 1; None without labels; rmse: the
    same of depths.
    seconds: for an image, the median of both. sizes: of the images, as (height, width).
    samples: which images they were, in words, names: each. calibrated: of int8, how many images its ranges were
    measured on, which are others; calibrated_on_these: for want of others, they are those that were compared.
    runtime: what ran the file. failure: why it could not run, or "". versions: of the programs that compared, by name.
    weights_hash: SHA-256 of the original's file.
    """

    samples: str
    runtime: str
    at_least: float = 0.999
    images: int = 0
    sizes: tuple[Size, ...] = ()
    pixels: int = 0
    equal: float = 0.0
    lowest: tuple[str, float] = ("", 1.0)
    compared: Field | None = None
    largest_difference: float | None = None
    labelled: int = 0
    mean_iou: tuple[float, float] | None = None
    same_within: float | None = None
    rmse: tuple[float, float] | None = None
    seconds: tuple[float, float] = (0.0, 0.0)
    failure: str = ""
    names: tuple[str, ...] = ()
    calibrated: int = 0
    calibrated_on_these: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    weights_hash: str = ""

    @property
    def passed(self) -> bool:
        """Whether the file says what the original says."""
        return not self.failure and self.images > 0 and self.equal >= self.at_least

    def to_json(self) -> dict[str, Any]:
        """Plain values, `passed` among them."""
        return {"passed": self.passed, **asdict(self)}


def compare(
    original: Predictor,
    exported: Predictor,
    samples: Iterable[Sample],
    *,
    what: str,
    runtime: str,
    at_least: float = 0.999,
    compared: Field | None = None,
    same_within: float | None = None,
    metric: Callable[[], Metric] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Certificate:
    """Show both the same images.

    what: the images, in words. compared: numbers that the file gives, which are compared, too.
    same_within: of depths, see `Certificate`. metric: makes a counter for labels, whose report has an mIoU, or for
    depths, with an RMSE.

    An exported file that fails on an image gives a certificate that says so. Raises ValueError without samples.
    """
    empty = Certificate(what, runtime, at_least, compared=compared, same_within=same_within)
    count = _Count(empty, metric)
    extras: dict[str, Any] = {} if compared in (None, "depth") else {compared: True}
    for number, sample in enumerate(samples):
        began = time.perf_counter()
        theirs = original.predict(sample.image, **extras)
        between = time.perf_counter()
        try:
            ours = exported.predict(sample.image, **extras)
        except ValueError as error:
            return replace(count.certificate(), failure=f"{sample.name}, {_shape(sample.image)}: {error}")
        count.add(sample, theirs, ours, (between - began, time.perf_counter() - between))
        if not count.is_finite:
            reason = f"its {compared} are no numbers (nan or infinite) where the original's are"
            return replace(count.certificate(), failure=f"{sample.name}, {_shape(sample.image)}: {reason}")
        if progress is not None:
            progress(number + 1)
    if not count.shares:
        raise ValueError(f"{what}: expected an image at least to compare the exported file with, found none")
    return count.certificate()


def of_several_shapes(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples, and the first two again: one cut to a part with odd sides, one turned by 90 degrees.

    What was made of them has no labels: it is no image of the data.
    """
    for number, sample in enumerate(samples):
        yield sample
        if number < 2:
            height, width = sample.image.shape[:2]
            part = sample.image[: _odd(height * 5 // 7), : _odd(width * 6 // 7)]
            turned = np.rot90(sample.image)
            made = {"cut": part, "turned": turned} if number == 0 else {"cut and turned": np.rot90(part)}
            for name, image in made.items():
                yield Sample(f"{sample.name} ({name})", np.ascontiguousarray(image))


def drawn(count: int, channels: int, dtype: str, ends: tuple[float, float], *, seed: int = 0) -> Iterator[Sample]:
    """Images of overlapping ellipses and smooth noise, for want of real ones; of two sizes."""
    import cv2

    rng = np.random.default_rng(seed)
    low, high = ends
    for number in range(count):
        height, width = (192, 256) if number % 2 == 0 else (320, 232)
        coarse = rng.random((height // 16, width // 16, channels))
        image: npt.NDArray[Any] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image = image.reshape(height, width, channels)
        for _ in range(12):
            mask = np.zeros((height, width), np.uint8)
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.integers(8, width // 3)), int(rng.integers(8, height // 3)))
            cv2.ellipse(mask, centre, axes, float(rng.integers(180)), 0, 360, 1, -1)
            image[mask > 0] = 0.7 * rng.random(channels) + 0.3 * image[mask > 0]
        image += rng.normal(0, 0.03, image.shape)
        values = low + (high - low) * image.clip(0, 1)
        is_whole = np.issubdtype(np.dtype(dtype), np.integer)
        yield Sample(f"drawn {number + 1}", (values.round() if is_whole else values).astype(dtype))


class _Count:
    """What is known so far."""

    def __init__(self, empty: Certificate, metric: Callable[[], Metric] | None) -> None:
        self._empty = empty
        self._metrics = None if metric is None else (metric(), metric())
        self.shares: list[tuple[str, float]] = []
        self._sizes: dict[Size, None] = {}
        self._pixels = self._equal = self._labelled = 0
        self._largest = 0.0
        self.is_finite = True
        self._seconds: tuple[list[float], list[float]] = ([], [])

    def add(self, sample: Sample, theirs: Any, ours: Any, seconds: tuple[float, float]) -> None:
        """One image, as the original and as the file see it: predictions of labels, or of depths."""
        within = self._empty.same_within
        a, b = (one.label if within is None else one.depth for one in (theirs, ours))
        same = int((a == b if within is None else np.abs(a - b) <= within * np.abs(a)).sum())
        self._pixels += a.size
        self._equal += same
        self.shares.append((sample.name, same / a.size))
        height, width = a.shape
        self._sizes[height, width] = None
        if self._empty.compared is not None:
            values = (getattr(one, self._empty.compared) for one in (theirs, ours))
            first, second = (np.asarray(one, dtype=np.float64) for one in values)
            known = np.isfinite(first)
            apart = np.abs(first[known] - second[known]).max(initial=0.0)
            self.is_finite = bool(np.isfinite(apart))
            if self.is_finite:
                self._largest = max(self._largest, float(apart))
        for times, one in zip(self._seconds, seconds, strict=True):
            times.append(one)
        if sample.label is not None and self._metrics is not None:
            self._labelled += 1
            for metric, found in zip(self._metrics, (a, b), strict=True):
                _count(metric, found, sample.label)

    def certificate(self) -> Certificate:
        """Of what was added."""
        scores = None
        of_depths = self._empty.same_within is not None
        if self._metrics is not None and self._labelled:
            name = "rmse" if of_depths else "mIoU"
            first, second = (float(metric.report().summary[name]) for metric in self._metrics)
            scores = (
                (first, second) if np.isfinite(first) and np.isfinite(second) else None
            )  # nan: no pixel had a class
        original, exported = (statistics.median(times) if times else 0.0 for times in self._seconds)
        return replace(
            self._empty,
            images=len(self.shares),
            sizes=tuple(self._sizes),
            pixels=self._pixels,
            equal=self._equal / self._pixels if self._pixels else 0.0,
            lowest=min(self.shares, key=lambda share: share[1], default=("", 0.0)),
            largest_difference=None if self._empty.compared is None else self._largest,
            labelled=self._labelled if scores else 0,
            mean_iou=None if of_depths else scores,
            rmse=scores if of_depths else None,
            seconds=(original, exported),
        )


def _count(metric: Metric, label: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
    import torch

    kind = np.float32 if label.dtype == np.float32 else np.int64
    metric.update(torch.from_numpy(label.astype(kind)), torch.from_numpy(truth.astype(kind)))


def _odd(length: int) -> int:
    return max(1, length - 1 + length % 2)


def _shape(image: npt.NDArray[Any]) -> str:
    return f"{image.shape[1]} x {image.shape[0]} pixels"


def describe(certificate: Certificate) -> Sequence[str]:
    """The certificate in words, line by line."""
    if certificate.failure:
        return [f"the file fails: {certificate.failure}"]
    within = certificate.same_within
    what = "labels" if within is None else f"depths (to {within:.1%})"
    sizes = ", ".join(f"{width} x {height}" for height, width in certificate.sizes[:4])
    more = f" and {len(certificate.sizes) - 4} more" if len(certificate.sizes) > 4 else ""
    lines = [
        f"{certificate.images} images ({certificate.samples}; {sizes}{more}), {certificate.pixels:,} pixels",
        f"equal {what}: {certificate.equal:.4%}; fewest in {certificate.lowest[0]}: {certificate.lowest[1]:.4%}",
    ]
    if certificate.largest_difference is not None:
        lines.append(f"largest difference of {certificate.compared}: {certificate.largest_difference:.2g}")
    if certificate.mean_iou is not None:
        before, after = (100 * score for score in certificate.mean_iou)
        lines.append(f"mIoU on {certificate.labelled} labelled images: {before:.2f} original, {after:.2f} exported")
    if certificate.rmse is not None:
        before, after = certificate.rmse
        lines.append(f"RMSE on {certificate.labelled} images with depths: {before:.4f} original, {after:.4f} exported")
    if certificate.calibrated:
        which = f"{certificate.calibrated} other images"
        if certificate.calibrated_on_these:
            which = "these same images, for want of others: new ones may be further off"
        lines.append(f"ranges of 8 bits were measured on {which}")
    before, after = (1000 * seconds for seconds in certificate.seconds)
    lines.append(f"an image takes {before:,.0f} ms with torch, {after:,.0f} ms with {certificate.runtime}")
    return lines
