"""Change detection: what has become different between two images of one place (`BaseCDDataset`, `LEVIRCDDataset`).

Both images are one `Sample` image: the bands of the first date, then those of the second. Whatever moves pixels moves
both, and the network takes as many channels. (The original keeps the second image apart until `ConcatCDInput`, so that
cropping, flipping or resizing before it leaves the second one where it was.)

LEVIR-CD (Chen and Shi, 2020, doi:10.3390/rs12101662).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import EllipsisType

import numpy as np

from intarsia.contracts import IGNORE_INDEX, Sample
from intarsia.data.datasets.family import Family
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import LabelTable

LEVIR = Family(
    name="LEVIR-CD",
    classes=("background", "changed"),
    palette=((0, 0, 0), (255, 255, 255)),
    root="data/LEVIRCD",
    images="train/A",
    labels="train/label",
    image_suffix=".png",
)


class TwoDates:
    """The images of `first`, each with the one of the same name in `second` behind it. Labels are those of `first`.

    Raises ValueError if an image has no counterpart; on loading, if the two differ in size or type.
    """

    def __init__(self, first: FolderDataset, second: FolderDataset) -> None:
        self.datasets = (first, second)
        self.classes, self.palette, self.ignore_index = first.classes, first.palette, first.ignore_index
        place = {second.name(index): index for index in range(len(second))}
        names = [first.name(index) for index in range(len(first))]
        alone = [name for name in names if name not in place]
        if alone:
            raise ValueError(
                f"{len(alone)} of {len(names)} images have no second date: {first.paths(0)[0]} and those beside it are "
                f"the first; among the second, such as {second.paths(0)[0]}, there is no {', '.join(alone[:5])}"
                f"{' ...' if len(alone) > 5 else ''}. Check data_prefix.img_path2 and img_suffix2"
            )
        self._second = [place[name] for name in names]

    def __len__(self) -> int:
        return len(self._second)

    def load(self, index: int) -> Sample:
        """The image (H, W, B + B) of one index: the bands of both dates. With the label of the change."""
        first, second = self.datasets
        before, after = first.load(index), second.load(self._second[index])
        if (before.image.shape, before.image.dtype) != (after.image.shape, after.image.dtype):
            raise ValueError(
                f"{after.meta.image_path}: the second date has {_described(after)}, the first, "
                f"{before.meta.image_path}, {_described(before)}; they must agree"
            )
        return replace(before, image=np.concatenate([before.image, after.image], axis=2))


def BaseCDDataset(  # noqa: N802  (the name that configurations use for this data set)
    *,
    root: str,
    images: str,
    images2: str,
    labels: str | None = "",
    split_file: str | None = None,
    image_suffix: str | Sequence[str] = ".jpg",
    image_suffix2: str | Sequence[str] = ".jpg",
    label_suffix: str = ".png",
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    label_table: LabelTable | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool = False,
    bands: str = "raw",
) -> TwoDates:
    """Images of two dates in folders of one's own, as (H, W, B + B), with the labels of what has changed.

    images2, image_suffix2: where the second date lies and what its names end in; images of the two dates are paired by
    their names without suffix. Everything else is as of `FolderDataset`, except that files are read with all the bands
    that they have.

    Raises ValueError as `FolderDataset` and `TwoDates` do.
    """
    first = FolderDataset(
        root=root,
        images=images,
        labels=labels,
        split_file=split_file,
        image_suffix=image_suffix,
        label_suffix=label_suffix,
        classes=classes,
        palette=palette,
        label_table=label_table,
        ignore_index=ignore_index,
        reduce_zero_label=reduce_zero_label,
        bands=bands,
    )
    return TwoDates(first, _second(first, images2, image_suffix2))


def LEVIRCDDataset(  # noqa: N802  (the name that configurations use for this data set)
    *,
    root: str | None = None,
    images: str | None = None,
    images2: str = "train/B",
    labels: str | EllipsisType | None = ...,
    split_file: str | None = None,
    image_suffix: str | Sequence[str] | None = None,
    image_suffix2: str | Sequence[str] = ".png",
    label_suffix: str | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    label_table: LabelTable | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool | None = None,
    bands: str = "raw",
) -> TwoDates:
    """One split of LEVIR-CD, the training set by default: buildings that have come or gone.

    Arguments are those of the other benchmarks (`Family`), and `images2`, `image_suffix2` for the second date.

    Raises ValueError as they and `TwoDates` do.
    """
    first = LEVIR(
        root=root,
        images=images,
        labels=labels,
        split_file=split_file,
        image_suffix=image_suffix,
        label_suffix=label_suffix,
        classes=classes,
        palette=palette,
        label_table=label_table,
        ignore_index=ignore_index,
        reduce_zero_label=reduce_zero_label,
        bands=bands,
    )
    return TwoDates(first, _second(first, images2, image_suffix2))


def _second(first: FolderDataset, images: str, suffix: str | Sequence[str]) -> FolderDataset:
    return FolderDataset(
        root=first.root,
        images=images,
        labels=None,
        image_suffix=suffix,
        classes=first.classes,
        palette=first.palette,
        label_table=first.label_table,
        bands=first.bands,
    )


def _described(sample: Sample) -> str:
    height, width, bands = sample.image.shape
    return f"{height} x {width} pixels (height x width) and {bands} bands of {sample.image.dtype}"
