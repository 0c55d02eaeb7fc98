"""NYU Depth V2: rooms with their depth (Silberman, Hoiem, Kohli, Fergus, 2012, doi:10.1007/978-3-642-33715-4_54).

Depths are PNG files of 16 bits, in millimetres as BTS and VPD distribute them; 0 is a depth that is not known. The name
of a file begins with the kind of room: `bathroom_00012.jpg`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from intarsia.contracts import Sample
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.image_io import read_label
from intarsia.data.sample_cache import SampleCache

CLASSES = (
    "printer_room", "bathroom", "living_room", "study", "conference_room", "study_room", "kitchen", "home_office",
    "bedroom", "dinette", "playroom", "indoor_balcony", "laundry_room", "basement", "excercise_room", "foyer",
    "home_storage", "cafe", "furniture_store", "office_kitchen", "student_lounge", "dining_room", "reception_room",
    "computer_lab", "classroom", "office", "bookstore",
)  # fmt: skip
"""Kinds of rooms, in the order of their published embeddings, and spelt as there."""

UNKNOWN = 0
"""The depth of a pixel that nothing is known of."""


class NYUDataset:
    """Images with their depth (H, W), float32, where labels stand. Satisfies `contracts.Dataset`.

    root, images, image_suffix, split_file, bands: as those of `FolderDataset`.
    depths: folder of the depths below `root`; None: there is no ground truth.
    depth_map_suffix: what replaces `image_suffix` in the name of a depth.
    depth_rescale_factor: what a file's value is multiplied by: 0.001 makes metres of millimetres.
    classes: kinds of scenes, by which file names begin; `SampleMeta.category` has their index, or -1. palette: an RGB
        colour each, distinct ones by default.

    Raises ValueError if a folder is missing, nothing is found, or images lack their depth.
    """

    ignore_index = UNKNOWN

    def __init__(
        self,
        *,
        root: str = "data/nyu",
        images: str = "images",
        depths: str | None = "annotations",
        image_suffix: str = ".jpg",
        depth_map_suffix: str = ".png",
        split_file: str | None = None,
        depth_rescale_factor: float = 1.0,
        classes: Sequence[str] = CLASSES,
        palette: Sequence[Sequence[int]] | None = None,
        bands: str = "rgb",
    ) -> None:
        listed = FolderDataset(
            root=root,
            images=images,
            labels=depths,
            image_suffix=image_suffix,
            label_suffix=depth_map_suffix,
            split_file=split_file,
            classes=classes,
            palette=palette or None,
            bands=bands,
        )
        self._files = [listed.paths(index) for index in range(len(listed))]
        folder = os.path.normpath(os.path.join(listed.root, images))
        self._images = FolderDataset(
            root=folder,
            classes=classes,
            palette=palette or None,
            bands=bands,
            pairs=[(os.path.relpath(image, folder), None) for image, _ in self._files],
        )
        self.classes, self.palette = listed.classes, listed.palette
        self.depth_rescale_factor = depth_rescale_factor

    def __len__(self) -> int:
        return len(self._files)

    def can_use_cache(self) -> bool:
        """As `FolderDataset.can_use_cache`."""
        return self._images.can_use_cache()

    def use_cache(self, cache: SampleCache) -> bool:
        """Read the images, not the depths, through a cache from now on. Gives whether there is something to keep."""
        return self._images.use_cache(cache)

    def load(self, index: int) -> Sample:
        """Image and depth of one index.

        Raises ValueError naming the file if it cannot be read, has several bands, or another size than its image.
        """
        sample = self._images.load(index)
        image_path, depth_path = self._files[index]
        meta = replace(sample.meta, category=category_of(image_path, self.classes), label_path=depth_path or "")
        if depth_path is None:
            return replace(sample, meta=meta)
        stored = read_label(depth_path)
        if stored.shape != sample.image.shape[:2]:
            raise ValueError(
                f"{depth_path}: expected a depth for each of {sample.image.shape[0]} x {sample.image.shape[1]} pixels "
                f"(height x width) of {image_path}, found {' x '.join(map(str, stored.shape))}"
            )
        depth = stored.astype(np.float32) * np.float32(self.depth_rescale_factor)
        return replace(sample, label=depth, meta=meta)


def category_of(path: str, classes: Sequence[str]) -> int:
    """The class that a file's name begins with, before "_" and a number; -1 if it is none of them."""
    found = re.match(r"(\D+?).\d", os.path.basename(path))
    return classes.index(found[1]) if found is not None and found[1] in classes else -1
